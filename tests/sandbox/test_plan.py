"""The launch plan survives the crossing unchanged, and a damaged one starts nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox.plan import RIGHTS, LaunchPlan, PlanRule

PLAN = LaunchPlan(
    argv=("/usr/bin/python3", "-m", "ipykernel_launcher"),
    cwd="/home/me/notebooks",
    environment={"LANG": "C.UTF-8", "ODD": "\udc80"},
    rules=(PlanRule(path="/usr", rights=("read_file", "execute"), required=True),),
    require_landlock=True,
    record={"effective": {}},
)


def changed(**changes: object) -> bytes:
    return json.dumps({**json.loads(PLAN.to_bytes()), **changes}).encode()


def test_a_plan_crosses_unchanged():
    assert LaunchPlan.from_bytes(PLAN.to_bytes()) == PLAN


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(PLAN.to_bytes()[:-1], id="a truncated plan"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"[" * 100_000, id="deep nesting"),
        pytest.param(b"\xff\xfe", id="bytes that are no text"),
        pytest.param(changed(format=True), id="a format that only looks like 1"),
        pytest.param(changed(extra=1), id="an unknown key"),
        pytest.param(changed(argv=[]), id="no command"),
        pytest.param(changed(argv=["python"]), id="a command that would be looked up"),
        pytest.param(changed(argv=["/bin/sh", 1]), id="an argument that is no text"),
        pytest.param(changed(argv=["/bin/sh\0"]), id="a NUL in an argument"),
        pytest.param(changed(cwd="relative"), id="a relative working directory"),
        pytest.param(changed(environment={"A=B": "C"}), id="an equals sign in a variable's name"),
        pytest.param(changed(environment=[]), id="an environment that is no object"),
        pytest.param(changed(rules={}), id="rules that are no list"),
        pytest.param(
            changed(rules=[{"path": "/", "rights": ["read_file"], "exact": False}]), id="a rule without required"
        ),
        pytest.param(
            changed(rules=[{"path": "x", "rights": ["read_file"], "required": False, "exact": False}]),
            id="a relative rule",
        ),
        pytest.param(
            changed(rules=[{"path": "/", "rights": ["all"], "required": False, "exact": False}]), id="an unknown right"
        ),
        pytest.param(
            changed(rules=[{"path": "/", "rights": ["make_char"], "required": False, "exact": False}]),
            id="making devices",
        ),
        pytest.param(
            changed(rules=[{"path": "/", "rights": [], "required": False, "exact": False}]), id="a rule without rights"
        ),
        pytest.param(
            changed(rules=[{"path": "/", "rights": ["read_file"], "required": False, "exact": 0}]),
            id="exact as a number",
        ),
        pytest.param(changed(require_landlock=1), id="a truth value that is a number"),
        pytest.param(changed(record=[]), id="a record that is no object"),
    ],
)
def test_a_damaged_plan_is_refused(text):
    with pytest.raises(ConfinementError, match="plan is damaged"):
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
