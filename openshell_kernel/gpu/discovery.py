"""Discovery on the server's side: ask NVML in a child process, for a limited time, once for all who want to know."""

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
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from openshell_kernel.gpu import nodes
from openshell_kernel.gpu.inventory import Inventory, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMMAND = (sys.executable, "-I", "-m", "openshell_kernel.gpu.nvml")

# What stays true until something changes that a signature shows. The others may be over at any time.
_LASTING = frozenset({Status.OK, Status.NO_LIBRARY, Status.NO_DRIVER, Status.VERSION_MISMATCH})
_SECONDS_TO_DIE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    root: str

    def signature(self) -> tuple[object, ...]:
        # Installing or updating a driver library rewrites the loader's cache.
        try:
            loader = os.stat(os.path.join(self.root, "etc/ld.so.cache"))
        except OSError:
            return nodes.signature(self.root)
        return (*nodes.signature(self.root), loader.st_ino, loader.st_mtime_ns)


class Cache:
    """Answers with the signature under which they hold, and the questions that are being asked; for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[_Question, tuple[tuple[object, ...], Inventory]] = {}
        self._pending: dict[tuple[_Question, float], Future[Inventory]] = {}

    def look_up(self, question: _Question, seconds: float) -> Inventory | Future[Inventory]:
        """Return the answer that holds, or the one to come: everybody who asks the same waits for one process."""
        signature = question.signature()
        with self._lock:
            known = self._answers.get(question)
            if known and known[0] == signature:
                return known[1]
            pending = self._pending.get((question, seconds))
            if pending is None:
                pending = Future()
                # A running future cannot be cancelled: who stops waiting does not stop the others.
                pending.set_running_or_notify_cancel()
                # Not the loop's executor: other loops wait for the same answer, and this one may end first.
                threading.Thread(
                    target=self._find_out, args=(question, seconds, signature, pending), name="openshell-gpu"
                ).start()
                self._pending[question, seconds] = pending
            return pending

    def _find_out(
        self, question: _Question, seconds: float, before: tuple[object, ...], pending: Future[Inventory]
    ) -> None:
        try:
            inventory = _ask(question, seconds)
            after = question.signature()
        except BaseException as error:  # noqa: BLE001 - a defect: it belongs to those who wait, nobody sees a thread's
            with self._lock:
                del self._pending[question, seconds]
            pending.set_exception(error)
            return
        with self._lock:
            del self._pending[question, seconds]
            # Asking itself can load the driver and make nodes; what was said in between is not kept.
            if inventory.status in _LASTING and before == after:
                self._answers[question] = (after, inventory)
        pending.set_result(inventory)


_PROCESS_WIDE = Cache()


async def discover(
    *,
    timeout: float,
    root: str | os.PathLike[str] = "/",
    environ: Mapping[str, str] = os.environ,
    command: Sequence[str] = COMMAND,
    cache: Cache = _PROCESS_WIDE,
) -> Inventory:
    """Return what hardware there is; see `nvml.discover`.

    `command` prints the inventory as JSON within the number of seconds that is its last argument.
    """
    question = _Question(command=tuple(command), environment=tuple(environment(environ).items()), root=os.fspath(root))
    answer = cache.look_up(question, timeout)
    return answer if isinstance(answer, Inventory) else await asyncio.wrap_future(answer)


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the child process may know: where to look for the library, and nothing of the server's secrets."""
    passed = {name: environ[name] for name in ("PATH", "LANG") if name in environ}
    # The loader splits at both; an empty or relative entry means the current folder.
    folders = [item for item in re.split("[:;]", environ.get("LD_LIBRARY_PATH", "")) if os.path.isabs(item)]
    if folders:
        passed["LD_LIBRARY_PATH"] = ":".join(folders)
    return passed


def _ask(question: _Question, seconds: float) -> Inventory:
    inventory = _ask_nvml(question.command, dict(question.environment), seconds)
    return replace(inventory, nodes=nodes.device_nodes(question.root))


def _ask_nvml(command: tuple[str, ...], env: dict[str, str], seconds: float) -> Inventory:
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
        return Inventory(
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


def _interpret(code: int, output: bytes, errors: bytes, seconds: float) -> Inventory:
    if code == -signal.SIGALRM:
        return _timed_out(seconds)
    if code < 0:
        return Inventory(
            status=Status.CRASHED,
            detail=f"the NVIDIA driver library crashed ({_signal_name(-code)}) while it was asked for GPUs: "
            "see whether nvidia-smi works, and update or reinstall the driver",
        )
    try:
        return Inventory.from_json(json.loads(output))
    except ValueError:
        lines = errors.decode(errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), f"exit status {code}")
        return Inventory(
            status=Status.ERROR,
            detail=f"the process that asks NVML gave no answer ({said[:200]}): check the installation of "
            "openshell_kernel and the driver",
        )


def _timed_out(seconds: float) -> Inventory:
    return Inventory(
        status=Status.TIMEOUT,
        detail=f"the NVIDIA driver did not answer within {seconds:g} s: see whether nvidia-smi works (a lost GPU needs "
        "a restart of the machine); if the driver is only slow, run nvidia-persistenced or raise discovery_timeout",
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
