"""`jupyter`: this package's extension of the schema."""

from typing import Annotated

from openshell_kernel.policy.blocks.block import Block
from openshell_kernel.policy.blocks.conflicts import ConflictsPolicy
from openshell_kernel.policy.blocks.environment import EnvironmentPolicy
from openshell_kernel.policy.blocks.gpu import GpuPolicy
from openshell_kernel.policy.blocks.kinds import NotNull, word_of
from openshell_kernel.policy.effective import HomeKind

_HOME_REMEDY = (
    "write project, which keeps the home for the notebooks of a folder, or ephemeral, which deletes it with the kernel"
)


class JupyterPolicy(Block):
    """This package's extension of the schema: what concerns kernels and not sandboxes in general."""

    environment: NotNull[EnvironmentPolicy] = None
    home: Annotated[HomeKind, word_of(HomeKind, _HOME_REMEDY)] = HomeKind.PROJECT
    gpu: NotNull[GpuPolicy] = None
    baseline_conflicts: NotNull[ConflictsPolicy] = None
