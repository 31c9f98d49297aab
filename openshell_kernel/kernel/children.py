"""The end of a kernel's children where the policy does not grant /proc, in which ipykernel would look for them."""

from __future__ import annotations

import atexit
import os
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging

_COMPLAINT = "Exception during subprocesses termination"


def end_without_proc(ip: Any) -> None:  # noqa: ANN401 - IPython has no types that mypy may follow
    """Arrange that this kernel's children end with it, and that ipykernel's vain look for them is not logged.

    As with ipykernel, those are meant that are still in the kernel's process group.
    """
    log = getattr(getattr(ip, "kernel", None), "log", None)
    if log is None:
        return  # IPython in a terminal ends no children.
    logger = getattr(log, "logger", log)
    logger.addFilter(_is_worth_telling)
    atexit.register(_end, kernel=os.getpid())


def _is_worth_telling(record: logging.LogRecord) -> bool:
    refused = record.exc_info and isinstance(record.exc_info[1], PermissionError)
    # Some releases of ipykernel write the error behind it.
    return not (refused and str(record.msg).startswith(_COMPLAINT))


def _end(kernel: int) -> None:
    # Not in a fork of the kernel; and only where the group is the kernel's own, not that of a client that started it.
    if kernel == os.getpid() == os.getpgrp():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(kernel, signal.SIGTERM)
