"""What a kernel leaves behind is ended with it: by a keeper, which is left here beside the kernel-to-be.

Where Landlock has a scope for signals (ABI 6), launcher and keeper enter a domain of signals, and the kernel a second
one within it. Then the kernel, and all that it starts, can neither signal nor trace the keeper, and a signal that the
keeper sends to everybody reaches them alone, whatever session or parent they have taken: Linux looks at the domain,
which no process can leave. Without the scope the keeper ends what is in the kernel's session or process group.

Source: the kernel's Documentation/userspace-api/landlock.rst, "IPC scoping".
"""

from __future__ import annotations

import contextlib
import os
import sys

from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox import keeper
from openshell_kernel.sandbox.layer import Layer

_NAME = "Nothing stays behind"
_SCOPED = "when the kernel ends, a process out of its reach ends all that it has started"
_BY_SESSION = (
    "without Landlock's signal scope (ABI 6, Linux 6.12) only the kernel's session is ended with it: a program that "
    "leaves the session goes on"
)


def leave_keeper(ending: int | None, *, scoped: bool, same_user: bool) -> Layer:
    """Leave a keeper behind, which is nobody's child, for the kernel that this process is about to become.

    Call it in the domain of signals, where there is one (`scoped`), with the kernel's user and privileges. On `ending`
    the keeper says that it is done; it holds it alone once this process has become the kernel. `same_user` says that
    the kernel's user reaches the Python that runs here: a keeper of its own takes half of the memory of a copy.

    Raises:
        ConfinementError: no process can be made.
    """
    kernel = os.getpid()
    try:
        pidfd = os.pidfd_open(kernel)
    except OSError as error:
        return Layer(name=_NAME, active=False, detail=f"processes cannot be watched here: {error.strerror}")
    try:
        child = os.fork()
    except OSError as error:
        raise ConfinementError(f"no process can be made that ends what the kernel leaves: {error.strerror}") from None
    if not child:
        _leave(pidfd, kernel, ending, scoped=scoped, same_user=same_user)
    os.waitpid(child, 0)
    os.close(pidfd)
    return Layer(name=_NAME, active=scoped, detail=_SCOPED if scoped else _BY_SESSION)


def _leave(pidfd: int, kernel: int, ending: int | None, *, scoped: bool, same_user: bool) -> None:
    try:
        # The parent ends, so that the kernel has no child that it did not start.
        if not os.fork():
            os.setsid()
            os.chdir("/")
            told = _let_go_of_all_but(pidfd, ending)
            if same_user:
                _execute(pidfd, kernel, told, *(("scoped",) if scoped else ()))
            keeper.keep(pidfd, kernel, told, scoped=scoped)
    finally:
        os._exit(0)


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
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd not in (0, 1, 2, pidfd, ending):
            # The descriptor of the listing itself is in the list, and closed by now.
            with contextlib.suppress(OSError):
                os.close(fd)
    return 1 if ending is None else ending
