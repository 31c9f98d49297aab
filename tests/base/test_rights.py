"""Landlock's rights stand in one list, and every group of them is made of it."""

import ast
import itertools
from pathlib import Path

import openshell_kernel
from openshell_kernel.base import rights

PACKAGE = Path(openshell_kernel.__file__).parent


def test_every_group_is_part_of_the_list():
    groups = (rights.READ, rights.WRITE, rights.DEVICE, rights.PROC_READ, rights.PROC_WRITE)
    for group in (*groups, rights.FILE, rights.FOLDER):
        assert set(group) <= rights.GRANTABLE
    assert rights.FILE | rights.FOLDER | {"ioctl_dev"} == rights.GRANTABLE
    assert set() == rights.FILE & rights.FOLDER


def test_no_group_has_what_is_never_granted():
    assert {"make_char", "make_block"} == rights.NEVER
    assert not rights.NEVER & rights.GRANTABLE


def test_each_abi_decides_about_more():
    decided = [set(rights.handled(abi)) for abi in range(1, 8)]
    assert all(earlier <= later for earlier, later in itertools.pairwise(decided))
    assert decided[-1] == set(rights.SINCE_ABI)


def test_no_other_module_lists_them_all():
    """A list that has both what came first and what came last was written twice."""
    first_and_last = {"remove_dir", "ioctl_dev"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Tuple, ast.List, ast.Set, ast.Dict)):
                items = node.keys if isinstance(node, ast.Dict) else node.elts
                found = {item.value for item in items if isinstance(item, ast.Constant)}
                assert not first_and_last <= found or path == PACKAGE / "base" / "rights.py", path
