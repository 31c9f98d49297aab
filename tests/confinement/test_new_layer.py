"""A new protection is one module and its row in the table: counted here, for a layer that is added to a copy."""

import difflib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.launching import IMPORTS, PYTHON, copied, launch, plan, rule

from openshell_kernel.base.rights import READ

pytestmark = pytest.mark.usefixtures("landlock_abi")
TABLE = "openshell_kernel/sandbox/layers/table.py"
ROOM = "openshell_kernel/sandbox/layers/umask.py"
MODULE = '''"""A mask for new files: nobody else may read what the kernel makes."""

import os

from openshell_kernel.base.rules import Unenforced
from openshell_kernel.sandbox.layers.contract import Layer
from openshell_kernel.sandbox.probes import equals


class Umask(Layer):
    """The mask."""

    name = "umask"
    title = "Private files"
    covers = "Other users read nothing that the kernel makes."
    residual = (Unenforced(what="the mask for new files", why="it is the server's"),)

    def enforce(self):
        os.umask(0o077)
        return self.enforced("new files are the user's alone")

    @classmethod
    def verify(cls, report):
        return (equals("ask for the mask", oct(os.umask(0o077)), oct(0o077)),)
'''
IMPORT = "from openshell_kernel.sandbox.layers.umask import Umask\n"
ROW = "    Row(Umask, Stage.PRIVILEGES, Stage.PRIVILEGES),\n"
# What the server plans for it, without being told of it.
PLANNED = """
import json, sys
sys.path[:0] = sys.argv[1].split(":")
from openshell_kernel.sandbox.layers.table import LAYERS
from openshell_kernel.server.planning.launch_plan import parameters_of, required
layer = LAYERS["umask"]
print(json.dumps([parameters_of(layer, None) == layer.takes(), required(["umask"], {}), required(["umask"], {"umask": True})]))
"""


@pytest.fixture(scope="module")
def house():
    """A copy of the package with one more layer: one module, and two lines of the table."""
    folder = copied()
    (folder / ROOM).write_text(MODULE)
    table = (folder / TABLE).read_text()
    last_import, first_row = "from openshell_kernel.sandbox.layers.tunables import Tunables\n", "TABLE = (\n"
    assert last_import in table
    table = table.replace(last_import, last_import + IMPORT).replace(first_row, first_row + ROW)
    (folder / TABLE).write_text(table)
    return folder


def sources(folder):
    paths = (Path(folder) / "openshell_kernel").rglob("*.py")
    return {str(path.relative_to(folder)): path.read_text().splitlines() for path in paths}


def test_it_takes_one_module_and_two_lines_of_the_table(house):
    before, after = sources(IMPORTS), sources(house)
    assert after.keys() - before.keys() == {ROOM}
    assert [path for path in before if before[path] != after[path]] == [TABLE]
    edits = [line for line in difflib.ndiff(before[TABLE], after[TABLE]) if line[0] in "+-"]
    assert edits == [f"+ {IMPORT.rstrip()}", f"+ {ROW.rstrip()}"]


def test_the_launcher_enforces_it_the_report_has_it_and_a_probe_finds_it(house):
    # The plan of these tests knows only the layers of this package: the launcher of the copy is given one more.
    asked = plan(
        argv=(PYTHON, "-I", f"{IMPORTS}/verify_self.py", str(house)),
        rules=(rule(IMPORTS, READ), rule(house, READ)),
        record={"effective": {}},
    )
    launched = launch(asked.with_layer("umask", {}), imports=str(house))
    assert launched.layers["umask"]["status"] == "enforced"
    (finding,) = [finding for finding in launched.outcomes["findings"] if finding["name"] == "umask"]
    assert finding["probes"] == [{"tried": "ask for the mask", "outcome": "0o77", "holds": True}]


def test_the_server_plans_it_and_an_operator_can_require_it(house):
    done = subprocess.run([sys.executable, "-c", PLANNED, str(house)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, [], ["umask"]]
