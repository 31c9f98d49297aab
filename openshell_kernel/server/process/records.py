"""The trusted side's own record of each running kernel: what it was given and what the launcher reported.

A kernel answers `%policy` itself, and its notebook can change what it says. This is not in its hands: a file for each
kernel, of mode 0600, beneath Jupyter's folder of keys. No start grants that, unless a policy lists it, which is told: a
kernel that may write there can forge the record of every kernel. It is written when a kernel has started, and removed
when that has ended. A server that is killed leaves it: a record also says which process the kernel is, and one whose
process is gone counts no more. Machines and containers may share the folder, each with processes of its own.

In a folder of its own: Jupyter takes a file of its runtime folder that has a kernel's id in its name for a connection.

Sources: proc_pid_stat(5), for the time at which a process was started; pid_namespaces(7).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_core.paths import jupyter_runtime_dir

from openshell_kernel.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FORMAT = 2
_FOLDER = "openshell"
_NAME = re.compile(r"([0-9A-Za-z_-]{1,80})\.json")
_LARGEST = 16 << 20
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_LONGEST_ELSEWHERE = 30 * 24 * 3600  # seconds
_START_TIME = 19  # of the fields behind the name, which is the second of proc_pid_stat(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a kernel was given.

    Attributes:
        kernel: its id, as Jupyter knows it.
        pid: its process.
        snapshot: what the kernel was handed itself, as the launcher reported it to the server.
    """

    kernel: str
    pid: int
    snapshot: dict[str, Any]


@contextlib.contextmanager
def recorded(kernel: str, pid: int, snapshot: dict[str, Any], *, tell: Callable[[str], None]) -> Iterator[None]:
    """Keep the record of a kernel as long as it runs. Where it cannot be kept, that is told, and nothing else fails."""
    try:
        write(kernel, pid=pid, snapshot=snapshot)
    except OSError as error:
        tell(f"OpenShell: what kernel {kernel} was given is not recorded for `jupyter openshell show`: {error}")
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(_path(), f"{kernel}.json"))


def write(kernel: str, *, pid: int, snapshot: dict[str, Any]) -> None:
    """Record a kernel that has started.

    Raises:
        OSError: it cannot be written.
    """
    if not _NAME.fullmatch(f"{kernel}.json"):
        raise OSError(f"{kernel!r} is no id of a kernel")
    content = {"format": FORMAT, "pid": pid, "started": _start_time(pid), "place": _place(), "snapshot": snapshot}
    folder = _folder()
    try:
        _remove_stale(folder)
        temporary = f".{secrets.token_hex(8)}"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600, dir_fd=folder)
        with open(fd, "w", encoding="utf-8") as stream:
            json.dump(content, stream)
        os.rename(temporary, f"{kernel}.json", src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        os.close(folder)


def running() -> tuple[Record, ...]:
    """Return the records of this user's running kernels, in the order of their ids."""
    try:
        folder = _folder()
    except OSError:
        return ()
    try:
        return tuple(filter(None, (_read(folder, name) for name in sorted(_names(folder)))))
    finally:
        os.close(folder)


def find(beginning: str) -> Record:
    """Return the record of the one running kernel whose id begins so.

    Raises:
        SnapshotError: there is none, or there are several.
    """
    found = [record for record in running() if record.kernel.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise SnapshotError(
            f"{beginning}: no running kernel of yours that a Jupyter server has started has an id that begins so; "
            "`jupyter openshell show` lists them"
        )
    ids = ", ".join(record.kernel for record in found)
    raise SnapshotError(f"{beginning}: several kernels have an id that begins so: {ids}; give more of it")


def _path() -> str:
    return os.path.join(jupyter_runtime_dir(), _FOLDER)


def _folder() -> int:
    """Open the folder of records, made if it is missing: this user's own, and closed to all others.

    Raises:
        OSError: something else stands there.
    """
    os.makedirs(os.path.dirname(_path()), mode=stat.S_IRWXU, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(_path(), stat.S_IRWXU)
    fd = os.open(_path(), os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
    if os.fstat(fd).st_uid == os.geteuid():
        os.fchmod(fd, stat.S_IRWXU)
        return fd
    os.close(fd)
    raise PermissionError(f"{_path()}: it belongs to another user")


def _names(folder: int) -> list[str]:
    return [name for name in os.listdir(folder) if _NAME.fullmatch(name)]


def _read(folder: int, name: str) -> Record | None:
    """Return a record, or None for what is none, or that of a kernel which has ended or runs elsewhere."""
    data = _content(folder, name)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if data["place"] == _place() and data["started"] == _start_time(data["pid"]):
            return Record(kernel=name.removesuffix(".json"), pid=data["pid"], snapshot=data["snapshot"])
    return None


def _content(folder: int, name: str) -> dict[str, Any]:
    """Return what stands in a file; nothing where it is no record."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        with open(os.open(name, os.O_RDONLY | _FLAGS, dir_fd=folder), "rb") as stream:
            data = json.loads(stream.read(_LARGEST))
        if data["format"] == FORMAT:
            return dict(data)
    return {}


def _remove_stale(folder: int) -> None:
    for name in _names(folder):
        with contextlib.suppress(OSError):
            if _is_stale(folder, name):
                os.unlink(name, dir_fd=folder)


def _is_stale(folder: int, name: str) -> bool:
    place = _content(folder, name).get("place")
    if place in (None, _place()):
        return _read(folder, name) is None
    # Of another machine, container or boot: whether its process lives is not known here.
    return time.time() - os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime > _LONGEST_ELSEWHERE


def _place() -> list[str]:
    """Return whose numbers of processes these are: the boot of a machine, and the namespace."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return [stream.read().strip(), os.readlink("/proc/self/ns/pid")]


def _start_time(pid: int) -> int:
    """Return when a process was started, in ticks since the machine's start: with it a pid is no other process's.

    Raises:
        OSError: there is no such process.
    """
    with open(f"/proc/{int(pid)}/stat", "rb") as stream:
        return int(stream.read().rpartition(b") ")[2].split()[_START_TIME])
