"""A line is proposed only if a kernel starts with it and it opens nothing that nobody means to open."""

import os
import pwd
from dataclasses import replace

import pytest
from fakes.snapshots import effective, rule

from openshell_kernel.base.hardware import Gpu, Hardware, Status
from openshell_kernel.policy import advice
from openshell_kernel.policy.effective import MAX_PATHS, Access, Compatibility, GpuSelection
from openshell_kernel.policy.loading import parse
from openshell_kernel.policy.protected_paths import (
    Guarded,
    ProtectedPath,
    why_not_propose_reading,
    why_not_propose_writing,
)

READ, WRITE = Access.READ_ONLY, Access.READ_WRITE


@pytest.fixture
def home(tmp_path):
    for name in ("home/.ssh", "home/data", "venv/bin", "src/package", "tools", "shared", "other/alice/.ssh"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "src/package/__init__.py").touch()
    (tmp_path / "shared").chmod(0o1777)
    return tmp_path / "home"


def guarded(home):
    base = str(home.parent)
    places = (
        ProtectedPath(path=f"{home}/.ssh", what="credentials of your account", secret=True),
        ProtectedPath(path=f"{home}/.bashrc", what="settings of your account"),
        ProtectedPath(path=f"{base}/venv", what="the Python environment"),
        ProtectedPath(path=f"{base}/src", what="what Python imports", beneath=False),
        ProtectedPath(path=f"{base}/tools", what="from where programs are run", beneath=False),
    )
    return Guarded(home=str(home), places=places)


def people(home):
    number, folder = 1001, str(home.parent / "other/alice")
    return lambda: [pwd.struct_passwd(("alice", "x", number, number, "", folder, "/bin/sh"))]


@pytest.mark.parametrize(
    ("path", "reading", "writing"),
    [
        ("home/data", None, None),
        ("home/data/new.csv", None, None),
        ("home/.bashrc", None, "settings of your account"),
        ("home/.ssh", "credentials of your account", "credentials of your account"),
        ("home/.ssh/id_rsa", "home/.ssh", "home/.ssh"),
        ("home", "", ""),
        (".", "", ""),
        ("other", "alice", "alice"),
        ("other/alice", "alice/.ssh", "alice/.ssh"),
        ("other/alice/.ssh/id_rsa", "alice", "alice"),
        ("other/alice/data.csv", None, None),
        ("venv/bin/python", None, "the Python environment"),
        ("src/new.py", None, "what Python imports"),
        ("src/package/new.py", None, "what Python imports"),
        ("src/data/a.csv", None, None),
        ("tools/run", None, "from where programs are run"),
        ("shared", None, ""),
        ("openshell-abcdefgh/ipc", "", ""),
        ("/", "", ""),
        ("/dev", "", ""),
        ("/dev/mem", "", ""),
        ("/dev/zero", None, None),
    ],
)
def test_what_would_expose_or_be_refused_is_told_apart(home, path, reading, writing):
    full = os.path.normpath(os.path.join(home.parent, path))
    for judge, named in ((why_not_propose_reading, reading), (why_not_propose_writing, writing)):
        reason = judge(full, guarded(home), accounts=people(home))
        assert bool(reason) is (named is not None)
        assert (named or "") in reason


def test_the_root_is_known_where_nothing_is():
    assert advice.why_not("/", READ, effective(), Guarded())


def test_a_name_that_no_policy_can_hold_is_not_proposed():
    assert "UTF-8" in advice.why_not("/data/\udcff", READ, effective(), Guarded())


def test_a_full_policy_gets_no_further_path():
    full = effective(declared={"version": 1, "filesystem_policy": {"read_only": ["/x"] * MAX_PATHS}})
    assert str(MAX_PATHS) in advice.why_not("/data", READ, full, Guarded())


def test_what_hard_requirement_would_refuse_is_not_proposed():
    policy = effective(rule("/data/labels"), compatibility=Compatibility.HARD_REQUIREMENT)
    assert "/data/labels" in advice.why_not("/data", WRITE, policy, Guarded())
    assert advice.why_not("/data", READ, policy, Guarded()) == ""
    assert advice.why_not("/data/labels", WRITE, policy, Guarded()) == ""
    assert advice.why_not("/data", WRITE, replace(policy, compatibility=Compatibility.BEST_EFFORT), Guarded()) == ""


def test_a_gpu_is_asked_for_and_not_listed():
    hardware = Hardware(status=Status.OK, detail="", present=True, gpus=(Gpu(index=0, minor=0), Gpu(index=1, minor=1)))
    policy = effective(hardware=hardware, selection=GpuSelection(granted=True, nodes=("/dev/nvidia0",)))
    assert "jupyter.gpu" in advice.why_not("/dev/nvidia1", READ, policy, Guarded())
    assert advice.why_not("/dev/nvidia0", READ, policy, Guarded()) == ""


@pytest.mark.parametrize("path", ["/data", "/a b", "/a: #b", "/a\tb", "/ü/\U0001f40d", "/-", "/null", "/a'\"\\"])
@pytest.mark.parametrize("access", [READ, WRITE])
def test_a_line_that_is_proposed_loads(path, access):
    proposed = advice.remedy(path, access, folder=True, advice="", effective=effective())
    policy = parse(f"version: 1\n{proposed.yaml}\n", name="p")
    assert getattr(policy.filesystem_policy, access.value) == (path,)
