"""Blocking work beside the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


def run_in_thread(function: Callable[..., _T], *arguments: object) -> asyncio.Future[_T]:
    """Run a function in a thread of its own.

    Not in the loop's executor: a process that was forked from one that has started a kernel, as multiprocessing's
    workers are, inherits the loop with the executor but none of its threads, and would wait for ever.
    """
    executor = ThreadPoolExecutor(1)
    try:
        return asyncio.get_running_loop().run_in_executor(executor, function, *arguments)
    finally:
        executor.shutdown(wait=False)
