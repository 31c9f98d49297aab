"""What crosses between processes comes out as it went in, or is refused with the path of what is wrong."""

import json
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openshell_kernel.base import wire


class Colour(str, Enum):
    RED = "red"
    BLUE = "blue"


def why_not_short(value: str) -> str:
    return "longer than three characters" if len(value) > 3 else ""


class Leaf(NamedTuple):
    name: Annotated[str, why_not_short]
    colour: Colour
    size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Tree:
    leaves: tuple[Leaf, ...]
    weights: dict[str, float]
    raw: bytes
    alive: bool
    anything: dict[str, Any]


TREE = Tree(
    leaves=(Leaf("a", Colour.RED), Leaf("\udc80", Colour.BLUE, 3)),
    weights={"kg": 1.5},
    raw=b"\x00\xff",
    alive=True,
    anything={"x": [None, {}]},
)


def changed(**changes):
    return {**wire.encode(TREE), **changes}


def leaf(**changes):
    return changed(leaves=[wire.encode(TREE.leaves[0]), {**wire.encode(TREE.leaves[1]), **changes}])


def test_a_value_crosses_unchanged():
    assert wire.decode(Tree, json.loads(json.dumps(wire.encode(TREE)))) == TREE


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ([], "$: "),
        (changed(alive=1), "$.alive: "),
        (changed(raw="0"), "$.raw: "),
        (changed(raw="FF"), "$.raw: "),
        (changed(weights={"kg": 1}), "$.weights['kg']: "),
        (changed(leaves={}), "$.leaves: "),
        (leaf(colour="green"), "$.leaves[1].colour: "),
        (leaf(colour=["red"]), "$.leaves[1].colour: "),
        (leaf(name="four"), "$.leaves[1].name: longer than three characters"),
        (leaf(name=None), "$.leaves[1].name: "),
        (leaf(size=True), "$.leaves[1].size: "),
        (leaf(size="3"), "$.leaves[1].size: "),
    ],
)
def test_what_is_wrong_is_named_by_its_path(data, where):
    with pytest.raises(wire.WireError) as caught:
        wire.decode(Tree, data)
    assert str(caught.value).startswith(where)
    assert not isinstance(caught.value, wire.WrongKeysError)


@pytest.mark.parametrize(
    ("data", "where", "key"),
    [
        (changed(extra=1), "$: ", "extra"),
        ({name: value for name, value in wire.encode(TREE).items() if name != "raw"}, "$: ", "raw"),
        (leaf(extra=1), "$.leaves[1]: ", "extra"),
        # Also where the field has a default: whoever writes it writes it whole.
        (changed(leaves=[{"name": "a", "colour": "red"}]), "$.leaves[0]: ", "size"),
    ],
)
def test_keys_of_another_version_are_told_apart(data, where, key):
    with pytest.raises(wire.WrongKeysError) as caught:
        wire.decode(Tree, data)
    assert str(caught.value).startswith(where)
    assert repr(key) in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON, st.sampled_from(sorted(wire.encode(TREE))))
def test_whatever_is_accepted_is_written_as_it_was_read(value, key):
    data = changed(**{key: value})
    try:
        tree = wire.decode(Tree, data)
    except wire.WireError:
        return
    assert json.dumps(wire.encode(tree)) == json.dumps(data)
