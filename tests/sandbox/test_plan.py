"""The launch plan survives the crossing unchanged, and a damaged one starts nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.errors import refused

from openshell_kernel.base.rights import GRANTABLE
from openshell_kernel.base.rules import Access, Origin, Rule
from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox.layers.table import LAYERS
from openshell_kernel.sandbox.plan import LaunchPlan

RULE = Rule("/usr", Access.READ_ONLY, ("read_file", "execute"), Origin.POLICY, "listed", required=True)
PARAMETERS = {
    "landlock": {"rules": (RULE,), "kernels_folders": ("/home/me",)},
    "read_only": {"paths": ("/home/me/notebooks/.venv",), "pinned": ("/home/me/notebooks",)},
    "identity": {"uid": 1500, "gid": 1501, "groups": (44,)},
    "capabilities": {"keep": ("dac_override",)},
    "tunables": {"protect": True, "for_gpu": True},
    "seccomp": {"program": bytes(range(16)), "detail": "all of them"},
}
PLAN = LaunchPlan(
    argv=("/usr/bin/python3", "-m", "ipykernel_launcher"),
    cwd="/home/me/notebooks",
    environment={"LANG": "C.UTF-8", "ODD": "\udc80"},
    layers={name: layer.takes(**PARAMETERS.get(name, {})) for name, layer in LAYERS.items()},
    required=("landlock", "tunables"),
    record={"effective": {}},
)


def changed(**changes: object) -> bytes:
    return json.dumps({**json.loads(PLAN.to_bytes()), **changes}).encode()


def layer(of: str, **changes: object) -> bytes:
    """The plan with other parameters for a layer."""
    layers = json.loads(PLAN.to_bytes())["layers"]
    return changed(layers={**layers, of: {**layers[of], **changes}})


def rule(**changes: object) -> bytes:
    rules = json.loads(PLAN.to_bytes())["layers"]["landlock"]["rules"]
    return layer("landlock", rules=[{**rules[0], **changes}])


def without(name: str) -> bytes:
    layers = json.loads(PLAN.to_bytes())["layers"]
    del layers[name]
    return changed(layers=layers, required=[])


def test_a_plan_crosses_unchanged():
    assert LaunchPlan.from_bytes(PLAN.to_bytes()) == PLAN
    assert LaunchPlan.from_bytes(without("identity")).layers.keys() == LAYERS.keys() - {"identity"}


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
        pytest.param(layer("landlock", rules={}), id="rules that are no list"),
        pytest.param(layer("landlock", kernels_folders=["relative"]), id="a folder of kernels that is nowhere"),
        pytest.param(layer("read_only", paths="/home"), id="read-only mounts that are no list"),
        pytest.param(layer("read_only", pinned=[1]), id="a pinned folder that is no path"),
        pytest.param(rule(path="x"), id="a relative rule"),
        pytest.param(rule(path="/x\0"), id="a NUL in a rule"),
        pytest.param(rule(rights=["all"]), id="an unknown right"),
        pytest.param(rule(rights=["make_char"]), id="making devices"),
        pytest.param(rule(rights=[]), id="a rule without rights"),
        pytest.param(rule(problem="no such file"), id="a rule that would be applied and reported as left out"),
        pytest.param(rule(kind="file"), id="a rule of which the kind is told beforehand"),
        pytest.param(rule(resolved="/etc"), id="a rule of which is told beforehand where it leads"),
        pytest.param(rule(exact=0), id="exact as a number"),
        pytest.param(rule(origin="nobody"), id="an unknown origin"),
        pytest.param(rule(access=["read_only"]), id="an access that is no text"),
        pytest.param(changed(layers=[]), id="layers that are no object"),
        pytest.param(changed(required="landlock"), id="requirements that are no list"),
        pytest.param(changed(required=["nothing"]), id="a requirement that is no layer"),
        pytest.param(changed(record=[]), id="a record that is no object"),
        pytest.param(layer("identity", uid=-1), id="a user that means: unchanged"),
        pytest.param(layer("identity", uid=True), id="a user that only looks like 1"),
        pytest.param(layer("identity", gid=2**32 - 1), id="a group that means: unchanged"),
        pytest.param(layer("identity", groups=["0"]), id="a group that is text"),
        pytest.param(layer("capabilities", keep=["sys_admin"]), id="keeping a capability that is never kept"),
        pytest.param(layer("capabilities", keep="dac_override"), id="capabilities that are no list"),
        pytest.param(layer("tunables", protect="no"), id="an unknown way with /proc"),
        pytest.param(layer("tunables", for_gpu=1), id="a GPU as a number"),
        pytest.param(layer("seccomp", program=None), id="no filter"),
        pytest.param(layer("seccomp", program="00000000 00000000"), id="a filter that is not quite hexadecimal"),
        pytest.param(layer("seccomp", program="\u00e4"), id="a filter in no alphabet"),
        pytest.param(layer("seccomp", program="000000000000"), id="a filter that ends within an instruction"),
        pytest.param(layer("seccomp", program="0" * 2 * 8 * 4097), id="a filter that is too long"),
        pytest.param(layer("seccomp", detail=1), id="a filter's detail that is no text"),
    ],
)
def test_a_damaged_plan_is_refused(text):
    with pytest.raises(ConfinementError):
        LaunchPlan.from_bytes(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(changed(format=2), id="an older format"),
        pytest.param(changed(format=4), id="a newer format"),
        pytest.param(changed(extra=1), id="an unknown key"),
        pytest.param(b'{"format": 3}', id="keys that are missing"),
        pytest.param(without("landlock"), id="no Landlock"),
        pytest.param(without("terminal"), id="a layer that is missing"),
        pytest.param(changed(layers={**json.loads(PLAN.to_bytes())["layers"], "wall": {}}), id="an unknown layer"),
        pytest.param(layer("identity", name="me"), id="an unknown parameter"),
        pytest.param(rule(kinds=[]), id="an unknown part of a rule"),
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


def test_a_message_names_the_path_of_what_is_wrong():
    with refused(ConfinementError, "$.layers.landlock.rules[0].path"):
        LaunchPlan.from_bytes(rule(path="x"))


@given(key=st.sampled_from(sorted(json.loads(PLAN.to_bytes()))), value=JSON)
def test_whatever_stands_in_a_field_gives_a_plan_or_a_refusal(key, value):
    read_or_refused(changed(**{key: value}))


@given(data=st.data(), value=JSON)
def test_whatever_stands_in_a_parameter_gives_a_plan_or_a_refusal(data, value):
    layers = json.loads(PLAN.to_bytes())["layers"]
    name = data.draw(st.sampled_from(sorted(name for name, parameters in layers.items() if parameters)))
    read_or_refused(layer(name, **{data.draw(st.sampled_from(sorted(layers[name]))): value}))


@given(key=st.sampled_from(sorted(RULE._asdict())), value=JSON)
def test_whatever_stands_in_a_rule_gives_a_plan_or_a_refusal(key, value):
    read_or_refused(rule(**{key: value}))


def read_or_refused(text):
    try:
        plan = LaunchPlan.from_bytes(text)
    except ConfinementError:
        return
    assert all(set(rule.rights) <= GRANTABLE and rule.rights for rule in plan.rules)
    assert plan.argv[0].startswith("/")
    assert set(plan.required) <= set(plan.layers)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_plan_are_refused(text):
    with pytest.raises(ConfinementError):
        LaunchPlan.from_bytes(text)
