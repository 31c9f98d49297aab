"""Discovery on the server's side: ask NVML in a child process, for a limited time, once for all who want to know.

A call into the driver can hang for ever, crash, or leave open descriptors of devices, none of which may happen to
Jupyter's server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from openshell_kernel.gpu.discover import mig, native, survey
from openshell_kernel.gpu.inventory import Answer, Inventory, Status
from openshell_kernel.gpu.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

COMMAND = (sys.executable, "-I", "-m", "openshell_kernel.gpu.nvml")

# What stays true until something changes that a signature shows. The others may be over at any time.
_LASTING = frozenset({Status.OK, Status.NO_LIBRARY, Status.NO_DRIVER, Status.VERSION_MISMATCH})
_SECONDS_TO_DIE = 1.0
_SECONDS_TO_AGE = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    root: str

    def signature(self) -> tuple[object, ...]:
        tree = Tree(self.root)
        # Installing or updating a driver library rewrites the loader's cache.
        loader = tree.status("/etc/ld.so.cache")
        return (
            *native.signature(tree),
            *mig.signature(tree),
            loader and (loader.st_ino, loader.st_mtime_ns),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """An answer, the signature under which it holds, and when it was given."""

    answer: Answer
    signature: tuple[object, ...]
    given: float


class Cache:
    """NVML's answers and the questions being asked; for all threads.

    An answer holds while nothing has changed that a signature shows. That a GPU is lost, no signature shows: so an
    answer that has grown old is still given, and asked for anew beside it, for whoever comes next.
    """

    def __init__(self, *, age: float = _SECONDS_TO_AGE, now: Callable[[], float] = time.monotonic) -> None:
        self._age = age
        self._now = now
        self._lock = threading.Lock()
        self._known: dict[_Question, _Known] = {}
        self._pending: dict[tuple[_Question, float], Future[Answer]] = {}

    def look_up(self, question: _Question, seconds: float, *, fresh: bool = False) -> Answer:
        """Return the answer that holds, or wait for the one to come: all who ask the same wait for one process.

        `fresh` asks in any case.
        """
        signature = question.signature()
        with self._lock:
            known = self._known.get(question)
            holds = known is not None and known.signature == signature and not fresh
            if known is not None and holds and self._now() - known.given < self._age:
                return known.answer
            pending = self._pending.get((question, seconds))
            is_asked = pending is not None
            if pending is None:
                pending = self._pending[question, seconds] = Future()
        if known is not None and holds:
            if not is_asked:
                # Nobody waits for it, and it must not keep the server from ending.
                arguments = (question, seconds, signature, pending)
                threading.Thread(target=self._find_out, args=arguments, name="openshell-gpu", daemon=True).start()
            return known.answer
        if not is_asked:
            self._find_out(question, seconds, signature, pending)
        return pending.result()

    def _find_out(
        self, question: _Question, seconds: float, before: tuple[object, ...], pending: Future[Answer]
    ) -> None:
        try:
            answer = _ask_nvml(question.command, dict(question.environment), seconds)
            after = question.signature()
        except BaseException as error:  # noqa: BLE001 - a defect: it belongs to all who wait
            with self._lock:
                del self._pending[question, seconds]
            pending.set_exception(error)
            return
        with self._lock:
            del self._pending[question, seconds]
            # Asking itself can load the driver and make nodes; what was said in between is not kept.
            if answer.status in _LASTING and before == after:
                self._known[question] = _Known(answer=answer, signature=after, given=self._now())
            else:
                self._known.pop(question, None)
        pending.set_result(answer)


_PROCESS_WIDE = Cache()


async def discover(
    *,
    timeout: float = 5.0,
    root: str | os.PathLike[str] = "/",
    environ: Mapping[str, str] = os.environ,
    mps_pipes: str | None = None,
    fresh: bool = False,
    command: Sequence[str] = COMMAND,
    cache: Cache = _PROCESS_WIDE,
) -> Inventory:
    """Return what hardware there is; trouble with it becomes a status, never an exception.

    Nothing of it happens in the event loop. NVML's answer is kept, see `Cache`; the file system is looked at every
    time.

    Args:
        timeout: how many seconds the driver has to answer.
        root: where device nodes are looked for.
        environ: the library's search path is taken from it.
        mps_pipes: the server's CUDA_MPS_PIPE_DIRECTORY.
        fresh: ask NVML even if there is an answer: for those whom a GPU that is lost by now, or busy, concerns.
        command: prints NVML's answer as JSON within the number of seconds that is its last argument.
        cache: where answers are kept.
    """
    question = _Question(command=tuple(command), environment=tuple(environment(environ).items()), root=os.fspath(root))

    def look() -> Inventory:
        answer = cache.look_up(question, timeout, fresh=fresh)
        # Afterwards: asking can load the driver and make nodes.
        return Inventory(answer=answer, surroundings=survey(Tree(root), mps_pipes=mps_pipes))

    return await _in_thread(look)


def _in_thread(function: Callable[[], T]) -> asyncio.Future[T]:
    """Run a function in a thread of its own, past the loop's executor.

    A process that was forked from one that has started a kernel inherits the executor without its threads.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix="openshell-gpu")
    try:
        return asyncio.get_running_loop().run_in_executor(executor, function)
    finally:
        executor.shutdown(wait=False)


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the child process may know: where to look for the library, and nothing of the server's secrets."""
    passed = {name: environ[name] for name in ("PATH", "LANG") if name in environ}
    # The loader splits at both; an empty or relative entry means the current folder.
    folders = [item for item in re.split("[:;]", environ.get("LD_LIBRARY_PATH", "")) if os.path.isabs(item)]
    if folders:
        passed["LD_LIBRARY_PATH"] = ":".join(folders)
    return passed


