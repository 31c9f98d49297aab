"""Which policies near notebooks count: those whose very content a person has trusted, at the path where it was seen.

A policy beside a notebook may have been written by a notebook. So it is trusted by content: the store holds the hash
of what the person was shown, and any change makes the file untrusted again. The store itself is out of every
sandbox's reach; `check_writable_store` makes sure of it at every start that could lead to its use.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import stat
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.base import modes
from openshell_kernel.errors import PolicyError
from openshell_kernel.policy import loading, sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from openshell_kernel.policy.model import Policy

FORMAT = 1
COMMAND = "jupyter openshell trust"
UNTRUST_COMMAND = "jupyter openshell untrust"

_MAX_STORE_BYTES = 4 * 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """A policy that a person has trusted: where it was, and the hash of what it said."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A policy near a notebook, read once: what is trusted, shown and loaded is this and no later state of the file."""

    path: str
    content: bytes

    @property
    def trusted(self) -> Trusted:
        """Return what the store would say of it."""
        return Trusted(path=self.path, sha256=hashlib.sha256(self.content).hexdigest())

    def policy(self) -> Policy:
        """Return the policy that it says.

        Raises:
            PolicyError: it is not valid.
        """
        return loading.decode(self.content, name=self.path)


def read(path: str) -> Candidate:
    """Read a policy near a notebook, once and from one descriptor; symbolic links on the way are resolved.

    Raises:
        PolicyError: it cannot be read, or is itself a symbolic link: its target would not be what people look at.
    """
    file = loading.read(path, follow=False)
    # Control characters would let a file name rewrite what a terminal shows of it.
    if not file.path.isprintable():
        raise PolicyError(f"{file.path!r}: a name with unprintable characters cannot be trusted; rename the folder")
    return Candidate(path=file.path, content=file.content)


def load(path: str, store: Store) -> Policy:
    """Return the policy near a notebook, if exactly its content is trusted. Its folder has no symbolic links.

    Raises:
        PolicyError: it is not trusted, or changed since; the message names the command that trusts it. Or a link has
            taken its place.
    """
    candidate = read(path)
    if candidate.path != path:
        raise PolicyError(
            f"{path}: a symlink leads from here to {candidate.path}, and a notebook may have just made it; "
            "restart the kernel, or remove the link"
        )
    known = {trusted.path: trusted for trusted in store.read()}
    if known.get(candidate.path) != candidate.trusted:
        problem = "has changed since it was trusted" if candidate.path in known else "is not trusted"
        raise PolicyError(
            f"{candidate.path}: this policy near the notebook {problem}, and a notebook may have written it. "
            "Read it. If it is yours, run:\n"
            f"{COMMAND} {shlex.quote(candidate.path)}\n"
            "If it is not, remove the file."
        )
    return candidate.policy()


def check_removed(source: sources.Source, nearby: Iterable[str], store: Store) -> None:
    """Make sure that no notebook widens its next start by removing the trusted policy that it was started from.

    `nearby` are the folders in which a policy was looked for before `source` was found, the nearest first. Where the
    operator names the policy for every notebook, none was, and nothing is refused.

    Raises:
        PolicyError: a trusted policy that would count instead of `source` is gone; the message names the command that
            lets it go.
    """
    if source.pinned:
        return
    trusted = {item.path for item in store.read()}
    for path in map(sources.nearby_policy, nearby):
        if path == source.path:
            return
        if path in trusted:
            raise PolicyError(
                f"{path}: this trusted policy near the notebook is gone. A notebook may have removed it so that "
                f"{source.describe()} counts. Put it back. If you no longer want it, run:\n"
                f"{UNTRUST_COMMAND} {shlex.quote(path)}"
            )


def store_path(environ: Mapping[str, str], *, expanduser: Callable[[str], str] = os.path.expanduser) -> str:
    """Return where a user's store lies: in the data folder of the XDG Base Directory Specification.

    Raises:
        PolicyError: the user has no home directory.
    """
    data = environ.get("XDG_DATA_HOME", "")
    if not data.startswith("/"):
        data = expanduser("~/.local/share")
    if not data.startswith("/"):
        raise PolicyError("no home directory is known, and trust is kept there; set HOME to an absolute path")
    return f"{data.rstrip('/')}/openshell/trust.json"


