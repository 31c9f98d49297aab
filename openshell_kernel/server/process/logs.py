"""The files into which Jupyter's servers log: when one starts, it prints the address with its token.

A notebook that may read such a file can tell the server to start an unconfined kernel. What a runner without a server
prints, as papermill and `jupyter execute` do, holds no token: its output may well lie beside the notebook.

Sources: proc_pid_fd(5), proc_pid_fdinfo(5).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import re
import stat
from typing import TYPE_CHECKING, NamedTuple

from jupyter_core.paths import jupyter_runtime_dir

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_STANDARD = (1, 2)
_SERVER = re.compile(r"jpserver-(\d+)\.json")
_TERMINAL = re.compile(r"/dev/pts/(\d+)")
_NO_FILES = ("socket:", "anon_inode:", "/memfd:", "/dev/null")
_MOST = 256  # descriptors of a process; one that copies what a server prints has few
_MULTIPLEXERS = ("/dev/ptmx", "/dev/pts/ptmx")


class _Descriptor(NamedTuple):
    """One open file of a process; `terminal` is the number of that which it is the other end of."""

    number: int
    target: str
    flags: int
    terminal: str
    regular: bool

    @property
    def writes(self) -> bool:
        return self.flags & os.O_ACCMODE != os.O_RDONLY


def server_logs(*, own: bool) -> tuple[str, ...]:
    """Return the logs of all servers of this user that run, and of this process where it is one."""
    mine = {os.getpid()} if own else set()
    return _logs({*mine, *_running()}, _handlers() if own else ())


def client_logs() -> tuple[str, ...]:
    """Return the logs of the client that started this process, which may be a server, and of all servers that run.

    Call it while stdout and stderr are still those that the client gave.
    """
    return _logs({os.getpid(), os.getppid(), *_running()}, ())


def _logs(processes: Iterable[int], files: Iterable[str]) -> tuple[str, ...]:
    found = dict.fromkeys(files)
    passed_on = set()
    for process in processes:
        for each in _descriptors(process):
            if each.regular and each.writes and (each.number in _STANDARD or each.flags & os.O_APPEND):
                found[each.target] = None
            elif each.number in _STANDARD:
                passed_on.add(each.target)
    return (*found, *_written_beyond(frozenset(passed_on)))


@functools.cache
def _written_beyond(targets: frozenset[str]) -> tuple[str, ...]:
    """Return the files that are written by who reads these pipes and terminals, as `tee` and `script` do.

    Looked up once: that takes a look at all processes, and who reads what a server prints stays the same.
    """
    others = (process for process in _processes() if process != os.getpid())
    # A notebook that opens as many files as it may would hold up the server here.
    everybody = {process: list(itertools.islice(_descriptors(process), _MOST)) for process in others}
    ahead, seen = set(targets), set()
    found: dict[str, None] = {}
    while ahead:
        target = ahead.pop()
        seen.add(target)
        for descriptors in everybody.values():
            if any(_reads(each, target) for each in descriptors):
                found.update((each.target, None) for each in descriptors if each.regular and each.writes)
                ahead |= {each.target for each in descriptors if each.number in _STANDARD} - seen
    return tuple(found)


def _reads(descriptor: _Descriptor, target: str) -> bool:
    terminal = _TERMINAL.fullmatch(target)
    if terminal:
        return descriptor.terminal == terminal[1]
    return target.startswith("pipe:") and descriptor.target == target and not descriptor.writes


def _descriptors(process: int) -> Iterator[_Descriptor]:
    """Yield what a process has open, as far as this one may know it."""
    folder = f"/proc/{process}/fd"
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            # It may be closed by now.
            with contextlib.suppress(OSError, ValueError):
                yield _descriptor(folder, name)


def _descriptor(folder: str, name: str) -> _Descriptor:
    target = os.readlink(f"{folder}/{name}")
    if target.startswith(_NO_FILES):
        return _Descriptor(number=int(name), target=target, flags=0, terminal="", regular=False)
    with open(f"{folder}info/{name}") as stream:
        about = dict(line.split(":", 1) for line in stream if ":" in line)
    return _Descriptor(
        number=int(name),
        target=target,
        flags=int(about["flags"], 8),
        terminal=about.get("tty-index", "").strip() if target in _MULTIPLEXERS else "",
        regular=target.startswith("/") and stat.S_ISREG(os.stat(f"{folder}/{name}").st_mode),
    )


def _processes() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _running() -> Iterator[int]:
    """Yield the processes of the servers that have told Jupyter's runtime folder that they run."""
    with contextlib.suppress(OSError):
        for name in os.listdir(jupyter_runtime_dir()):
            server = _SERVER.fullmatch(name)
            if server:
                yield int(server[1])


def _handlers() -> Iterator[str]:
    """Yield the files of this process's loggers, those among them that are not open yet."""
    for logger in (logging.root, *map(logging.getLogger, list(logging.root.manager.loggerDict))):
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                yield handler.baseFilename
