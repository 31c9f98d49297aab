"""From what is asked for to a program that runs confined: the launcher, and what is left to clean up after it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, NamedTuple

from openshell_kernel.server.planning.command import LAUNCHER
from openshell_kernel.server.planning.pipeline import make_plan
from openshell_kernel.server.process import janitor
from openshell_kernel.server.process.ending import of_child
from openshell_kernel.server.process.launcher_pipes import LauncherPipes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openshell_kernel.policy.effective import EffectivePolicy
    from openshell_kernel.sandbox.report import Report
    from openshell_kernel.server.dirs.private_dir import PrivateDir
    from openshell_kernel.server.planning.pipeline import Planned
    from openshell_kernel.server.planning.request import KernelRequest
    from openshell_kernel.server.process.ending import Ending

_CLEANUP_SECONDS = 5.0


class Streams(NamedTuple):
    """The standard streams of a program, as `subprocess.Popen` takes them."""

    stdin: int | IO[bytes]
    stdout: int | IO[bytes]
    stderr: int | IO[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A program that runs confined, what it was given, and the process that removes what it leaves behind, if any.

    `report` is the launcher's, of what was achieved.
    """

    process: subprocess.Popen[bytes]
    policy: EffectivePolicy
    report: Report
    private: PrivateDir
    janitor: subprocess.Popen[bytes] | None

    def end(self) -> None:
        """End the program: nobody is going to wait for it."""
        _end(self.process)
        self.clean_up()

    def clean_up(self) -> None:
        """Wait for what the program has started to end, and for its folder to be removed; remove it at last."""
        if self.janitor is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.janitor.wait(_CLEANUP_SECONDS)
        self.private.remove()


async def launch(request: KernelRequest, streams: Streams) -> Launched:
    """Plan what is asked for, start the launcher, and return when it has become the program.

    Raises:
        OpenShellError: nothing runs; see `run`. The private folder is the caller's to remove.
    """
    planned = await make_plan(request)
    with contextlib.ExitStack() as undo:
        if planned.claim is not None:
            undo.callback(planned.claim.release)
        with contextlib.closing(LauncherPipes()) as pipes:
            process = _launcher(planned, pipes, streams)
            undo.callback(_end, process)
            ending = of_child(process.pid, pipes.take_ending())
            # A kernel shows its record; a program would be handed a descriptor that it knows nothing of.
            report = await pipes.carry_out(planned.plan._replace(record={}), str)
        ending.nodes = planned.effective.selection.own_nodes
        _keep_claim(planned, ending)
        launched = Launched(
            process=process,
            policy=planned.effective,
            report=report,
            private=request.private,
            janitor=_janitor(ending, request.private, planned.launcher_environment),
        )
        undo.pop_all()
    return launched


def _launcher(planned: Planned, pipes: LauncherPipes, streams: Streams) -> subprocess.Popen[bytes]:
    plan, report, ending = map(str, pipes.descriptors)
    process = subprocess.Popen(
        [sys.executable, *LAUNCHER, "--plan-fd", plan, "--report-fd", report, "--ending-fd", ending],
        cwd="/",
        env=planned.launcher_environment,
        pass_fds=pipes.descriptors,
        # Out of reach of what a terminal sends to everybody: who started it passes that on.
        start_new_session=True,
        stdin=streams.stdin,
        stdout=streams.stdout,
        stderr=streams.stderr,
    )
    pipes.started()
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _keep_claim(planned: Planned, ending: Ending) -> None:
    """Hold the GPUs until nothing of the program is left, also when this process ends first."""
    if planned.claim is not None:
        planned.claim.keep_until(ending)
        janitor.entrust(planned.claim, ending, planned.launcher_environment)
        planned.claim.follow()


def _janitor(ending: Ending, private: PrivateDir, environment: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
    """Leave it to a process of its own to remove the private folder: this one may end first."""
    if ending.kernel is None:
        return None
    lock = private.descriptor()
    try:
        return janitor.start(ending, environment, keep=lock, path=str(private.path))
    finally:
        os.close(lock)
