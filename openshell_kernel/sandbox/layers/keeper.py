"""What a kernel leaves behind is ended with it: by a keeper, which is left here beside the kernel-to-be.

Where Landlock has a scope for signals (ABI 6), launcher and keeper enter a domain of signals, and the kernel a second
one within it. Then the kernel, and all that it starts, can neither signal nor trace the keeper, and a signal that the
keeper sends to everybody reaches them alone, whatever session or parent they have taken: Linux looks at the domain,
which no process can leave. Without the scope the keeper ends what is in the kernel's session or process group.

Source: the kernel's Documentation/userspace-api/landlock.rst, "IPC scoping".
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING

from openshell_kernel.base.descriptors import close_all_but
from openshell_kernel.base.rules import Unenforced
from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox import keeper, ruleset
from openshell_kernel.sandbox.layers.contract import Layer, NoParameters
from openshell_kernel.sandbox.probes import WORKS, Probe, refused
from openshell_kernel.sandbox.report import LayerStatus

if TYPE_CHECKING:
    from openshell_kernel.sandbox.report import LayerReport, Report

_SCOPED = "a process out of the kernel's reach ends everything that the kernel started, when the kernel ends"
_BY_SESSION = (
    "without Landlock's signal scope (ABI 6, Linux 6.12) only the kernel's session ends with it: a program "
    "that left the session goes on"
)
_UPDATE = "update to Linux 6.12 or newer"
_LONGEST_NUMBER = 20  # digits


class Keeper(Layer[NoParameters]):
    """The process that waits for the kernel's end; nobody's child, with the kernel's user and privileges.

    It is a program of its own where the kernel's user reaches the Python that runs here: that takes half of the memory
    of a copy.
    """

    name = "keeper"
    title = "All ends with the kernel"
    covers = "When the kernel ends, everything that it started ends."
    residual = (
        Unenforced(
            what="processes that outlive the kernel",
            why="A program that leaves the kernel's session goes on after the kernel has ended. It stays confined",
        ),
    )

    def enforce(self) -> LayerReport:
        """Enter the domain of signals, where there is one, and leave the keeper in it.

        Raises:
            ConfinementError: no process can be made.
        """
        kernel = os.getpid()
        scoped = ruleset.enter_signal_domain(self.context.support.abi)
        try:
            pidfd = os.pidfd_open(kernel)
        except OSError as error:
            return self.absent(f"processes cannot be watched here: {error.strerror}")
        try:
            number = _leave(pidfd, kernel, self.context.ending, scoped=scoped, same_user=not self.context.new_user)
        except OSError as error:
            raise ConfinementError(
                f"the process that ends what the kernel leaves cannot be started: {error.strerror}"
            ) from None
        finally:
            os.close(pidfd)
        subjects = (str(number),)
        if scoped:
            return self.enforced(_SCOPED, subjects=subjects)
        return self.degraded(_BY_SESSION, self.residual, remedy=_UPDATE, subjects=subjects)

    @classmethod
    def verify(cls, report: Report) -> tuple[Probe, ...]:
        """Signal the keeper: it is there, and out of reach where Landlock has the scope for that."""
        layer = report.layer(cls.name)
        if layer is None or not layer.subjects:
            return (Probe("find the keeper", "none is named", holds=False),)
        expected = "EPERM" if layer.status is LayerStatus.ENFORCED else WORKS
        return (refused("signal the keeper", os.kill, int(layer.subjects[0]), 0, by=(expected,)),)


def _leave(pidfd: int, kernel: int, ending: int | None, *, scoped: bool, same_user: bool) -> int:
    """Leave the keeper and return its number. Its parent ends, so that the kernel has no child that it did not start.

    Raises:
        OSError: no process can be made.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            number = os.fork()
            if number:
                os.write(writing, str(number).encode())
            else:
                _become_keeper(pidfd, kernel, ending, scoped=scoped, same_user=same_user)
        finally:
            os._exit(0)
    os.close(writing)
    # The keeper, which holds the other end for a while, need not be waited for.
    told = os.read(reading, _LONGEST_NUMBER)
    os.close(reading)
    os.waitpid(child, 0)
    if not told:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return int(told)


def _become_keeper(pidfd: int, kernel: int, ending: int | None, *, scoped: bool, same_user: bool) -> None:
    os.setsid()
    os.chdir("/")
    told = _let_go_of_all_but(pidfd, ending)
    if same_user:
        _execute(pidfd, kernel, told, *(("scoped",) if scoped else ()))
    keeper.keep(pidfd, kernel, told, scoped=scoped)


def _execute(pidfd: int, kernel: int, ending: int, *words: str) -> None:
    for fd in (pidfd, ending):
        os.set_inheritable(fd, True)
    command = [sys.executable, "-I", "-S", keeper.__file__, str(pidfd), str(kernel), str(ending), *words]
    environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    with contextlib.suppress(OSError):
        os.execve(command[0], command, environment)  # noqa: S606 - no shell is wanted


def _let_go_of_all_but(pidfd: int, ending: int | None) -> int:
    """Close all else; return where to say that all is done, which is nowhere where nobody asked."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    close_all_but(0, 1, 2, pidfd, ending)
    return 1 if ending is None else ending
