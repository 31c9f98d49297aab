"""Every attack that must fail fails in an OpenShell GPU kernel, and would succeed in a plain one."""

import pytest

from escapes.attacks import HOLDING, NOTHING, OWNED, UNTRIED, WORKS

TABLE = [
    pytest.param(attack, id=f"{threat}: {attack.name}") for threat, attacks in HOLDING.items() for attack in attacks
]
ACHIEVABLE = [pytest.param(attack, id=attack.name) for attack in OWNED]


def try_out(side, kind, attack):
    if "set_uid_program" in attack.code and not side.set_uid_program:
        pytest.skip("only root can make a set-uid program to try")
    return side.ask("attack", side.kernel(kind), attack.code)


@pytest.mark.parametrize("attack", TABLE)
def test_the_sandbox_holds(side, attack):
    result = try_out(side, "openshell-gpu", attack)
    assert result["outcome"] in attack.inside.of(side.user).split(" or "), result
    assert result["changed"] == []


@pytest.mark.parametrize("attack", TABLE)
def test_the_attack_is_real(side, attack):
    """The same in a plain kernel, where it succeeds, or the table says why it cannot."""
    result = try_out(side, "python3", attack)
    assert result["outcome"] in attack.outside.of(side.user).split(" or "), result
    assert bool(result["changed"]) == (attack.changes and result["outcome"] in (WORKS, NOTHING))


@pytest.mark.parametrize("attack", ACHIEVABLE)
def test_what_may_succeed_succeeds_where_the_table_says_so(side, attack):
    assert try_out(side, "python3", attack)["outcome"] == "works"
    result = try_out(side, "openshell-gpu", attack)
    assert result["outcome"] in attack.inside.of(side.user).split(" or "), result
    assert not attack.changes or bool(result["changed"]) == (result["outcome"] == "works")


def owned_up(snapshot):
    """Return what `%policy show` says is not enforced, and the layers that it shows as missing or not whole."""
    listed = [f"{entry['what']}: {entry['why']}" for entry in snapshot["effective"]["unenforced"]]
    layers = snapshot["report"]["layers"]
    return listed, [f"{layer['title']}: {layer['detail']}" for layer in layers if layer["status"] != "enforced"]


def test_what_really_succeeded_is_what_policy_show_owns_up_to(side):
    kernel = side.kernel("openshell-gpu")
    listed, inactive = owned_up(side.ask("snapshot", kernel))
    achieved = {attack for attack in OWNED if side.ask("attack", kernel, attack.code)["outcome"] == "works"}
    silent = {
        f"{attack.listed}: {attack.name}"
        for attack in achieved
        if not any(attack.listed in entry for entry in [*listed, *inactive])
    }
    assert not silent, f"these succeeded, and %policy show does not name them: {sorted(silent)}"
    untrue = [
        entry
        for entry in listed
        if not any(attack.listed in entry for attack in achieved) and entry.split(": ")[0] not in UNTRIED
    ]
    assert not untrue, f"%policy show names these, and none of them succeeded: {untrue}"
