"""What is reported is found to be so by live probes, and a layer that is missing while its report claims it is caught."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.launching import IMPORTS, NOBODY, PYTHON, copied, launch, plan, rule

from openshell_kernel.base.rights import READ
from openshell_kernel.sandbox.layers.identity import Parameters as Identity
from openshell_kernel.sandbox.layers.table import LAYERS
from openshell_kernel.server.planning import seccomp_filter

pytestmark = pytest.mark.usefixtures("landlock_abi")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has nothing of this to give up or to change")
OF_ROOT = frozenset({"processes", "tunables", "identity", "capabilities"})

# A layer that does nothing, and says the opposite; put at the end of the table of a copy of the package.
LIAR = """

def _liar(layer):
    class Liar(layer):
        def prepare(self):
            return None

        def enforce(self):
            return self.enforced("it is not", subjects=%(subjects)r)

    return Liar


TABLE = tuple(row._replace(layer=_liar(row.layer)) if row.layer.name == %(name)r else row for row in TABLE)
LAYERS = {row.layer.name: row.layer for row in TABLE}
"""
# Starts a program in a session that has a controlling terminal, which stays open for as long as it runs.
IN_TERMINAL = """
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    for fd in (0, 1, 2):
        os.dup2(fd + 10, fd)
    os.execv(sys.argv[1], sys.argv[1:])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
KEEP_STREAMS = "import os, sys; [os.dup2(fd, fd + 10) for fd in (0, 1, 2)]; os.execv(sys.argv[1], sys.argv[1:])"
# What the filters of containers refuse as well.
IN_CONTAINER = """
import errno, os, pyseccomp, sys
container = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
for call in ("keyctl", "add_key", "request_key", "io_uring_setup", "bpf", "userfaultfd", "perf_event_open"):
    container.add_rule(pyseccomp.ERRNO(errno.EPERM), call)
container.load()
os.execv(sys.argv[1], sys.argv[1:])
"""
CONTAINER = [sys.executable, "-c", IN_CONTAINER]
TERMINAL = [PYTHON, "-c", KEEP_STREAMS, PYTHON, "-c", IN_TERMINAL]


@pytest.fixture
def project():
    """A folder with an environment in it that is to be kept as it is."""
    folder = Path(tempfile.mkdtemp(prefix="openshell-test-", dir="/var/tmp"))
    (folder / ".venv").mkdir()
    for path in (folder, folder / ".venv"):
        path.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def verified(project):
    """Start a program that verifies its own report; return its findings by name, or why it was not started."""

    def start(imports=IMPORTS, *, user=None, identity=None, wrapper=TERMINAL, readable=()):
        compiled = seccomp_filter.load()
        argv = (PYTHON, "-I", f"{IMPORTS}/verify_self.py", IMPORTS)
        asked = plan(
            argv=argv,
            folders=[project],
            rules=(rule(IMPORTS, READ), rule(imports, READ), *(rule(path, READ) for path in readable)),
            proc="protect" if os.geteuid() == 0 and user is None else "leave",
            identity=identity,
            read_only=((f"{project}/.venv",), ()),
            record={"effective": {}},
        )
        asked = asked.with_layer("seccomp", LAYERS["seccomp"].takes(program=compiled.program, detail=compiled.detail))
        launched = launch(asked, user=user, wrapper=wrapper, imports=imports)
        if launched.refused:
            return launched.refused
        return {finding["name"]: finding for finding in launched.outcomes["findings"]}

    return start


