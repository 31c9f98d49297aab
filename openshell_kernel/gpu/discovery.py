"""Discovery on the server's side: NVML's answer, see `asking`, with what the file system shows.

The driver can take long: without persistence mode it starts its GPUs for 5 to 30 seconds. So who asks waits only for a
time, while the process that asks goes on, and whoever asks next has its answer.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import re
import sys
import time
from typing import TYPE_CHECKING

from openshell_kernel.base.threads import run_in_thread
from openshell_kernel.gpu.asking import SLOW, Cache, Question
from openshell_kernel.gpu.discover import survey
from openshell_kernel.gpu.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from openshell_kernel.base.hardware import Hardware

COMMAND = (sys.executable, "-I", "-m", "openshell_kernel.gpu.nvml")
_SECONDS_TO_TELL = 5.0

_PROCESS_WIDE = Cache()
atexit.register(_PROCESS_WIDE.end)


async def discover(
    *,
    timeout: float = 5.0,
    root: str | os.PathLike[str] = "/",
    environ: Mapping[str, str] = os.environ,
    mps_pipes: str | None = None,
    fresh: bool = False,
    command: Sequence[str] = COMMAND,
    cache: Cache = _PROCESS_WIDE,
    tell: Callable[[str], None] | None = None,
) -> Hardware:
    """Return what hardware there is; trouble with it becomes a status, never an exception.

    Nothing of it happens in the event loop. NVML's answer is kept, see `Cache`; the file system is looked at every
    time.

    Args:
        timeout: how many seconds to wait for the driver's answer. It is asked further, for whoever comes next.
        root: where device nodes are looked for.
        environ: the library's search path is taken from it.
        mps_pipes: the server's CUDA_MPS_PIPE_DIRECTORY.
        fresh: ask NVML even if there is an answer: for those whom a GPU that is lost by now, or busy, concerns.
        command: prints NVML's answer as JSON within the number of seconds that is its last argument.
        cache: where answers are kept.
        tell: is told, in a sentence, while it takes long.
    """
    question = Question(command=tuple(command), environment=tuple(environment(environ).items()), root=os.fspath(root))

    def look() -> Hardware:
        answer = cache.look_up(question, timeout, fresh=fresh)
        # Afterwards: who waited for the driver may have waited until it was loaded.
        return survey(answer, Tree(root), mps_pipes=mps_pipes)

    return await _telling(run_in_thread(look), tell)


def end() -> None:
    """End the processes that still ask for this one, before it becomes another program."""
    _PROCESS_WIDE.end()


async def _telling(looking: asyncio.Future[Hardware], tell: Callable[[str], None] | None) -> Hardware:
    started = time.monotonic()
    while not (await asyncio.wait({looking}, timeout=_SECONDS_TO_TELL))[0]:
        if tell is not None:
            tell(f"waiting for the NVIDIA driver's answer for {time.monotonic() - started:.0f} s: {SLOW}")
    found = looking.result()
    took = time.monotonic() - started
    if tell is not None and took >= _SECONDS_TO_TELL:
        tell(f"after {took:.0f} s of waiting for the NVIDIA driver: {found.detail}")
    return found


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the child process may know: where to look for the library, and nothing of the server's secrets."""
    passed = {name: environ[name] for name in ("PATH", "LANG") if name in environ}
    # The loader splits at both; an empty or relative entry means the current folder.
    folders = [item for item in re.split("[:;]", environ.get("LD_LIBRARY_PATH", "")) if os.path.isabs(item)]
    if folders:
        passed["LD_LIBRARY_PATH"] = ":".join(folders)
    return passed
