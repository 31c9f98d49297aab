"""Between the server and a launcher: the plan's way there, the report's way back, and the keeper's last word."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import TYPE_CHECKING

from openshell_kernel.base import wire
from openshell_kernel.base.threads import run_in_thread
from openshell_kernel.errors import ConfinementError, LaunchError
from openshell_kernel.sandbox.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from openshell_kernel.sandbox.plan import LaunchPlan

_REPORT_SECONDS = 60.0


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

    async def carry_out(self, plan: LaunchPlan, how_it_ended: Callable[[], str]) -> Report:
        """Give the launcher its plan, wait until it has become the kernel, and return its report.

        `how_it_ended` is asked when the launcher has died.

        Raises:
            ConfinementError: it refuses; the message is the launcher's.
            LaunchError: it died, or does not answer in time.
        """
        exchanging = self.exchange(plan.to_bytes())
        try:
            text = await asyncio.wait_for(asyncio.shield(exchanging), _REPORT_SECONDS)
        except asyncio.TimeoutError:
            raise LaunchError(
                f"the launcher did not answer within {_REPORT_SECONDS:.0f} s; a path of the policy may be on a "
                "file system that hangs"
            ) from None
        return report_in(text, how_it_ended)

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


def report_in(answer: bytes, how_it_ended: Callable[[], str] = str) -> Report:
    """Return the report in a launcher's answer. `how_it_ended` is asked where there is none.

    Raises:
        ConfinementError: the launcher has refused the plan; the message is the launcher's.
        LaunchError: it has died before it reported.
    """
    try:
        last = json.loads(answer.splitlines()[-1])
        report = wire.decode(Report, last["report"]) if last["status"] == "confined" else None
    except (IndexError, ValueError, KeyError, TypeError):
        raise LaunchError(
            f"the launcher ended before it reported{how_it_ended()}; see its last words in the log"
        ) from None
    if report is None:
        raise ConfinementError(last["error"])
    return report
