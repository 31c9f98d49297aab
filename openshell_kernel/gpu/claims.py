"""Who holds which GPU of this machine: records of running kernels, and a lock under which they are chosen.

A record is a file that its kernel's server and janitor keep locked for as long as the kernel, or a process that it has
started, runs. Linux drops the lock with the last of them, however they ended: a crash strands no GPU, and frees none
that is in use. Only who may write a record can lock it, so that a sandbox, which may read the records to show them,
cannot feign a claim. How records are read is `openshell_kernel.base.claims`' to say.

Each user has a folder of records, so that nobody can change another's. A notebook can change the modes of its own
user's files, as Landlock does not restrict chmod: it can hide its user's claims from other users, and the lock where
its user made that, until a kernel of its user starts, which mends them. What this coordinates is kernels, not
attackers: a program outside of every sandbox that wants a GPU opens it without asking.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import secrets
import stat
import threading
import weakref
from typing import TYPE_CHECKING, Protocol

from openshell_kernel.base import claims, locks
from openshell_kernel.base.modes import set_mode
from openshell_kernel.errors import ConfigurationError, LaunchError
from openshell_kernel.gpu import choosing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from openshell_kernel.base.claims import Holder

# Where every user may make files, and nobody may touch those of others. /dev/shm is open to sandboxes.
SHARED_FOLDERS = ("/run/lock", "/var/tmp")  # noqa: S108 - the machine's, on purpose
_NAME = "openshell-gpu"
_OPEN_TO_ALL, _LISTABLE, _READABLE = 0o1777, 0o755, 0o644


_claims: weakref.WeakSet[Claim] = weakref.WeakSet()


class Ending(Protocol):
    """The end of a kernel and of all that it has started: who starts kernels knows how to tell it.

    `kernel` is None where processes cannot be watched. `nodes` are the device nodes that nobody may have open then.
    """

    kernel: int | None
    nodes: tuple[str, ...]

    def is_over(self) -> bool:
        """Return whether nothing of it is left."""

    def wait(self) -> None:
        """Wait until nothing of it is left."""


class Claim:
    """GPUs that a kernel holds, until `release` or the end of the processes that keep this."""

    def __init__(self, fd: int, path: str, uuids: tuple[str, ...]) -> None:
        self.path = path
        self.uuids = uuids
        self._endings: list[Ending] = []
        self._fd = fd
        self._lock = threading.RLock()
        self._following: object = None
        _claims.add(self)

    @property
    def is_held(self) -> bool:
        """Whether the GPUs have not been given back."""
        return self._fd >= 0

    def release(self) -> None:
        """Give the GPUs back. May be called more than once."""
        with self._lock:
            if self._fd < 0:
                return
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            # Closing alone would not do where another process was handed the description.
            locks.unlock(self._fd)
            os.close(self._fd)
            self._fd = -1

    def descriptor(self) -> int:
        """Return a descriptor with which another process keeps the claim as well.

        Raises:
            OSError: it was released.
        """
        with self._lock:
            return os.dup(self._fd)

    def keep_until(self, ending: Ending) -> None:
        """Take note of a kernel, the first or one after a restart, that has to be over before the GPUs are free."""
        self._endings = [*(earlier for earlier in self._endings if not earlier.is_over()), ending]

    def unfinished(self) -> Ending | None:
        """Return an ending that is not over yet, if there is one."""
        return next((ending for ending in self._endings if not ending.is_over()), None)

    def follow(self) -> None:
        """Release when nothing of the kernel is left, whether anybody cleans up after it or not; until `unfollow`.

        Where processes cannot be watched (a container's seccomp profile), only `release` and the end of this process
        release it.
        """
        self._following = mark = object()
        if all(ending.kernel is not None for ending in self._endings):
            threading.Thread(target=self._wait, args=(mark,), name="openshell-claim", daemon=True).start()

    def unfollow(self) -> None:
        """Keep the claim although the kernel ends: whoever ends it decides."""
        with self._lock:
            self._following = None

    def forget(self) -> None:
        """Let go without giving back: called in a process that was forked from the one which keeps this."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _wait(self, mark: object) -> None:
        for ending in self._endings:
            ending.wait()
        with self._lock:
            if self._following is mark:
                self.release()


def _forget_all() -> None:
    for claim in list(_claims):
        claim.forget()


# A child of the server's, as multiprocessing makes them, may live longer than the server.
os.register_at_fork(after_in_child=_forget_all)


class Registry:
    """The records of one machine.

    `folder` is where they are kept; by default the first of the `shared` ones that everybody may write, which is the
    same for all users of the machine.
    """

    def __init__(self, folder: str | None = None, *, shared: Sequence[str] = SHARED_FOLDERS) -> None:
        self._folder = folder
        self._shared = tuple(shared)

    @property
    def folder(self) -> str:
        """The folder that holds a folder of records for each user, without symbolic links.

        Raises:
            ConfigurationError: there is none.
        """
        if self._folder is not None:
            return os.path.realpath(self._folder)
        for candidate in self._shared:
            with contextlib.suppress(OSError):
                status = os.lstat(candidate)
                # One that is in use stays in use, whatever becomes of its mode.
                if (
                    stat.S_ISDIR(status.st_mode)
                    and status.st_uid == 0
                    and (status.st_mode & _OPEN_TO_ALL == _OPEN_TO_ALL or os.path.lexists(f"{candidate}/{_NAME}.lock"))
                ):
                    return os.path.realpath(candidate)
        raise ConfigurationError(
            f"there is no folder for the records of who holds which GPU: {' and '.join(self._shared)} are not "
            "open to all users; name one with c.OpenShellProvisioner.gpu_claims"
        )

    @property
    def lock(self) -> str:
        """The file that is locked while GPUs are chosen."""
        return f"{self.folder}/{_NAME}.lock"

    def folders(self) -> tuple[str, ...]:
        """Return the users' folders that are there, each owned by the user whom its name tells."""
        found = []
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(self.folder)):
                match = re.fullmatch(rf"{_NAME}-(0|[1-9][0-9]*)", name)
                path = f"{self.folder}/{name}"
                if match and _is_folder_of(path, int(match[1])):
                    found.append(path)
        return tuple(found)

    def holders(self, *, but: Claim | None = None) -> tuple[Holder, ...]:
        """Return who holds GPUs just now, in the order of their starts, but for one claim."""
        return claims.holders(self.folders(), but="" if but is None else but.path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep all others on this machine from choosing GPUs meanwhile.

        Raises:
            LaunchError: somebody else did not let go of the lock in time.
        """
        with choosing.locked(self.lock):
            yield

    def claim(self, uuids: Sequence[str], *, pid: int, hub_user: str = "", hub_server: str = "") -> Claim:
        """Record that a kernel holds GPUs. Call it while `locked`.

        `pid` is that of the kernel's server, and the hub's names are those of who started that, for people: all users
        of the machine may read them.

        Raises:
            LaunchError: the record cannot be written.
        """
        folder = self._own
        since = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
        by_hub = {"hub_user": hub_user, "hub_server": hub_server} if hub_user else {}
        record = json.dumps({"uuids": list(uuids), "pid": pid, "since": since, **by_hub}).encode()
        name = f"{secrets.token_hex(8)}.json"
        # Beside the folder until it is locked: whoever may read the folder, as a sandbox may, could lock it first.
        temporary = f"{self.folder}/.{_NAME}-{os.geteuid()}-{name}"
        try:
            self.prepare()
            self._remove_stale()
            fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                os.fchmod(fd, _READABLE)
                locks.lock(fd)
                os.write(fd, record)
                os.rename(temporary, f"{folder}/{name}")
            except BaseException:
                os.close(fd)
                os.unlink(temporary)
                raise
        except OSError as error:
            raise LaunchError(
                f"{folder}: the GPUs cannot be claimed for this kernel: {error.strerror}; correct the folder, "
                "or name another one with c.OpenShellProvisioner.gpu_claims"
            ) from None
        return Claim(fd, f"{folder}/{name}", tuple(uuids))

    def prepare(self) -> None:
        """Make this user's folder, or mend it, so that all may read the records and only their user write them.

        Raises:
            LaunchError: something else stands in its place.
            OSError: it cannot be made.
        """
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._own, _LISTABLE)
        if not _is_folder_of(self._own, os.geteuid()):
            raise LaunchError(f"{self._own}: this must be a folder of user {os.geteuid()}; ask its owner to remove it")
        set_mode(self._own, _LISTABLE)
        choosing.mend(self.lock)
        for path in claims.records(self._own):
            with contextlib.suppress(FileNotFoundError):
                set_mode(path, _READABLE)

    @property
    def _own(self) -> str:
        return f"{self.folder}/{_NAME}-{os.geteuid()}"

    def _remove_stale(self) -> None:
        """Remove records of this user's whose holders ended without doing so."""
        beginning = f".{_NAME}-{os.geteuid()}-"
        begun = [f"{self.folder}/{name}" for name in os.listdir(self.folder) if name.startswith(beginning)]
        for path in (*claims.records(self._own), *begun):
            if _is_stale(path):
                # Somebody else may have put a file of such a name there, which only they can remove.
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    os.unlink(path)


def _is_folder_of(path: str, uid: int) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == uid


def _is_stale(path: str) -> bool:
    """Return whether nobody keeps a record any more. Of one that cannot be read, nobody knows."""
    try:
        return claims.read(path) is None
    except (OSError, ValueError):
        return False
