"""A damaged plan never starts an unconfined program: the real launcher, plans with every kind of damage, and a canary.

The canary stands in for the kernel. It tries what no plan can grant (an abstract socket and a signal to outside, which
Landlock's scopes forbid), and a file that the plan grants only if the damage happens to be a wider rule.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from support.launching import rule

from openshell_kernel.errors import ConfinementError
from openshell_kernel.policy.effective import PROC_READ_RIGHTS, READ_RIGHTS
from openshell_kernel.sandbox.layers.table import LAYERS
from openshell_kernel.sandbox.plan import LaunchPlan
from openshell_kernel.server.planning import seccomp_filter

CANARY = Path(__file__).parent.parent / "confinement" / "canary.py"
SCOPES_SINCE_ABI = 6
FILTERED = 2
# One start takes about a tenth of a second.
EXAMPLES = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True, kw_only=True)
class Outside:
    """What the canary tries to reach, and a plan that is undamaged."""

    secret: Path
    fd: int
    arguments: tuple[str, ...]
    plan: LaunchPlan


def layers(readable):
    """Every layer, with a filter of system calls, and the files that a program in Python needs."""
    compiled = seccomp_filter.load()
    given = {
        "landlock": {
            "rules": (
                *(rule(path, READ_RIGHTS) for path in readable),
                rule("/proc", PROC_READ_RIGHTS, required=True),
            )
        },
        "seccomp": {"program": compiled.program, "detail": compiled.detail},
    }
    return {name: layer.takes(**given.get(name, {})) for name, layer in LAYERS.items() if not layer.may_be_left_out}


@pytest.fixture(scope="module")
def outside(landlock_abi):
    if landlock_abi < SCOPES_SINCE_ABI:
        pytest.skip("without scopes, what the canary can do depends on the rules that the damage leaves")
    name = f"openshell-canary-{os.getpid()}"
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind("\0" + name)
        server.listen()
        secret = Path(folder, "secret")
        secret.write_text("SECRET")
        fd = os.open(secret, os.O_RDONLY)
        os.set_inheritable(fd, True)
        arguments = (name, str(os.getpid()), str(secret), str(fd))
        readable = sorted({"/usr", "/lib", "/lib64", sys.prefix, sys.base_prefix, str(CANARY)})
        yield Outside(
            secret=secret,
            fd=fd,
            arguments=arguments,
            plan=LaunchPlan(
                argv=(sys.executable, "-I", str(CANARY), *arguments),
                cwd="/",
                environment={"LANG": "C.UTF-8"},
                layers=layers(readable),
                required=("landlock", "seccomp"),
                record={"effective": {}, "kernel": {"workdir": "/"}},
            ),
        )
        os.close(fd)


@dataclass(frozen=True, kw_only=True)
class Started:
    """The launcher's messages, and what the canary found; None if it did not get to run."""

    messages: list
    canary: dict | None
    status: int
    errors: str

    @property
    def refused(self):
        return self.messages[-1]["status"] == "refused"


def start(outside, text):
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as plan, open(reading, "rb") as report:
        plan.write(text)
        plan.seek(0)
        arguments = ["--plan-fd", str(plan.fileno()), "--report-fd", str(writing)]
        process = subprocess.run(
            [sys.executable, "-I", "-m", "openshell_kernel.sandbox.launcher", *arguments],
            pass_fds=(plan.fileno(), writing, outside.fd),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
        )
        os.close(writing)
        messages = [json.loads(line) for line in report]
    try:
        canary = json.loads(process.stdout)
    except ValueError:
        canary = None
    return Started(messages=messages, canary=canary, status=process.returncode, errors=process.stderr)


def assert_confined_or_not_run(outside, text):
    started = start(outside, text)
    assert started.messages, f"the launcher ended without a report: {started.errors}"
    if started.refused:
        assert (started.canary, started.status) == (None, 1)
        return started
    plan = LaunchPlan.from_bytes(text)
    if isinstance(started.canary, dict) and "socket" in started.canary:
        # Damaged arguments make it ask for a socket and a process that do not exist.
        if plan.argv == outside.plan.argv:
            assert (started.canary["socket"], started.canary["signal"]) == ("EPERM", "EPERM")
            assert started.canary["descriptor"] == "EBADF"
            assert started.canary["file"] == ("ok" if grants(plan, outside.secret) else "EACCES")
        assert "ok" not in (started.canary["socket"], started.canary["signal"])
        assert started.canary["no_new_privs"] == 1
        if plan.layers["seccomp"] == outside.plan.layers["seccomp"]:
            assert started.canary["seccomp"] == FILTERED
    return started


def grants(plan, path):
    """Whether a rule of the plan, which can be wider by the damage, really covers a file."""
    folders = {os.path.realpath(rule.path) for rule in plan.rules if "read_file" in rule.rights}
    return any(str(folder) in folders for folder in (path, *path.parents))


