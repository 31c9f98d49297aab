"""What `import openshell_kernel` offers: each name with its types, and an example for each function that runs."""

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import openshell_kernel

EXAMPLES = Path(__file__).with_name("examples.py")
POLICY = "version: 1\nfilesystem_policy: {read_only: [/usr]}\n"
WRONG = "version: 1\nfilesystem: {}\nlandlock: {compatibility: strict}\n"
FUNCTIONS = [name for name in openshell_kernel.__all__ if inspect.isfunction(getattr(openshell_kernel, name))]


def for_type_checkers():
    """What the package imports for the sake of types: each public name, and the module that has it."""
    tree = ast.parse(Path(openshell_kernel.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {alias.name: node.module for node in block.body for alias in node.names}


def test_type_checkers_and_programs_find_the_same_under_every_name():
    assert sorted(for_type_checkers()) == openshell_kernel.__all__ == sorted(openshell_kernel.__all__)
    for name, module in for_type_checkers().items():
        thing = getattr(openshell_kernel, name)
        assert thing is getattr(sys.modules[module], name)
        assert thing.__doc__


def test_all_names_are_listed_and_no_other_is_there():
    assert set(openshell_kernel.__all__) <= set(dir(openshell_kernel))
    with pytest.raises(AttributeError, match="has no attribute 'walk'"):
        openshell_kernel.walk  # noqa: B018 - asking is the test


def test_importing_the_package_loads_nothing_else():
    code = "import sys, openshell_kernel; print([name for name in sys.modules if name.startswith('openshell_kernel.')])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
@pytest.mark.usefixtures("landlock_abi")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_examples_in_the_documentation_are_true(name, folder):
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "wrong.yaml").write_text(WRONG)
    done = subprocess.run(
        [sys.executable, "-I", str(EXAMPLES), name], capture_output=True, text=True, cwd=folder, timeout=120
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["tried"] > 0
    assert result["failed"] == 0, done.stderr
