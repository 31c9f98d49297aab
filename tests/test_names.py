"""A function's name says what becomes of what it finds: a check that could be ignored in silence would be a hole."""

import ast
from pathlib import Path

import pytest

import openshell_kernel

PACKAGE = Path(openshell_kernel.__file__).parent
VALIDATORS = ("policy/blocks/", "policy/model.py")
FUNCTIONS = [
    pytest.param(node, id=f"{path.relative_to(PACKAGE)}:{node.name}")
    for path in sorted(PACKAGE.rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
]


def named(*beginnings):
    return [each for each in FUNCTIONS if each.values[0].name.lstrip("_").startswith(beginnings)]


# Pydantic's validators return the value that they have checked, and Pydantic calls them.
@pytest.mark.parametrize("function", [each for each in named("check_") if not each.id.startswith(VALIDATORS)])
def test_a_check_raises_and_returns_nothing(function):
    assert ast.unparse(function.returns) == "None"


@pytest.mark.parametrize("function", named("why_not_"))
def test_a_reason_is_returned_as_text(function):
    assert ast.unparse(function.returns) in ("str", "str | None", "Iterator[str]")


def test_nothing_is_named_in_a_way_that_leaves_open_which_of_the_two_it_does():
    assert [each.id for each in named("refuse_")] == []
