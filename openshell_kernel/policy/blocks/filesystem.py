"""`filesystem_policy` and `landlock`: the paths that a sandbox may use, and what enforces that."""

from collections.abc import Mapping
from typing import Annotated

from pydantic_core import InitErrorDetails

from openshell_kernel.policy.blocks.block import Block
from openshell_kernel.policy.blocks.errors import at, invalid
from openshell_kernel.policy.blocks.kinds import ListOf, word_of
from openshell_kernel.policy.blocks.paths import ReadOnlyPath, ReadWritePath
from openshell_kernel.policy.effective import MAX_PATHS, Compatibility

_COMPATIBILITY_REMEDY = "write one of the two exactly: a misspelling must not weaken the sandbox"


class FilesystemPolicy(Block):
    """Paths that the sandbox may read, or read and write; everything beneath them included."""

    include_workdir: bool = False
    read_only: ListOf[ReadOnlyPath] = ()
    read_write: ListOf[ReadWritePath] = ()

    @classmethod
    def _limits(cls, data: object) -> list[InitErrorDetails]:
        lists = [data.get(key) for key in ("read_only", "read_write")] if isinstance(data, Mapping) else []
        count = sum(len(paths) for paths in lists if isinstance(paths, (list, tuple)))
        if count <= MAX_PATHS:
            return []
        problem = f"too many filesystem paths ({count} > {MAX_PATHS} in read_only and read_write together)"
        return [at((), invalid(problem, "list the folders above them"))]


class LandlockPolicy(Block):
    """What to do where Landlock cannot do all that is asked for."""

    compatibility: Annotated[Compatibility, word_of(Compatibility, _COMPATIBILITY_REMEDY)] = Compatibility.BEST_EFFORT