# Where the launcher leads a group of processes, it cannot lead a session, and stays in that of who started it.
AS_GROUP_LEADER = (
    "import os, sys; pid = os.fork(); pid and sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]));"
    "os.setpgid(0, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
IN_ANOTHERS_SESSION = [PYTHON, "-c", AS_GROUP_LEADER]


def holds(finding):
    return bool(finding["probes"]) and all(probe["holds"] for probe in finding["probes"])


USERS = [
    pytest.param(None, id="as who runs the tests"),
    pytest.param(NOBODY, id="as an ordinary user", marks=root_only),
]


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    "wrapper",
    [pytest.param(TERMINAL, id="at a terminal"), pytest.param(IN_ANOTHERS_SESSION, id="in another's session")],
)
def test_every_layer_that_claims_to_be_in_force_is_found_so(verified, user, wrapper):
    findings = verified(user=user, wrapper=wrapper)
    claimed = {name: finding for name, finding in findings.items() if finding["status"] != "absent"}
    assert {name: finding["probes"] for name, finding in claimed.items() if not holds(finding)} == {}
    assert {"landlock", "seccomp", "keeper", "read_only", "terminal", "core_dumps"} <= claimed.keys()


def test_rules_that_let_everything_be_read_are_found_in_force_by_what_they_let_nobody_write(verified):
    assert holds(verified(readable=["/"])["landlock"])


@root_only
def test_an_identity_is_found_too(verified):
    assert holds(verified(identity=Identity(NOBODY, NOBODY, (44,)))["identity"])


@pytest.fixture
def removed(project):
    """A copy of the package in which one layer does nothing and says the opposite; return where it is."""
    told = {
        "read_only": (f"{project}/.venv",),
        "identity": (str(NOBODY), str(NOBODY)),
        # No process has this number.
        "keeper": ("4194305",),
    }

    def make(name):
        folder = copied()
        with open(folder / "openshell_kernel/sandbox/layers/table.py", "a") as table:
            table.write(LIAR % {"name": name, "subjects": told.get(name, ())})
        return str(folder)

    return make


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_that_is_removed_while_its_report_claims_it_is_caught(verified, removed, name):
    if name in OF_ROOT and os.geteuid() != 0:
        pytest.skip("an ordinary user has nothing of this to give up or to change")
    identity = Identity(NOBODY, NOBODY, ()) if name == "identity" else None
    outcome = verified(removed(name), identity=identity)
    if name == "no_new_privs":
        # Without it Linux lets nobody who has given up his capabilities restrict himself.
        assert "Landlock" in outcome
        return
    assert outcome[name]["status"] == "enforced"
    assert not holds(outcome[name]), outcome[name]
    others = {other: finding["probes"] for other, finding in outcome.items() if other != name and not holds(finding)}
    assert {other for other in others if outcome[other]["status"] != "absent"} <= CONSEQUENCES.get(name, set()), others


def test_the_filter_of_a_container_is_not_taken_for_ours(verified, removed):
    assert holds(verified(wrapper=[*CONTAINER, *TERMINAL])["seccomp"])
    assert not holds(verified(removed("seccomp"), wrapper=[*CONTAINER, *TERMINAL])["seccomp"])


# What else does not hold without a layer.
CONSEQUENCES = {"landlock": {"processes", "keeper"}}


def test_probes_leave_nothing_behind(verified, project):
    # All that the program may write, and its working directory, where a crash would leave its dump.
    places = (project, project / ".venv", "/")
    before = [sorted(os.listdir(place)) for place in places]
    verified()
    assert [sorted(os.listdir(place)) for place in places] == before


def test_the_program_fails_where_a_claim_is_false():
    """It is run by its path, as the kernel does, here where nothing is confined."""
    report = {
        "abi": 7,
        "release": "",
        "rules": [],
        "layers": [
            {
                "name": "no_new_privs",
                "title": "no_new_privs",
                "status": "enforced",
                "detail": "",
                "remedy": "",
                "residual": [],
                "subjects": [],
            }
        ],
    }
    program = f"{IMPORTS}/openshell_kernel/sandbox/verify.py"
    done = subprocess.run([PYTHON, "-I", program], input=json.dumps(report), capture_output=True, text=True)
    assert done.returncode == 1
    (finding,) = json.loads(done.stdout)["findings"]
    assert finding["probes"] == [{"tried": "ask for no_new_privs", "outcome": "0", "holds": False}]
