"""Live probes: try something inside a sandbox, and compare how it ended with how it must."""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

WORKS = "works"


class Probe(NamedTuple):
    """One attempt inside a sandbox: in words what was tried, what came of it, and whether that is as it must be."""

    tried: str
    outcome: str
    holds: bool


def outcome_of(attempt: Callable[..., object], *arguments: object) -> str:
    """Return "works", or the name of the error that an attempt met. A descriptor that it returns is closed."""
    try:
        result = attempt(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    if attempt is os.open and isinstance(result, int):
        os.close(result)
    return WORKS


def refused(tried: str, attempt: Callable[..., object], *arguments: object, by: tuple[str, ...]) -> Probe:
    """Try what must fail with one of these errors."""
    outcome = outcome_of(attempt, *arguments)
    return Probe(tried, outcome, outcome in by)


def works(tried: str, attempt: Callable[..., object], *arguments: object) -> Probe:
    """Try what must work."""
    outcome = outcome_of(attempt, *arguments)
    return Probe(tried, outcome, outcome == WORKS)


def equals(tried: str, found: object, expected: object) -> Probe:
    """Compare what Linux says of this process with what must be so."""
    return Probe(tried, str(found), found == expected)


def status() -> dict[str, str]:
    """Return what Linux says of this process: proc_pid_status(5)."""
    with open("/proc/self/status", encoding="utf-8", errors="replace") as stream:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in stream)}


def starter() -> int:
    """Return the number of a process outside of the sandbox: as a rule, of the one that started the kernel."""
    leader = os.getsid(0)
    try:
        with open(f"/proc/{leader}/stat", "rb") as stream:
            return int(stream.read().rpartition(b") ")[2].split()[1])
    except OSError:
        # Where the kernel could not lead a session, its leader is outside, and may be hidden.
        return leader


def status_of_child(action: Callable[[], object]) -> int:
    """Do something in a child, and return the wait status that it ends with."""
    child = os.fork()
    if not child:
        try:
            signal.alarm(10)
            action()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]