def check_writable_store(store: str, source: sources.Source, writable: Iterable[str]) -> None:
    """Make sure that the sandbox cannot trust a policy in a person's name.

    Where the operator names the policy for every notebook, the store is not used, and nothing is refused.

    Raises:
        PolicyError: the store, or a symbolic link on the way to it, lies at or beneath a writable path.
    """
    path = None if source.pinned else sources.writable_way(store, writable)
    if path is not None:
        raise PolicyError(
            f"{source.describe()}: the sandbox may write {path}, and so could trust policies in your name in "
            f"{store}; list narrower folders than {path}, or pin one policy for all notebooks with "
            f"{sources.VARIABLE}"
        )


class Store:
    """The file that remembers what was trusted. It is replaced as a whole, so that a reader never sees half of it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self) -> tuple[Trusted, ...]:
        """Return what is trusted; nothing where the store does not exist yet.

        Raises:
            PolicyError: the store is damaged, or others than its owner may have written it.
        """
        self._mend()
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._damaged(f"cannot be read: {error.strerror}") from None
        with open(fd, "rb") as stream:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise self._damaged("is not a regular file")
            if status.st_uid not in (0, os.geteuid()) or status.st_mode & _OTHERS_MAY_WRITE:
                raise self._damaged(f"belongs to user {status.st_uid}, and others may have written it")
            text = stream.read(_MAX_STORE_BYTES + 1)
        return self._decoded(text)

    def add(self, trusted: Trusted) -> None:
        """Trust a content at a path, instead of any other content there.

        Raises:
            PolicyError: the store is damaged, or cannot be written.
        """
        with self._locked():
            others = [item for item in self.read() if item.path != trusted.path]
            self._write([*others, trusted])

    def remove(self, path: str) -> bool:
        """Trust a path no longer; return whether it was trusted.

        Raises:
            PolicyError: the store is damaged, or cannot be written.
        """
        with self._locked():
            known = self.read()
            kept = [item for item in known if item.path != path]
            if len(kept) < len(known):
                self._write(kept)
            return len(kept) < len(known)

    def _decoded(self, text: bytes) -> tuple[Trusted, ...]:
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            raise self._damaged("is not JSON") from None
        if not isinstance(data, dict) or data.keys() != {"format", "trusted"}:
            raise self._damaged("has wrong keys")
        if type(data["format"]) is not int or data["format"] != FORMAT:
            raise self._damaged(f"has another format than {FORMAT}")
        entries = data["trusted"]
        if not isinstance(entries, list) or not all(map(_is_entry, entries)):
            raise self._damaged("has a wrong entry")
        if len({entry["path"] for entry in entries}) != len(entries):
            raise self._damaged("names a path twice")
        return tuple(Trusted(**entry) for entry in entries)

    def _mend(self) -> None:
        for path in (os.path.dirname(self.path), self.path):
            modes.mend(path, private=True)

    def _damaged(self, what: str) -> PolicyError:
        return PolicyError(
            f"{self.path}: the record of trusted policies {what}; put back a copy that you know to be yours. If "
            "you have none, first read each policy near your notebooks, and then move the record away. Until "
            f"you trust them again ({COMMAND} FILE), nobody notices if a notebook removes one"
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time change the store. The lock is a file of its own, because the store is replaced."""
        folder = os.path.dirname(self.path)
        try:
            os.makedirs(os.path.dirname(folder), exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            self._mend()
            status = os.stat(folder)
            if status.st_uid not in (0, os.geteuid()) or status.st_mode & _OTHERS_MAY_WRITE:
                raise PolicyError(
                    f"{folder}: it belongs to user {status.st_uid}, and others may write in it, but trust is "
                    "kept there; move it away, or set XDG_DATA_HOME to a folder of yours"
                )
            lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                os.close(lock)
        except OSError as error:
            raise PolicyError(
                f"{self.path}: the record of trusted policies cannot be written: {error.strerror}; correct the "
                "permissions of its folder. Inside a sandbox nothing can be trusted: use a terminal"
            ) from error

    def _write(self, trusted: Iterable[Trusted]) -> None:
        entries = [{"path": item.path, "sha256": item.sha256} for item in sorted(trusted, key=lambda item: item.path)]
        text = json.dumps({"format": FORMAT, "trusted": entries}, indent=1) + "\n"
        folder = os.path.dirname(self.path)
        # Made with mode 0600.
        fd, temporary = tempfile.mkstemp(prefix="trust-", dir=folder)
        try:
            with open(fd, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(fd)
            os.replace(temporary, self.path)
        except BaseException:
            os.unlink(temporary)
            raise


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and entry.keys() == {"path", "sha256"}
        and all(isinstance(value, str) for value in entry.values())
        and entry["path"].startswith("/")
        and _SHA256.fullmatch(entry["sha256"]) is not None
    )
