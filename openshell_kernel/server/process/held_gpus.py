"""The GPUs that one kernel holds, from its first start to its end, across restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openshell_kernel.server.process import janitor
from openshell_kernel.server.process.ending import holding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from openshell_kernel.gpu.claims import Claim
    from openshell_kernel.server.process.ending import Ending


class HeldGpus:
    """A kernel's claim, if it has one. `tell` is told of GPUs that cannot be given back yet."""

    def __init__(self, kernel_id: str, tell: Callable[[str], None]) -> None:
        self.claim: Claim | None = None
        self._kernel_id = kernel_id
        self._tell = tell

    def take(self, claim: Claim | None, ending: Ending | None, nodes: tuple[str, ...]) -> None:
        """Hold what a start has claimed until that ending, and give back what was held before, if it is another.

        `nodes` are the device nodes of these GPUs.
        """
        if claim is not self.claim:
            self.release()
            self.claim = claim
        if claim is not None and ending is not None:
            ending.nodes = nodes
            claim.keep_until(ending)

    def keep(self) -> None:
        """Leave it to `release` what becomes of the claim, instead of to the end of the process."""
        if self.claim is not None:
            self.claim.unfollow()

    def follow(self) -> None:
        """Give the GPUs back when the process ends, which may be without anybody's cleaning up."""
        if self.claim is not None:
            self.claim.follow()

    def entrust(self, ending: Ending | None, environment: Mapping[str, str]) -> None:
        """Have a process outlast this one that keeps the claim until that ending."""
        if self.claim is not None and ending is not None:
            janitor.entrust(self.claim, ending, environment)

    def release(self) -> None:
        """Give the GPUs back; but while a process of the kernel's has one open, it stays held, and is followed."""
        claim, self.claim = self.claim, None
        if claim is None:
            return
        ending = claim.unfinished()
        if ending is None:
            claim.release()
            return
        claim.follow()
        self._tell(
            f"GPU {', '.join(claim.uuids)} is still held after kernel {self._kernel_id} ended, because "
            "something that it started still runs: "
            f"{', '.join(holding(ending.nodes)) or 'a process does not end when it is killed'}"
        )
