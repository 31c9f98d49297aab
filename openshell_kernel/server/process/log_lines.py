"""The server's log, in which no line is forged: not by a name that a notebook chose, in whosever message it stands.

Jupyter logs names of folders and files, and the text of errors, as they are. A newline in one begins a line that looks
like any other, and an escape steers the terminal. So what comes to the handlers is made printable there.
"""

from __future__ import annotations

import logging
from typing import Any

from openshell_kernel.base.text import printable_lines

_formatter = logging.Formatter()


class Printable(logging.Filter):
    """Makes the message and the traceback of each record printable; lines after the first are indented."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record pass. Called by the handler before it formats the record."""
        try:
            record.msg, record.args = printable_lines(record.getMessage()), None
        except (TypeError, ValueError, KeyError):
            # Its arguments do not fit; the handler says so itself.
            return True
        if record.exc_info and not record.exc_text:
            record.exc_text = _formatter.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = printable_lines(record.exc_text)
        return True


def protect(log: Any) -> None:  # noqa: ANN401 - a logger, or an adapter of one
    """Make all that comes to a logger's handlers printable, from now on. May be called more than once."""
    logger = getattr(log, "logger", log)
    while logger is not None:
        for handler in logger.handlers:
            if not any(isinstance(existing, Printable) for existing in handler.filters):
                handler.addFilter(Printable())
        logger = logger.parent if logger.propagate else None
