"""`jupyter openshell run`: a program, confined as Jupyter's kernels are."""

from __future__ import annotations

import argparse
import os
import signal
from typing import TYPE_CHECKING

from openshell_kernel.cli import passing_on
from openshell_kernel.cli.command import Command, parser
from openshell_kernel.cli.terminal import complain
from openshell_kernel.errors import OpenShellError, ProgramError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from openshell_kernel.api.process import Process

_DESCRIPTION = """\
Run a program under the policy of this folder's notebooks, or under the one that you name. Everything that confines a
kernel confines it. It reads and writes what the policy grants, and gets the environment that the policy passes. It has
a private home and temporary folder, and nothing that it starts outlives it. It may read the Python of this environment.
What an operator sets in Jupyter's configuration or in kernel.json does not count here: name that policy with --policy
or OPENSHELL_SANDBOX_POLICY.

The program reads and writes through pipes, so it gets neither your terminal nor the files behind a redirection. What it
writes goes where this command writes: unchanged into files and pipes, and as text and colours only to a terminal. This
command reads standard input for it, as ssh does; add </dev/null if others need that input. A program that asks for a
terminal, such as an editor, does not work. Ctrl-C and Ctrl-Z reach it."""

_EPILOG = """\
exit status: that of the program, 128+N where signal N ended it, or
  2    the command line is wrong
  125  the program was not started: the policy cannot be used, or the sandbox cannot be built
  127  there is no such program

examples:
  jupyter openshell run -- python3 script.py
  jupyter openshell run --policy /srv/course/policy.yaml -- make test"""

_NOT_STARTED, _NOT_FOUND, _SIGNALLED = 125, 127, 128
_PASSED_ON = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def run(words: Sequence[str]) -> int:
    """Run the program and return what the epilog lists."""
    own = _parser()
    arguments = own.parse_args(words)
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        own.error("the following arguments are required: PROGRAM")
    passing_on.leave_working_directory()
    from openshell_kernel.api.process import run as start  # noqa: PLC0415 - the other commands need none of it

    signals = _Signals()
    try:
        with start(command, policy=arguments.policy) as process:
            signals.pass_on_to(process)
            _tell_what_is_missing(process)
            status = process.wait()
    except ProgramError as error:
        complain(error)
        return _NOT_FOUND
    except OpenShellError as error:
        complain(error)
        return _NOT_STARTED
    return status if status >= 0 else _SIGNALLED - status


def _parser() -> argparse.ArgumentParser:
    own = parser("run", _DESCRIPTION, epilog=_EPILOG, usage="%(prog)s [--policy FILE] -- PROGRAM [ARGS]")
    own.add_argument("--policy", metavar="FILE", help="the policy to use, instead of that of notebooks in this folder")
    own.add_argument("command", nargs=argparse.REMAINDER, metavar="PROGRAM", help="the program and its arguments")
    return own


def _tell_what_is_missing(process: Process) -> None:
    for skipped in process.policy.skipped:
        complain(f"{skipped.path} is not granted: {skipped.why}")
    for rule in process.report.rules:
        if rule.problem and rule.listed:
            complain(f"{rule.path} is not granted: {rule.problem}")


class _Signals:
    """Does with the program, and what it has started in its group, what others do with this process.

    What comes before it has started is kept for it; a second signal means that nobody wants to wait that long.
    """

    def __init__(self) -> None:
        self._process: Process | None = None
        self._early: list[int] = []
        for number in _PASSED_ON:
            signal.signal(number, self._pass_on)
        signal.signal(signal.SIGTSTP, self._stop)

    def pass_on_to(self, process: Process) -> None:
        """Pass on to this program what comes, and what has come."""
        self._process = process
        for number in self._early:
            self._send(number)

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        if self._process is not None:
            self._send(number)
        elif self._early:
            raise SystemExit(_SIGNALLED + number)
        else:
            self._early.append(number)

    def _stop(self, _: int, __: FrameType | None) -> None:
        self._send(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._send(signal.SIGCONT)

    def _send(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)


COMMAND = Command(name="run", help="run a program, confined as kernels are", run=run)
