"""What a kernel writes to its stdout and stderr, copied to the server's log.

A kernel that inherited the server's own descriptors could read what is typed into the server's terminal, change that
terminal, or rewrite the log file behind them. So it writes into a pipe. And each line that comes out of it is marked as
the kernel's: it could look like one of the server's own.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading

_PIECE = 1 << 16
_STDERR = 2
_LONGEST_LINE = 1 << 13
_LONGEST_WRITE = 4096  # bytes; PIPE_BUF of pipe(7): what is written at once is not mixed with what others write
_LONGEST_PART = (_LONGEST_WRITE - 64) // 3
_SHORT = 8  # characters of a kernel's id tell it from the others


def harmless(line: bytes, *, kernel_id: str) -> str:
    """Return a line of a kernel's output, marked and without what would steer a terminal or hide the mark."""
    text = line.decode(errors="replace").rstrip("\r")
    # What isprintable refuses holds also C1 codes, marks that reverse the direction of writing, and wide blanks.
    kept = (c if c.isprintable() or c == "\t" else " " if c.isspace() else "?" for c in text)
    return f"[kernel {kernel_id[:_SHORT]}] {''.join(kept)}\n"


class Output:
    """A pipe for one kernel's output and the thread that copies it; `close` ends both, whoever still holds the pipe.

    Copied are whole lines; a last one without an end comes when the pipe is closed, and a long one in marked pieces.
    """

    def __init__(self, target: int = _STDERR, *, kernel_id: str) -> None:
        self.writing_end = -1
        self._kernel_id = kernel_id
        self._reading_end, self.writing_end = os.pipe()
        self._stopped, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._copy, args=(target,), name="openshell-output", daemon=True)
        self._thread.start()

    def started(self) -> None:
        """Close the writing end, which only the kernel is to hold. Call it once the kernel was started, or not."""
        if self.writing_end >= 0:
            os.close(self.writing_end)
            self.writing_end = -1

    def close(self) -> None:
        """Copy what is left and end. May be called more than once."""
        self.started()
        if self._stop >= 0:
            # Closing alone would not be seen where a forked process holds this end too.
            with contextlib.suppress(BrokenPipeError):
                os.write(self._stop, b"x")
            os.close(self._stop)
            self._stop = -1
            self._thread.join()

    def _copy(self, target: int) -> None:
        poll = select.poll()
        poll.register(self._reading_end, select.POLLIN)
        poll.register(self._stopped, select.POLLIN)
        unfinished = b""
        try:
            while True:
                ready = dict(poll.poll())
                if self._reading_end in ready:
                    piece = os.read(self._reading_end, _PIECE)
                    if not piece:
                        return
                    *lines, unfinished = (unfinished + piece).split(b"\n")
                    if len(unfinished) > _LONGEST_LINE:
                        lines, unfinished = [*lines, unfinished], b""
                    self._write(target, lines)
                if self._stopped in ready:
                    # A pipe holds no more than that piece, but for a program that goes on writing.
                    return
        finally:
            self._write(target, [unfinished] if unfinished else [])
            os.close(self._reading_end)
            os.close(self._stopped)

    def _write(self, target: int, lines: list[bytes]) -> None:
        for line in lines:
            # Each byte that is no text becomes a character of three.
            for start in range(0, max(len(line), 1), _LONGEST_PART):
                text = harmless(line[start : start + _LONGEST_PART], kernel_id=self._kernel_id)
                # A log that cannot be written must not end the kernel.
                with contextlib.suppress(OSError):
                    os.write(target, text.encode())