def test_the_canary_sings_outside_and_is_silent_inside(outside):
    free = subprocess.run(
        [sys.executable, str(CANARY), *outside.arguments], pass_fds=[outside.fd], capture_output=True, check=True
    )
    assert json.loads(free.stdout) == {
        "socket": "ok",
        "signal": "ok",
        "file": "ok",
        "descriptor": "ok",
        "no_new_privs": 0,
        "seccomp": json.loads(free.stdout)["seccomp"],
    }
    confined = assert_confined_or_not_run(outside, outside.plan.to_bytes())
    assert confined.canary == {
        "socket": "EPERM",
        "signal": "EPERM",
        "file": "EACCES",
        "descriptor": "EBADF",
        "no_new_privs": 1,
        "seccomp": FILTERED,
    }


@st.composite
def cuts(draw, text):
    """Bytes of the plan are lost, doubled, exchanged or added, as when a write or a memory is damaged."""
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 200)))
    between = draw(st.one_of(st.just(b""), st.just(text[start:end] * 2), st.binary(max_size=8), st.just(b"\0" * 8)))
    return text[:start] + between + (b"" if draw(st.booleans()) and draw(st.booleans()) else text[end:])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
TEXT = st.sampled_from(["", "/", "/etc", "leave", "protect", "allow", "write_file", "dac_override", "\ud800"])


def values(value):
    """What could stand in the place of a value: most often something of its own kind, which is harder to find out."""
    if isinstance(value, bool):
        return st.just(not value)
    if isinstance(value, list):
        return st.lists(st.sampled_from(value), max_size=len(value)) if value else st.lists(TEXT, max_size=1)
    return TEXT | JSON if isinstance(value, str) else JSON


def places(node, path=()):
    """Every place in JSON, from the outside in."""
    if path:
        yield path
    for key, child in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from places(child, (*path, key))


def at(data, path):
    for key in path:
        data = data[key]
    return data


def changed(text, path, value):
    data = json.loads(text)
    at(data, path[:-1])[path[-1]] = value
    return json.dumps(data).encode()


@pytest.mark.slow
@EXAMPLES
@given(data=st.data())
def test_no_damaged_bytes_start_an_unconfined_program(outside, data):
    started = assert_confined_or_not_run(outside, data.draw(cuts(outside.plan.to_bytes())))
    event("it ran" if started.canary else "it did not run")


@pytest.mark.slow
@EXAMPLES
@given(data=st.data())
def test_no_damaged_value_starts_an_unconfined_program(outside, data):
    text = outside.plan.to_bytes()
    for _ in range(data.draw(st.integers(1, 2))):
        whole = json.loads(text)
        path = data.draw(st.sampled_from(list(places(whole))))
        text = changed(text, path, data.draw(values(at(whole, path))))
    started = assert_confined_or_not_run(outside, text)
    event("it ran" if started.canary else "it did not run")


def test_requirements_that_were_lost_do_not_switch_off_what_the_machine_can_enforce(outside):
    started = assert_confined_or_not_run(outside, changed(outside.plan.to_bytes(), ("required",), []))
    assert started.canary["socket"] == "EPERM"
    assert started.canary["seccomp"] == FILTERED


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(("layers", "landlock", "rules"), [], id="no rules"),
        pytest.param(("layers", "seccomp", "program"), "", id="no filter, though it is required"),
        pytest.param(("layers", "seccomp", "program"), "0000000000000000", id="a filter that Linux does not accept"),
        pytest.param(("environment",), {"\ud800": ""}, id="a variable whose name no program can be given"),
        pytest.param(("argv", 2), "\ud800", id="an argument that no program can be given"),
        pytest.param(("cwd",), "/\ud800", id="a working directory that cannot exist"),
        pytest.param(("layers", "landlock", "rules", 0, "path"), "/\ud800", id="a path that cannot exist"),
        pytest.param(("record", "effective"), "\ud800", id="a record that is not quite text"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused_or_carried_out_confined(outside, path, value):
    assert_confined_or_not_run(outside, changed(outside.plan.to_bytes(), path, value))


@pytest.mark.parametrize("text", [b"", b"{}", b"null", b"[" * 100_000, b"\xff", b"{" * 5_000_000])
def test_what_is_no_plan_starts_nothing(outside, text):
    with pytest.raises(ConfinementError):
        LaunchPlan.from_bytes(text)
    started = assert_confined_or_not_run(outside, text)
    assert started.refused
    assert started.messages[-1]["error"]


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_half_a_plan_starts_nothing(outside, part):
    text = outside.plan.to_bytes()
    assert assert_confined_or_not_run(outside, text[: int(len(text) * part)]).refused


@pytest.mark.parametrize("arguments", [[], ["x"], ["-1"], ["99"], ["0"], ["1"], ["--report-fd", "1"]])
def test_a_launcher_that_is_given_no_plan_starts_nothing(outside, arguments):
    process = subprocess.run(
        [sys.executable, "-I", "-m", "openshell_kernel.sandbox.launcher", "--plan-fd", *arguments],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 1
    assert process.stdout == ""
