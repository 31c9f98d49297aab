"""The records of who holds which GPU of this machine, and how they are read, outside of sandboxes and inside.

A record is a JSON file that is locked, see `locks`, for as long as its kernel runs. Each user has a folder of records.
What writes them is `openshell_kernel.gpu.claims`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import os
import pwd
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openshell_kernel.base import wire
from openshell_kernel.base.locks import is_locked
from openshell_kernel.base.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NAME = re.compile(r"[0-9a-f]+\.json")
_LARGEST_RECORD = 1 << 16
_LARGEST_PID = 1 << 22  # PID_MAX_LIMIT of Linux
_LONGEST_NAME = 80  # of a hub's user or server: longer ones are cut when they are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A running kernel that holds GPUs: whose it is, its server's process, and since when (ISO 8601).

    A GPU without a UUID stands in `uuids` by its PCI address or node. `user` is the account, which is the owner of the
    record; the rest is the record's own word. In a hub, where all may have one account and be process 1 of a container,
    `hub_user` and `hub_server` tell more; the latter is empty for a user's default server.
    """

    uuids: tuple[str, ...]
    user: str
    pid: int
    since: str
    hub_user: str = ""
    hub_server: str = ""

    @property
    def name(self) -> str:
        """Who it is, for people; not to be shown before it is made printable."""
        return self.hub_user[:_LONGEST_NAME] or self.user

    @property
    def place(self) -> str:
        """Where that one's kernel runs, for people; not to be shown before it is made printable."""
        if not self.hub_user:
            return f"process {self.pid}"
        server = f"server {self.hub_server[:_LONGEST_NAME]} of the hub" if self.hub_server else "the hub's server"
        return f"{server}, account {self.user}"

    def describe(self) -> str:
        """Return in words who it is, printable."""
        return printable(f"{self.name} ({self.place}, since {self.since})")


_KEYS = frozenset(field.name for field in dataclasses.fields(Holder))


def holders(folders: Iterable[str], *, but: str = "") -> tuple[Holder, ...]:
    """Return the kernels that hold GPUs, in the order of their starts, without the one of a certain record."""
    paths = (path for folder in folders for path in records(folder) if path != but)
    return tuple(sorted((holder for path in paths for holder in _told(path)), key=lambda holder: holder.since))


def records(folder: str) -> list[str]:
    """Return the paths of the records in a folder; none where it cannot be listed."""
    try:
        return sorted(f"{folder}/{name}" for name in os.listdir(folder) if _NAME.fullmatch(name))
    except OSError:
        return []


def read(path: str) -> Holder | None:
    """Return the holder that a record tells of, or None where nobody keeps it any more.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    # Without O_NONBLOCK, a FIFO that somebody else has put there would hang whoever looks.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path}: not a regular file")
        if not is_locked(fd):
            return None
        text = os.read(fd, _LARGEST_RECORD)
    finally:
        os.close(fd)
    try:
        return _holder(json.loads(text), _user(status.st_uid))
    except (AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: not a record: {error!r}") from None


def _told(path: str) -> Iterator[Holder]:
    # One that goes away while it is looked at tells of nothing any more.
    with contextlib.suppress(OSError, ValueError):
        holder = read(path)
        if holder is not None:
            yield holder


def _holder(data: dict[str, Any], user: str) -> Holder:
    """Build a holder. Another user may have written the record: what is shown of it must be what it says that it is."""
    # A newer version may tell more, and without a hub there is less.
    told = {key: value for key, value in data.items() if key in _KEYS}
    holder = wire.decode(Holder, {"hub_user": "", "hub_server": "", **told, "user": user})
    dt.datetime.fromisoformat(holder.since)
    if not 0 < holder.pid <= _LARGEST_PID:
        raise ValueError(f"there is no process {holder.pid}")
    return holder


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
