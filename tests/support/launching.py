"""Plans carried out by the real launcher, with a program that reports what it could do in the place of a kernel."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import landlock

import openshell_kernel
from openshell_kernel.base.rules import Access, Origin, Rule
from openshell_kernel.policy.effective import PROC_READ_RIGHTS, PROC_WRITE_RIGHTS, READ_RIGHTS, WRITE_RIGHTS
from openshell_kernel.sandbox.layers.table import LAYERS
from openshell_kernel.sandbox.plan import LaunchPlan


def copied():
    """Copy the programs and what they import to where everybody reaches it, as a checkout may not be; return where."""
    folder = Path(tempfile.mkdtemp(prefix="openshell-test-", dir="/var/tmp"))
    atexit.register(shutil.rmtree, folder)
    folder.chmod(0o755)
    for program in ("launch.py", "reach.py", "verify_self.py"):
        shutil.copy(Path(__file__).parent.parent / "confinement" / program, folder)
    for module in (openshell_kernel, landlock):
        package = Path(module.__file__).parent
        shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


_COPY = copied()
LAUNCH = _COPY / "launch.py"
REACH = _COPY / "reach.py"
IMPORTS = str(_COPY)
NOBODY = 65534


def reachable(path):
    """Whether everybody may execute this program."""
    real = os.path.realpath(path)
    return all(os.stat(folder).st_mode & 0o001 for folder in (real, *map(str, Path(real).parents)))


# A Python that every user may run: that of the tests, or else the system's.
PYTHON = sys.executable if reachable(sys.executable) else "/usr/bin/python3"


@dataclass(frozen=True, kw_only=True)
class Launched:
    """What the launcher reported and what the program achieved; the latter is empty when the start was refused."""

    outcomes: list = field(default_factory=list)
    layers: dict = field(default_factory=dict)
    refused: str = ""


def rule(path, rights, *, required=False, exact=False, origin=Origin.RUNTIME_BASELINE):
    """A rule of a plan."""
    access = Access.READ_WRITE if "write_file" in rights else Access.READ_ONLY
    return Rule(str(path), access, tuple(rights), origin, "a test's", required=required, exact=exact)


def plan(
    *attempts,
    folders=(),
    rules=(),
    proc="leave",
    proc_for_gpu=False,
    proc_writable=True,
    identity=None,
    keep_capabilities=(),
    read_only=((), ()),
    kernels_folders=(),
    required=("landlock",),
    **changes,
):
    """A plan for the reporting program. `folders` are granted read-write; `proc` is "leave", "protect" or "allow"."""
    readable = {"/usr", "/bin", "/lib", "/lib64", "/etc", sys.prefix, sys.base_prefix, str(REACH)}
    granted = (
        *(rule(path, READ_RIGHTS) for path in readable),
        *(rule(path, WRITE_RIGHTS, required=True) for path in folders),
        rule("/proc", PROC_WRITE_RIGHTS if proc_writable else PROC_READ_RIGHTS, required=True),
        *rules,
    )
    parameters = {
        "landlock": {"rules": granted, "kernels_folders": kernels_folders},
        "capabilities": {"keep": keep_capabilities},
        "tunables": {"protect": proc != "leave", "for_gpu": proc_for_gpu},
        "processes": {"hide": proc != "leave"},
        "seccomp": {"program": b"", "detail": "a test's"},
        "identity": identity and identity._asdict(),
        "read_only": dict(zip(("paths", "pinned"), read_only, strict=True)) if read_only[0] else None,
    }
    asked = {name: parameters.get(name, {}) for name in LAYERS}
    return LaunchPlan(
        **{
            "argv": (PYTHON, str(REACH), *(json.dumps(words) for words in attempts)),
            "cwd": "/",
            "environment": {},
            "layers": {name: LAYERS[name].takes(**given) for name, given in asked.items() if given is not None},
            "required": (*required, *(("tunables",) if proc == "protect" else ())),
            "record": {},
            **changes,
        }
    )


def launch(plan, *, user=None, wrapper=(), imports=IMPORTS):
    """Carry out a plan: as another user, or through a program that puts the launcher into other circumstances.

    `imports` is where the package lies that does so.
    """
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as file, open(reading, "rb") as report:
        file.write(plan.to_bytes())
        file.seek(0)
        arguments = ["--plan-fd", str(file.fileno()), "--report-fd", str(writing)]
        process = subprocess.run(
            [*wrapper, PYTHON, "-I", str(LAUNCH), imports, *arguments],
            pass_fds=(file.fileno(), writing),
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            start_new_session=True,
            **({} if user is None else {"user": user, "group": user, "extra_groups": []}),
        )
        os.close(writing)
        messages = [json.loads(line) for line in report]
    assert messages, process.stderr
    if messages[-1]["status"] == "refused":
        return Launched(refused=messages[-1]["error"])
    assert process.returncode == 0, process.stderr
    reported = messages[0]["report"]["layers"]
    layers = {layer["name"]: {**layer, "active": layer["status"] == "enforced"} for layer in reported}
    return Launched(outcomes=json.loads(process.stdout), layers=layers)


def unconfined(*attempts, user=None):
    """What the same attempts achieve without the launcher."""
    process = subprocess.run(
        [PYTHON, str(REACH), *(json.dumps(words) for words in attempts)],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        **({} if user is None else {"user": user, "group": user, "extra_groups": []}),
    )
    return json.loads(process.stdout)
