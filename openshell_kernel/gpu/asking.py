"""Asking NVML in a child process, once for all who want to know, and keeping its answer while that holds.

A call into the driver can hang for ever, crash, or leave open descriptors of devices, none of which may happen to
Jupyter's server.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.base import wire
from openshell_kernel.base.hardware import Hardware, Status
from openshell_kernel.gpu.discover import mig, native
from openshell_kernel.gpu.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable

# What stays true until something changes that a signature shows. The others may be over at any time.
_LASTING = frozenset({Status.OK, Status.NO_LIBRARY, Status.NO_DRIVER, Status.VERSION_MISMATCH})
_SECONDS_TO_DIE = 1.0
_SECONDS_TO_AGE = 10.0
_SECONDS_TO_LIVE = 120.0
SLOW = "a driver is slow without persistence mode: run `nvidia-smi -pm 1`, or nvidia-persistenced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, and whom: the same question has the same answer while its signature is the same."""

    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    root: str

    def signature(self) -> tuple[object, ...]:
        """Return a value that changes when the driver, its library or the GPUs do."""
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

    answer: Hardware
    signature: tuple[object, ...]
    given: float


class Cache:
    """NVML's answers and the questions being asked; for all threads.

    An answer holds while nothing has changed that a signature shows. That a GPU is lost, no signature shows: so an
    answer that has grown old is still given, and asked for anew beside it, for whoever comes next.

    A question is asked by one process at a time, which is given `life` seconds and then killed. One that sleeps inside
    the driver dies when the driver lets go, if ever: until then no other is started.
    """

    def __init__(
        self,
        *,
        age: float = _SECONDS_TO_AGE,
        life: float = _SECONDS_TO_LIVE,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._age = age
        self._life = life
        self._now = now
        self._lock = threading.Lock()
        self._known: dict[Question, _Known] = {}
        self._asking: dict[Question, _Asking] = {}

    def look_up(self, question: Question, seconds: float, *, fresh: bool = False) -> Hardware:
        """Return the answer that holds, or wait for the one to come: all who ask the same wait for one process.

        `fresh` asks in any case, and takes an answer that holds if the driver does not give another in time.
        """
        signature = question.signature()
        with self._lock:
            known = self._known.get(question)
            if known is not None and known.signature != signature:
                known = None
            if known is not None and not fresh and self._now() - known.given < self._age:
                return known.answer
            asking = self._asking.get(question) or self._ask(question, signature)
        if known is not None and not fresh:
            return known.answer
        try:
            return asking.answer.result(seconds)
        except concurrent.futures.TimeoutError:
            return known.answer if known is not None else _still_asked(seconds)

    def end(self) -> None:
        """End the processes that ask: for a program that ends, or becomes another."""
        with self._lock:
            asking = tuple(self._asking.values())
        for each in asking:
            each.end()
        concurrent.futures.wait([each.answer for each in asking], _SECONDS_TO_DIE)

    def _ask(self, question: Question, signature: tuple[object, ...]) -> _Asking:
        asking = _Asking(question, self._life)
        # Whoever waits may stop to, and it must not keep the server from ending.
        arguments = (asking, question, signature)
        threading.Thread(target=self._find_out, args=arguments, name="openshell-gpu", daemon=True).start()
        self._asking[question] = asking
        return asking

    def _find_out(self, asking: _Asking, question: Question, before: tuple[object, ...]) -> None:
        try:
            answer = asking.ask()
            self._keep(question, answer, before)
            asking.answer.set_result(answer)
            asking.wait()
        except BaseException as error:  # noqa: BLE001 - a defect: it belongs to all who wait
            asking.answer.set_exception(error)
        finally:
            with self._lock:
                del self._asking[question]

    def _keep(self, question: Question, answer: Hardware, before: tuple[object, ...]) -> None:
        after = question.signature()
        with self._lock:
            # Others can load the driver and make nodes meanwhile; what was said in between is not kept.
            if answer.status in _LASTING and before == after:
                self._known[question] = _Known(answer=answer, signature=after, given=self._now())
            else:
                self._known.pop(question, None)


class _Asking:
    """A process that asks NVML, and the answer that it gives to all who wait."""

    def __init__(self, question: Question, life: float) -> None:
        self.answer: Future[Hardware] = Future()
        self._question = question
        self._life = life
        self._child: subprocess.Popen[bytes] | None = None
        self._is_ended = False

    def ask(self) -> Hardware:
        """Start the process and return its answer, or that it gave none. It may be alive then, see `wait`."""
        command = self._question.command
        try:
            child = self._child = _start(command, dict(self._question.environment), self._life)
        except OSError as error:
            return Hardware(
                status=Status.ERROR,
                detail=f"the process that asks NVML could not be started ({error}): check {command[0]}",
            )
        if self._is_ended:
            _kill(child)
        try:
            output, errors = child.communicate(timeout=self._life)
        except subprocess.TimeoutExpired:
            _kill(child)
            return _timed_out(self._life)
        return _interpret(child.returncode, output, errors, self._life)

    def wait(self) -> None:
        """Wait for the end of the process, which may sleep uninterruptibly inside the driver."""
        if self._child is not None:
            for pipe in (self._child.stdout, self._child.stderr):
                if pipe:
                    pipe.close()
            self._child.wait()

    def end(self) -> None:
        """Kill the process; the answer says so to whoever still waits."""
        self._is_ended = True
        if self._child is not None:
            _kill(self._child)


def _start(command: tuple[str, ...], env: dict[str, str], seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*command, str(seconds + _SECONDS_TO_DIE)],
        cwd="/",
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A group of its own, to be killed with what the driver starts, and out of reach of a terminal's Ctrl-C.
        start_new_session=True,
    )


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill a process and what it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _interpret(code: int, output: bytes, errors: bytes, seconds: float) -> Hardware:
    if code == -signal.SIGALRM:
        return _timed_out(seconds)
    if code < 0:
        return Hardware(
            status=Status.CRASHED,
            detail=(
                f"the NVIDIA driver library crashed ({_signal_name(-code)}) when asked for GPUs: see whether "
                "nvidia-smi works, and update or reinstall the driver"
            ),
        )
    try:
        return wire.decode(Hardware, json.loads(output))
    except ValueError:
        lines = errors.decode(errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), f"exit status {code}")
        return Hardware(
            status=Status.ERROR,
            detail=f"the process that asks NVML gave no answer ({said[:200]}): check the installation of "
            "openshell_kernel and the driver",
        )


def _timed_out(seconds: float) -> Hardware:
    return Hardware(
        status=Status.TIMEOUT,
        detail=f"the NVIDIA driver did not answer within {seconds:g} s: see whether nvidia-smi works (a lost GPU needs "
        f"a restart of the machine); {SLOW}",
    )


def _still_asked(seconds: float) -> Hardware:
    return Hardware(
        status=Status.TIMEOUT,
        detail=(
            f"the NVIDIA driver did not answer within {seconds:g} s. The question stays open, and a kernel that "
            f"starts later has the answer; {SLOW}; or raise discovery_timeout"
        ),
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
