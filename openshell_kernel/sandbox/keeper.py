"""The keeper: a small program beside the kernel, which ends whatever the kernel leaves behind.

The layer of this name starts it and says why it can do that. It waits for the kernel's end, ends what is
left, and waits until none of that lives: a process that sleeps in a driver keeps its GPU open. Where it can tell for
sure that nothing is left, it says so.

It imports the standard library only, and as little of that as it can: one runs for as long as each kernel does.

Sources: kill(2), proc_pid_stat(5).
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

DONE = b"done"
"""What it says on the descriptor that it is given. Where that closes unsaid, something may be left."""

_DEAD = (b"Z", b"X")
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.002, 1.0  # seconds


def keep(pidfd: int, kernel: int, ending: int, *, scoped: bool) -> None:
    """Wait for the end of the kernel and end what is left of it.

    `scoped` says that a signal from here reaches the kernel's processes only; otherwise its session is what counts,
    which a process can leave.
    """
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll()
    _end_all(kernel, scoped=scoped)
    if scoped:
        os.write(ending, DONE)


def _end_all(kernel: int, *, scoped: bool) -> None:
    pause = _SHORTEST_PAUSE
    while True:
        if scoped:
            # All at once, so that none of them can start another meanwhile.
            _kill(-1)
        left = [pid for pid in _others() if _is_left(pid, kernel, scoped=scoped)]
        if not left:
            return
        for pid in left:
            _kill(pid)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _kill(pid: int) -> None:
    try:  # noqa: SIM105 - contextlib would be another module to keep in memory
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass  # It has ended meanwhile.


def _others() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]


def _is_left(pid: int, kernel: int, *, scoped: bool) -> bool:
    try:
        if scoped:
            os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", "rb") as stream:
            state, _, group, session = stream.read().rpartition(b") ")[2].split()[:4]
        # Of a process whose first thread has ended, that thread looks dead while others live.
        lives = state not in _DEAD or len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False
    return lives and (scoped or kernel in (int(group), int(session)))


if __name__ == "__main__":
    keep(*map(int, sys.argv[1:4]), scoped=sys.argv[4:] == ["scoped"])
