"""What a kernel writes to its stdout and stderr, copied to the server's log.

A kernel that inherited the server's own descriptors could read what is typed into the server's terminal, change that
terminal, or rewrite the log file behind them. So it writes into a pipe.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading

_PIECE = 1 << 16
_STDERR = 2
# Control characters steer a terminal: only tabs and ends of lines are copied.
_HARMLESS = bytes(code if code in (9, 10) or 32 <= code != 127 else ord("?") for code in range(256))  # noqa: PLR2004 - ASCII


class Output:
    """A pipe for one kernel's output and the thread that copies it; `close` ends both, whoever still holds the pipe."""

    def __init__(self, target: int = _STDERR) -> None:
        self.writing_end = -1
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
        try:
            while True:
                ready = dict(poll.poll())
                if self._reading_end in ready:
                    piece = os.read(self._reading_end, _PIECE)
                    if not piece:
                        return
                    # A log that cannot be written must not end the kernel.
                    with contextlib.suppress(OSError):
                        os.write(target, piece.translate(_HARMLESS))
                if self._stopped in ready:
                    # A pipe holds no more than that piece, but for a program that goes on writing.
                    return
        finally:
            os.close(self._reading_end)
            os.close(self._stopped)
