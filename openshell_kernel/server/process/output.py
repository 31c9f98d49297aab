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
import time

_PIECE = 1 << 16
_STDERR = 2
_LONGEST_LINE = 1 << 13
_LONGEST_WRITE = 4096  # bytes; PIPE_BUF of pipe(7): what is written at once is not mixed with what others write
_LONGEST_PART = (_LONGEST_WRITE - 64) // 3
_CLOSE_SECONDS = 1.0
_IDLE_PER_WORK = 3  # so that copying takes a quarter of one core at most
_SHORT = 8  # characters of a kernel's id tell it from the others


def harmless(line: bytes, *, kernel_id: str) -> str:
    """Return a line of a kernel's output, marked and without what would steer a terminal or hide the mark."""
    text = line.decode(errors="replace").rstrip("\r")
    # What isprintable refuses holds also C1 codes, marks that reverse the direction of writing, and wide blanks.
    kept = (c if c.isprintable() or c == "\t" else " " if c.isspace() else "?" for c in text)
    return f"[kernel {kernel_id[:_SHORT]}] {''.join(kept)}\n"


class Relay:
    """Copies a kernel's output to a log, line by line: each marked, and a long one in marked pieces."""

    def __init__(self, target: int, *, kernel_id: str) -> None:
        self._target = target
        self._kernel_id = kernel_id
        self._unfinished = b""

    def copy(self, source: int) -> bool:
        """Copy the lines that end in what can be read now; return whether there may be more one day.

        The source must not block: whoever has the other end of a pipe can take out what was in it.
        """
        try:
            piece = os.read(source, _PIECE)
        except BlockingIOError:
            return True
        *lines, self._unfinished = (self._unfinished + piece).split(b"\n")
        if len(self._unfinished) > _LONGEST_LINE:
            lines, self._unfinished = [*lines, self._unfinished], b""
        self._write(lines)
        return bool(piece)

    def finish(self) -> None:
        """Copy a last line without an end."""
        if self._unfinished:
            self._write([self._unfinished])
            self._unfinished = b""

    def _write(self, lines: list[bytes]) -> None:
        together = b""
        for line in lines:
            # Each byte that is no text becomes a character of three.
            for start in range(0, max(len(line), 1), _LONGEST_PART):
                text = harmless(line[start : start + _LONGEST_PART], kernel_id=self._kernel_id).encode()
                if len(together) + len(text) > _LONGEST_WRITE:
                    self._put(together)
                    together = b""
                together += text
        self._put(together)

    def _put(self, text: bytes) -> None:
        # A log that cannot be written must not end the kernel.
        with contextlib.suppress(OSError):
            while text:
                text = text[os.write(self._target, text) :]


class Output:
    """A pipe for one kernel's output and the thread that copies it; `close` ends both, whoever still holds the pipe.

    A last line without an end comes when the pipe is closed.
    """

    def __init__(self, target: int = _STDERR, *, kernel_id: str) -> None:
        self.writing_end = -1
        self._kernel_id = kernel_id
        self._reading_end, self.writing_end = os.pipe()
        os.set_blocking(self._reading_end, False)
        self._stopped, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._copy, args=(target,), name="openshell-output", daemon=True)
        self._thread.start()

    def started(self) -> None:
        """Close the writing end, which only the kernel is to hold. Call it once the kernel was started, or not."""
        if self.writing_end >= 0:
            os.close(self.writing_end)
            self.writing_end = -1

    def close(self) -> None:
        """Copy what is left and end. May be called more than once.

        It does not wait for a log that takes nothing, such as a terminal that was stopped: the thread ends by itself.
        """
        self.started()
        if self._stop >= 0:
            # Closing alone would not be seen where a forked process holds this end too.
            with contextlib.suppress(BrokenPipeError):
                os.write(self._stop, b"x")
            os.close(self._stop)
            self._stop = -1
            self._thread.join(_CLOSE_SECONDS)

    def _copy(self, target: int) -> None:
        poll = select.poll()
        poll.register(self._reading_end, select.POLLIN)
        poll.register(self._stopped, select.POLLIN)
        relay = Relay(target, kernel_id=self._kernel_id)
        try:
            stopped = False
            while not stopped:
                ready = dict(poll.poll())
                # Looked at first: a pipe holds no more than one piece, but for a program that goes on writing.
                stopped = self._stopped in ready
                began = time.thread_time()
                if self._reading_end in ready and not relay.copy(self._reading_end):
                    return
                # A kernel that writes without end must not slow down the server, in whose process this runs.
                if not stopped:
                    time.sleep(_IDLE_PER_WORK * (time.thread_time() - began))
        finally:
            relay.finish()
            os.close(self._reading_end)
            os.close(self._stopped)
