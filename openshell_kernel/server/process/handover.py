"""How a process that makes a plan for itself hands it over to the launcher, which it becomes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from openshell_kernel.errors import ConfinementError, LaunchError
from openshell_kernel.gpu import discovery
from openshell_kernel.server.planning.command import LAUNCHER
from openshell_kernel.server.process.launcher_pipes import report_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from openshell_kernel.sandbox.plan import LaunchPlan

_SECONDS = 60.0
_NOTHING = ("-I", "-S", "-c", "")
"""What a Python is told that is to start and to do nothing."""


def check_launch(plan: LaunchPlan, environment: Mapping[str, str]) -> None:
    """Have the launcher carry out a Python's plan in a child, with a program that does nothing.

    When the launcher refuses in our own place, it is too late to tell anybody.

    Raises:
        ConfinementError: it refuses; the message is the launcher's.
        LaunchError: it does not answer, or Python does not start in the sandbox.
    """
    fd = _in_memory(plan._replace(argv=(plan.argv[0], *_NOTHING)))
    try:
        done = subprocess.run(
            [sys.executable, *LAUNCHER, "--plan-fd", str(fd), "--report-fd", "1"],
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=(fd,),
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LaunchError(
            f"the launcher did not answer within {_SECONDS:.0f} s; a path of the policy may be on a file system "
            "that hangs"
        ) from None
    finally:
        os.close(fd)
    report_in(done.stdout)
    if done.returncode:
        raise LaunchError(f"{plan.argv[0]}: this Python does not start in the sandbox; see the client's log")


def become_launcher(plan: LaunchPlan, environment: Mapping[str, str], *, ending: int | None = None) -> NoReturn:
    """Become the launcher, and by it the kernel. On `ending` its keeper says that nothing of it is left.

    Raises:
        ConfinementError: the plan cannot be handed over.
    """
    # What asks a driver that has not answered yet would be the kernel's child.
    discovery.end()
    fd = _in_memory(plan)
    command = [sys.executable, *LAUNCHER, "--plan-fd", str(fd)]
    os.set_inheritable(fd, True)
    if ending is not None:
        command += ["--ending-fd", str(ending)]
        os.set_inheritable(ending, True)
    os.execve(sys.executable, command, dict(environment))  # noqa: S606 - no shell is wanted


def _in_memory(plan: LaunchPlan) -> int:
    """Return a descriptor from which a plan can be read once."""
    content = plan.to_bytes()
    try:
        fd = os.memfd_create("openshell-plan")
    except OSError:
        return _in_pipe(content)
    with open(fd, "wb", closefd=False) as stream:
        stream.write(content)
        stream.seek(0)
    return fd


def _in_pipe(content: bytes) -> int:
    """Return the reading end of a pipe that holds all: a container may block memfd_create, which has to be told."""
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, len(content))
        os.set_blocking(writing, False)
        complete = os.write(writing, content) == len(content)
    except OSError:
        complete = False
    finally:
        os.close(writing)
    if not complete:
        os.close(reading)
        raise ConfinementError("the plan cannot be kept in memory: a container's seccomp profile blocks memfd_create")
    return reading