def _ask_nvml(command: tuple[str, ...], env: dict[str, str], seconds: float) -> Answer:
    try:
        child = subprocess.Popen(
            [*command, str(seconds + _SECONDS_TO_DIE)],
            cwd="/",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A group of its own, to be killed with what the driver starts, and out of reach of a terminal's Ctrl-C.
            start_new_session=True,
        )
    except OSError as error:
        return Answer(
            status=Status.ERROR, detail=f"the process that asks NVML could not be started ({error}): check {command[0]}"
        )
    try:
        output, errors = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        _abandon(child)
        return _timed_out(seconds)
    return _interpret(child.returncode, output, errors, seconds)


def _abandon(child: subprocess.Popen[bytes]) -> None:
    """Kill a process and what it started; wait for its end only if that comes soon."""
    # Set-uid programs of the driver cannot be killed by everybody.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    for pipe in (child.stdout, child.stderr):
        if pipe:
            pipe.close()
    try:
        child.wait(_SECONDS_TO_DIE)
    except subprocess.TimeoutExpired:
        # It sleeps uninterruptibly inside the driver and dies when the driver lets go, if ever.
        threading.Thread(target=child.wait, name="openshell-gpu-reaper", daemon=True).start()


def _interpret(code: int, output: bytes, errors: bytes, seconds: float) -> Answer:
    if code == -signal.SIGALRM:
        return _timed_out(seconds)
    if code < 0:
        return Answer(
            status=Status.CRASHED,
            detail=f"the NVIDIA driver library crashed ({_signal_name(-code)}) while it was asked for GPUs: "
            "see whether nvidia-smi works, and update or reinstall the driver",
        )
    try:
        return Answer.from_json(json.loads(output))
    except ValueError:
        lines = errors.decode(errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), f"exit status {code}")
        return Answer(
            status=Status.ERROR,
            detail=f"the process that asks NVML gave no answer ({said[:200]}): check the installation of "
            "openshell_kernel and the driver",
        )


def _timed_out(seconds: float) -> Answer:
    return Answer(
        status=Status.TIMEOUT,
        detail=f"the NVIDIA driver did not answer within {seconds:g} s: see whether nvidia-smi works (a lost GPU needs "
        "a restart of the machine); if the driver is only slow, run nvidia-persistenced or raise discovery_timeout",
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
