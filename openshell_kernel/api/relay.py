"""This process's own streams for a confined program, through pipes.

A program that inherited them could rewrite the whole file behind one, take out of a pipe what others write into it,
read what is typed into a terminal, put words into it, or change its settings. So it gets pipes, and threads of this
process copy what it writes to where this process writes, unchanged for files and pipes. A terminal is shown text and
colours only, because a terminal obeys what it is shown, and answers.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import select
import stat
import subprocess
import threading
from typing import TYPE_CHECKING

from openshell_kernel.base.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE = 1 << 16
_HARMLESS = re.compile(r"\x1b\[[0-9;:]*[mK]")  # colours, and clearing the rest of the line
_UNFINISHED = re.compile(r"\x1b(\[[0-9;:]{0,64})?\Z")
_KEPT = "\n\r\t\b"


class Shown:
    """Turns what a program writes into what a terminal may be shown, piece by piece."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def __call__(self, piece: bytes) -> bytes:
        """Return what of a piece, and of what was held back, can be shown by now; an empty piece is the end."""
        text = self._held + self._decoder.decode(piece, final=not piece)
        unfinished = _UNFINISHED.search(text) if piece else None
        end = unfinished.start() if unfinished else len(text)
        text, self._held = text[:end], text[end:]
        shown, place = "", 0
        for match in _HARMLESS.finditer(text):
            shown += printable(text[place : match.start()], keep=_KEPT) + match[0]
            place = match.end()
        return (shown + printable(text[place:], keep=_KEPT)).encode()


class Relay:
    """Stands between the standard streams of a program and those of this process.

    Call `started` when the program was started and `finish` when it has ended, or `abandon` when nothing was started.
    """

    def __init__(self) -> None:
        self._theirs: list[int] = []
        self._jobs: list[Callable[[], None]] = []
        self._threads: list[threading.Thread] = []

    def stdin(self) -> int:
        """Return what the program is to read from in order to read what this process reads."""
        if not _is_shared(0):
            return subprocess.DEVNULL
        reading, writing = os.pipe()
        self._theirs.append(reading)
        self._jobs.append(lambda: _feed(0, writing))
        return reading

    def to(self, fd: int) -> int:
        """Return what the program is to write to in order to write to a descriptor of this process."""
        if not _is_shared(fd):
            return subprocess.DEVNULL
        reading, writing = os.pipe()
        self._theirs.append(writing)
        self._jobs.append(lambda: _copy(reading, fd, Shown() if os.isatty(fd) else bytes))
        return writing

    def started(self) -> None:
        """Leave the program's ends to the program, and begin to copy."""
        self._close()
        for job in self._jobs:
            thread = threading.Thread(target=job, name="openshell-relay", daemon=True)
            thread.start()
            self._threads.append(thread)

    def abandon(self) -> None:
        """Close everything: nothing was started."""
        self._close()
        for job in self._jobs:
            job()

    def finish(self) -> None:
        """Wait until all that the program wrote is where it belongs."""
        for thread in self._threads:
            thread.join()

    def _close(self) -> None:
        while self._theirs:
            os.close(self._theirs.pop())


def _is_shared(fd: int) -> bool:
    """Whether there is anything, and anybody, behind a descriptor."""
    try:
        return not stat.S_ISCHR(os.fstat(fd).st_mode) or os.isatty(fd)
    except OSError:
        return False  # closed


def _feed(source: int, target: int) -> None:
    """Copy what comes in as long as the program may read it: what it leaves is for who comes next."""
    poll = select.poll()
    poll.register(source, select.POLLIN)
    poll.register(target, 0)
    with open(target, "wb", buffering=0), contextlib.suppress(OSError):
        while not (ready := dict(poll.poll())).get(target, 0):
            piece = os.read(source, _PIECE) if source in ready else b""
            if not piece:
                return
            _write(target, piece)


def _copy(source: int, target: int, shown: Callable[[bytes], bytes]) -> None:
    with open(source, "rb", buffering=0):
        while True:
            piece = os.read(source, _PIECE)
            # Where nobody reads, what writes is told so: closing is what tells it.
            try:
                _write(target, shown(piece))
            except OSError:
                return
            if not piece:
                return


def _write(fd: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]
