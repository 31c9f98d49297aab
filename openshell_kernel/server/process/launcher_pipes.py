"""Between the server and a launcher: the plan's way there, the report's way back, and the keeper's last word."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from openshell_kernel.base.threads import run_in_thread

if TYPE_CHECKING:
    import asyncio


class LauncherPipes:
    """Three pipes, so that a launcher can be started before its plan is made.

    It reads the plan to the end, and a plan that ends too early is refused: whoever gives up merely closes this.
    """

    def __init__(self) -> None:
        self._plan, self._plan_end = os.pipe()
        self._report, self._report_end = os.pipe()
        self._ending, self._ending_end = os.pipe()
        self._open = {*self.descriptors, self._plan_end, self._report, self._ending}

    @property
    def descriptors(self) -> tuple[int, int, int]:
        """The launcher's ends: where the plan comes from, where the report goes, and where the keeper speaks."""
        return self._plan, self._report_end, self._ending_end

    def started(self) -> None:
        """Leave the launcher's ends to the launcher."""
        self._close(*self.descriptors)

    def take_ending(self) -> int:
        """Return the end from which the keeper is heard; to be called once, and to be closed by the caller."""
        self._open.remove(self._ending)
        return self._ending

    def exchange(self, plan: bytes) -> asyncio.Future[bytes]:
        """Send the plan and return the report, which ends when the kernel has been executed or the launcher has died.

        To be called once. What is sent to a launcher that has died is lost: its report tells.
        """
        exchanging = run_in_thread(_exchange, plan, self._plan_end, self._report)
        self._open -= {self._plan_end, self._report}
        return exchanging

    def close(self) -> None:
        """Close what is open still."""
        self._close(*self._open)

    def _close(self, *descriptors: int) -> None:
        for fd in descriptors:
            if fd in self._open:
                self._open.remove(fd)
                os.close(fd)


def _exchange(plan: bytes, plan_end: int, report: int) -> bytes:
    with open(report, "rb") as reading:
        with contextlib.suppress(BrokenPipeError), open(plan_end, "wb") as writing:
            writing.write(plan)
        return reading.read()
