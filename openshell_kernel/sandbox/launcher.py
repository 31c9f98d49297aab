"""The program that becomes the kernel: read the plan, prepare, enforce, report, exec.

Started as `python -I -m openshell_kernel.sandbox.launcher`. With `--plan-fd N [--report-fd M] [--ending-fd K]` it
carries out a plan of the trusted side and reports to the second descriptor, or refusals to stderr; on the third one the
keeper says that nothing of the kernel is left. Without, it was started by a client that ignores provisioners: it
becomes `openshell_kernel.server.standalone`, which makes a plan and starts this again.

It imports the standard library and the landlock binding only, and nothing from the working directory.
"""

from __future__ import annotations

import gc

if __name__ == "__main__":
    # This process soon becomes another program: to look for garbage in it takes longer than it is worth.
    gc.disable()

import contextlib
import errno
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from openshell_kernel.base import wire
from openshell_kernel.base.descriptors import close_all_but
from openshell_kernel.base.sealed import VARIABLE, sealed
from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox.enforcing import context, enforce
from openshell_kernel.sandbox.layers.identity import Identity
from openshell_kernel.sandbox.plan import LaunchPlan
from openshell_kernel.sandbox.report import Report, snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence


_LARGEST_PLAN = 16 << 20
_STDERR = 2
_USAGE = "usage: launcher --plan-fd N [--report-fd M] [--ending-fd K], started by openshell_kernel itself"


def main(argv: Sequence[str]) -> int:
    """Carry out a plan or hand over to the standalone planner. Returns an exit status only when refused."""
    if list(argv[:1]) != ["--plan-fd"]:
        os.execv(sys.executable, [sys.executable, "-I", "-m", "openshell_kernel.server.standalone", *argv])  # noqa: S606 - no shell is wanted
    plan_fd, report_fd, ending_fd = _descriptors(argv)
    given = {plan_fd, report_fd, *(() if ending_fd is None else (ending_fd,))}
    close_all_but(0, 1, 2, *given)
    _let_go_of_terminals()
    for fd in given - {0, 1, 2}:
        os.set_inheritable(fd, False)
    try:
        _run(plan_fd, report_fd, ending_fd)
    except ConfinementError as error:
        _report_refusal(report_fd, str(error))
    except (OSError, ValueError) as error:
        _report_refusal(report_fd, f"the kernel cannot be started: {error}")
    return 1


def _descriptors(argv: Sequence[str]) -> tuple[int, int, int | None]:
    try:
        given = {name: int(value) for name, value in zip(argv[::2], argv[1::2], strict=True)}
        plan, report, ending = given.pop("--plan-fd"), given.pop("--report-fd", _STDERR), given.pop("--ending-fd", None)
    except (ValueError, KeyError):
        raise SystemExit(_USAGE) from None
    if given:
        raise SystemExit(_USAGE)
    return plan, report, ending


def _run(plan_fd: int, report_fd: int, ending_fd: int | None) -> None:
    plan = LaunchPlan.from_bytes(_read_all(plan_fd))
    report = wire.encode(_confine(plan, ending_fd))
    _enter(plan.cwd)
    environment = dict(plan.environment)
    if plan.record:
        environment[VARIABLE] = str(_kept(snapshot(plan.record, report)))
    _report(report_fd, {"status": "confined", "report": report})
    # Python ignores these two in itself, and an ignored signal stays ignored across exec.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execve(plan.argv[0], plan.argv, environment)  # noqa: S606 - no shell is wanted


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise ConfinementError(
            f"{folder}: the kernel's user cannot enter the working directory: {error.strerror}. A notebook may "
            "have closed it; its owner opens it again with chmod u+rwx"
        ) from None


def _confine(plan: LaunchPlan, ending_fd: int | None) -> Report:
    identity = plan.layers.get(Identity.name)
    return enforce(
        plan.layers,
        plan.required,
        context(
            program=plan.argv[0],
            cwd=plan.cwd,
            temporary=plan.environment.get("TMPDIR"),
            ending=ending_fd,
            uid=None if identity is None else identity.uid,
            rules=plan.rules,
        ),
    )


def _read_all(fd: int) -> bytes:
    """Return a plan from a file, or from a pipe, into which it may be written only later."""
    with open(fd, "rb") as stream:
        return stream.read(_LARGEST_PLAN)


def _kept(record: dict[str, Any]) -> int:
    """Return the descriptor from which the kernel reads its record.

    Raises:
        ConfinementError: Linux, or a container around us, makes none.
    """
    try:
        return sealed("openshell-snapshot", json.dumps(record).encode())
    except OSError as error:
        blocked = error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS)
        remedy = "a container's seccomp profile blocks memfd_create: allow it there" if blocked else "try again"
        raise ConfinementError(
            f"the record of the sandbox cannot be kept in memory (memfd_create: {error.strerror}): {remedy}"
        ) from None


def _report_refusal(fd: int, error: str) -> None:
    _report(fd, {"status": "refused", "error": error}, f"OpenShell GPU: the kernel was not started.\n{error}")


def _report(fd: int, message: dict[str, Any], text: str = "") -> None:
    """Tell the trusted side, one JSON line a message; it reads until exec, or death, closes the descriptor.

    On stderr, where a person reads, the text stands in for the message.
    """
    line = text if fd == _STDERR else json.dumps(message)
    view = memoryview(f"{line}\n".encode() if line else b"")
    # A reader that is gone must not keep the kernel from being confined or refused.
    with contextlib.suppress(BrokenPipeError):
        while view:
            view = view[os.write(fd, view) :]


def _let_go_of_terminals() -> None:
    """Leave the kernel no descriptor of a terminal that it could read from or share the settings of."""
    for fd, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, "/proc/self/fd/1", os.O_WRONLY),
        (2, "/proc/self/fd/2", os.O_WRONLY),
    ):
        if os.isatty(fd):
            try:
                new = os.open(name, flags | os.O_NOCTTY | os.O_CLOEXEC)
            except OSError:
                # Somebody else's terminal, as after su.
                new = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            os.dup2(new, fd)
            os.close(new)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
