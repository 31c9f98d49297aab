"""The launch plan survives the crossing unchanged, and a damaged one starts nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.errors import refused

from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox.plan import RIGHTS, Identity, LaunchPlan, PlanRule

PLAN = LaunchPlan(
    argv=("/usr/bin/python3", "-m", "ipykernel_launcher"),
    cwd="/home/me/notebooks",
    environment={"LANG": "C.UTF-8", "ODD": "\udc80"},
    rules=(PlanRule(path="/usr", rights=("read_file", "execute"), required=True),),
    kernels_folders=("/home/me",),
    read_only_mounts=("/home/me/notebooks/.venv",),
    pinned=("/home/me/notebooks",),
    require_landlock=True,
    record={"effective": {}},
    identity=Identity(uid=1500, gid=1501, groups=(44,)),
    keep_capabilities=("dac_override",),
    proc="protect",
    proc_for_gpu=True,
    seccomp=bytes(range(16)),
    seccomp_detail="all of them",
    require_seccomp=False,
)


def changed(**changes: object) -> bytes:
    return json.dumps({**json.loads(PLAN.to_bytes()), **changes}).encode()


def test_a_plan_crosses_unchanged():
    assert LaunchPlan.from_bytes(PLAN.to_bytes()) == PLAN
    unchanged = PLAN._replace(identity=None)
    assert LaunchPlan.from_bytes(unchanged.to_bytes()) == unchanged


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(PLAN.to_bytes()[:-1], id="a truncated plan"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"[" * 100_000, id="deep nesting"),
        pytest.param(b"\xff\xfe", id="bytes that are no text"),
        pytest.param(changed(format=True), id="a format that only looks like a number"),
        pytest.param(b'{"argv": []}', id="no format"),
        pytest.param(changed(argv=[]), id="no command"),
        pytest.param(changed(argv=["python"]), id="a command that would be looked up"),
        pytest.param(changed(argv=["/bin/sh", 1]), id="an argument that is no text"),
        pytest.param(changed(argv=["/bin/sh\0"]), id="a NUL in an argument"),
        pytest.param(changed(cwd="relative"), id="a relative working directory"),
        pytest.param(changed(environment={"A=B": "C"}), id="an equals sign in a variable's name"),
        pytest.param(changed(environment=[]), id="an environment that is no object"),
        pytest.param(changed(rules={}), id="rules that are no list"),
        pytest.param(changed(kernels_folders=["relative"]), id="a folder of kernels that is nowhere"),
        pytest.param(changed(read_only_mounts="/home"), id="read-only mounts that are no list"),
        pytest.param(changed(pinned=[1]), id="a pinned folder that is no path"),
        pytest.param(
            changed(rules=[{"path": "/", "rights": ["read_file"], "exact": False, "listed": False}]),
            id="a rule without required",
        ),
        pytest.param(
            changed(rules=[{"path": "x", "rights": ["read_file"], "required": False, "exact": False, "listed": False}]),
            id="a relative rule",
        ),
        pytest.param(
            changed(rules=[{"path": "/", "rights": ["all"], "required": False, "exact": False, "listed": False}]),
            id="an unknown right",
        ),
        pytest.param(
            changed(rules=[{"path": "/", "rights": ["make_char"], "required": False, "exact": False, "listed": False}]),
            id="making devices",
        ),
        pytest.param(
            changed(rules=[{"path": "/", "rights": [], "required": False, "exact": False, "listed": False}]),
            id="a rule without rights",
        ),
        pytest.param(
            changed(rules=[{"path": "/", "rights": ["read_file"], "required": False, "exact": 0, "listed": False}]),
            id="exact as a number",
        ),
        pytest.param(changed(require_landlock=1), id="a truth value that is a number"),
        pytest.param(changed(record=[]), id="a record that is no object"),
        pytest.param(changed(identity={"uid": 1, "gid": 1}), id="an identity without groups"),
        pytest.param(changed(identity={"uid": -1, "gid": 1, "groups": []}), id="a user that means: unchanged"),
        pytest.param(changed(identity={"uid": True, "gid": 1, "groups": []}), id="a user that only looks like 1"),
        pytest.param(changed(identity={"uid": 1, "gid": 2**32 - 1, "groups": []}), id="a group that means: unchanged"),
        pytest.param(changed(identity={"uid": 1, "gid": 1, "groups": ["0"]}), id="a group that is text"),
        pytest.param(changed(keep_capabilities=["sys_admin"]), id="keeping a capability that is never kept"),
        pytest.param(changed(keep_capabilities="dac_override"), id="capabilities that are no list"),
        pytest.param(changed(proc="none"), id="an unknown way with /proc"),
        pytest.param(changed(proc_for_gpu=1), id="a GPU as a number"),
        pytest.param(changed(seccomp=None), id="no filter"),
        pytest.param(changed(seccomp="00000000 00000000"), id="a filter that is not quite hexadecimal"),
        pytest.param(changed(seccomp="\u00e4"), id="a filter in no alphabet"),
        pytest.param(changed(seccomp="000000000000"), id="a filter that ends within an instruction"),
        pytest.param(changed(seccomp="0" * 2 * 8 * 4097), id="a filter that is too long"),
        pytest.param(changed(seccomp_detail=1), id="a filter's detail that is no text"),
        pytest.param(changed(require_seccomp=0), id="requiring a filter as a number"),
        pytest.param(changed(proc=[]), id="a way with /proc that is no text"),
    ],
)
def test_a_damaged_plan_is_refused(text):
    with pytest.raises(ConfinementError):
        LaunchPlan.from_bytes(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(changed(format=1), id="an older format"),
        pytest.param(changed(format=3), id="a newer format"),
        pytest.param(changed(extra=1), id="an unknown key"),
        pytest.param(b'{"format": 2}', id="keys that are missing"),
    ],
)
def test_a_plan_of_another_version_is_told_apart_from_a_damaged_one(text):
    """The server, which runs since before an upgrade, makes it for the launcher that is installed now."""
    with refused(ConfinementError, "openshell_kernel", "Jupyter's server"):
        LaunchPlan.from_bytes(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(key=st.sampled_from(sorted(json.loads(PLAN.to_bytes()))), value=JSON)
def test_whatever_stands_in_a_field_gives_a_plan_or_a_refusal(key, value):
    try:
        plan = LaunchPlan.from_bytes(changed(**{key: value}))
    except ConfinementError:
        return
    assert all(set(rule.rights) <= RIGHTS for rule in plan.rules)
    assert plan.argv[0].startswith("/")


@given(st.binary(max_size=300))
def test_bytes_that_are_no_plan_are_refused(text):
    with pytest.raises(ConfinementError):
        LaunchPlan.from_bytes(text)
