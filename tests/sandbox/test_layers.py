"""Every layer says what it covers and what stays open without it, and the documentation says the same."""

import runpy
from pathlib import Path

import pytest

from openshell_kernel.sandbox.layers.contract import Layer, Need, Stage
from openshell_kernel.sandbox.layers.table import LAYERS, TABLE

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("layer", LAYERS.values(), ids=lambda layer: layer.name)
def test_a_layer_is_whole(layer):
    assert layer.title
    assert layer.covers.endswith(".")
    assert layer.residual
    assert layer.__doc__
    assert layer.enforce is not Layer.enforce
    assert layer.verify.__func__ is not Layer.verify.__func__


def test_a_name_names_one_layer():
    assert len(LAYERS) == len(TABLE)
    assert len({layer.title for layer in LAYERS.values()}) == len(TABLE)


def test_nothing_is_enforced_before_it_is_prepared():
    assert all(row.prepares <= row.enforces for row in TABLE)


def test_the_stages_are_in_the_one_order_that_works():
    stages = {row.layer.name: row for row in TABLE}
    order = list(stages)
    assert list(Stage) == [Stage.MOUNT, Stage.OPEN, Stage.PRIVILEGES, Stage.RESTRICT]
    # Landlock forbids mounts, and opens its paths while root can.
    assert all(stages[name].enforces is Stage.MOUNT for name in ("processes", "tunables", "read_only"))
    assert (stages["landlock"].prepares, stages["landlock"].enforces) == (Stage.OPEN, Stage.RESTRICT)
    assert stages["identity"].enforces is stages["capabilities"].enforces is Stage.PRIVILEGES
    # The keeper is left in a domain around the kernel's, and no_new_privs is what both others are built on.
    assert stages["no_new_privs"].enforces is Stage.PRIVILEGES
    assert order.index("keeper") < order.index("landlock") < order.index("seccomp") == len(order) - 1


def test_an_operator_can_waive_no_layer_on_which_others_are_built():
    always = {name for name, layer in LAYERS.items() if layer.need is Need.ALWAYS}
    assert {"no_new_privs", "capabilities", "identity", "read_only"} == always


def test_the_documentation_lists_what_each_layer_covers_and_what_is_open_without_it():
    """Write it again with: python docs/layers.py > docs/layers.md."""
    page = runpy.run_path(str(DOCS / "layers.py"))["page"]
    assert (DOCS / "layers.md").read_text() == page()
