"""The protections in order. A new one is a room in this folder and a row here.

Mounts change while the paths are still as root sees them, and before Landlock, which forbids them; Landlock opens its
paths with all privileges; what is enforced first may hinder what comes later.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from openshell_kernel.sandbox.layers.capabilities import Capabilities
from openshell_kernel.sandbox.layers.contract import Layer, Stage
from openshell_kernel.sandbox.layers.core_dumps import CoreDumps
from openshell_kernel.sandbox.layers.identity import Identity
from openshell_kernel.sandbox.layers.keeper import Keeper
from openshell_kernel.sandbox.layers.landlock import Landlock
from openshell_kernel.sandbox.layers.no_new_privs import NoNewPrivs
from openshell_kernel.sandbox.layers.processes import Processes
from openshell_kernel.sandbox.layers.read_only import ReadOnly
from openshell_kernel.sandbox.layers.seccomp import Seccomp
from openshell_kernel.sandbox.layers.terminal import Terminal
from openshell_kernel.sandbox.layers.tunables import Tunables


class Row(NamedTuple):
    """A layer, and when it prepares and enforces: within a stage, all prepare before the first enforces."""

    layer: type[Layer[Any]]
    prepares: Stage
    enforces: Stage


TABLE = (
    Row(Processes, Stage.MOUNT, Stage.MOUNT),
    Row(Tunables, Stage.MOUNT, Stage.MOUNT),
    Row(ReadOnly, Stage.MOUNT, Stage.MOUNT),
    Row(Terminal, Stage.PRIVILEGES, Stage.PRIVILEGES),
    Row(Identity, Stage.PRIVILEGES, Stage.PRIVILEGES),
    Row(Capabilities, Stage.PRIVILEGES, Stage.PRIVILEGES),
    Row(CoreDumps, Stage.PRIVILEGES, Stage.PRIVILEGES),
    Row(NoNewPrivs, Stage.PRIVILEGES, Stage.PRIVILEGES),
    Row(Keeper, Stage.RESTRICT, Stage.RESTRICT),
    Row(Landlock, Stage.OPEN, Stage.RESTRICT),
    Row(Seccomp, Stage.RESTRICT, Stage.RESTRICT),
)

LAYERS = {row.layer.name: row.layer for row in TABLE}
"""Every layer by its name."""
