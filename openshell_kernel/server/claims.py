"""Who holds which GPU of this machine: records of running kernels, and a lock under which they are chosen.

A record is a file that its kernel's server, or janitor, keeps locked for as long as the kernel runs. The operating
system drops the lock with whoever held it, however that ended: a crash strands no GPU. The lock is a write lock of
the open file description (fcntl(2), F_OFD_SETLK). Only who may write a record can take one, so that a sandbox, which
may read the records to show them, can neither release nor feign a claim.

Each user has a folder of records, so that nobody can change another's. What this coordinates is kernels, not
attackers: a program outside of every sandbox that wants a GPU opens it without asking.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
import pwd
import re
import secrets
import select
import stat
import struct
import threading
import time
from typing import TYPE_CHECKING

from openshell_kernel.errors import ConfigurationError, LaunchError
from openshell_kernel.policy.effective import Holder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Where every user may make files, and nobody may touch those of others. /dev/shm is open to sandboxes.
SHARED_FOLDERS = ("/run/lock", "/var/tmp")  # noqa: S108 - the machine's, on purpose
_NAME = "openshell-gpu"
_LARGEST_RECORD = 1 << 16
_LOCK_SECONDS = 10.0
_POLL_SECONDS = 0.01
# struct flock of fcntl(2) on 64-bit Linux: type, whence, start, length, pid.
_FLOCK = "hhqqi4x"


class Claim:
    """GPUs that a kernel holds, until `release` or the end of the process that keeps this."""

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path
        self._maker = os.getpid()
        self._lock = threading.Lock()

    def release(self) -> None:
        """Give the GPUs back. May be called more than once; does nothing in a process that was forked."""
        with self._lock:
            if self.fd < 0 or os.getpid() != self._maker:
                return
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            # Closing alone would not do where a forked process holds the description too.
            _set_lock(self.fd, fcntl.F_UNLCK)
            os.close(self.fd)
            self.fd = -1

    def follow(self, pid: int) -> None:
        """Release when a process ends, whether anybody cleans up after it or not.

        Where processes cannot be watched (a container's seccomp profile), only `release` and the end of this process
        release it.
        """
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self.release()
            return
        except OSError:
            return
        threading.Thread(target=self._wait, args=(pidfd,), name="openshell-claim", daemon=True).start()

    def _wait(self, pidfd: int) -> None:
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.poll()
        finally:
            os.close(pidfd)
        self.release()


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
        """The folder that holds a folder of records for each user.

        Raises:
            ConfigurationError: there is none.
        """
        if self._folder is not None:
            return self._folder
        for candidate in self._shared:
            with contextlib.suppress(OSError):
                status = os.lstat(candidate)
                if stat.S_ISDIR(status.st_mode) and status.st_mode & 0o1777 == 0o1777 and status.st_uid == 0:  # noqa: PLR2004 - an octal mode
                    return candidate
        raise ConfigurationError(
            f"no folder for the records of who holds which GPU: {' and '.join(self._shared)} are not open to all "
            "users; name one with c.OpenShellProvisioner.gpu_claims"
        )

    def folders(self) -> tuple[str, ...]:
        """Return the users' folders that are there, each owned by the user whom its name tells."""
        found = []
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(self.folder)):
                match = re.fullmatch(rf"{_NAME}-([0-9]+)", name)
                path = f"{self.folder}/{name}"
                if match and _is_private(path, int(match[1])):
                    found.append(path)
        return tuple(found)

    def holders(self) -> tuple[Holder, ...]:
        """Return who holds GPUs just now, in the order of their starts."""
        found = [
            holder
            for folder in self.folders()
            for name in _names(folder)
            if (holder := _read(f"{folder}/{name}")) is not None
        ]
        return tuple(sorted(found, key=lambda holder: holder.since))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep all others on this machine from choosing GPUs meanwhile.

        Raises:
            LaunchError: somebody else did not let go of the lock in time.
        """
        path = f"{self.folder}/{_NAME}.lock"
        fd = _open_lock(path)
        try:
            deadline = time.monotonic() + _LOCK_SECONDS
            while not _flock(fd):
                if time.monotonic() > deadline:
                    raise LaunchError(
                        f"{path}: another process holds this lock, under which GPUs are chosen, for more than "
                        f"{_LOCK_SECONDS:.0f} s; `lsof {path}` names it"
                    )
                time.sleep(_POLL_SECONDS)
            yield
        finally:
            os.close(fd)

    def claim(self, uuids: Sequence[str], *, pid: int) -> Claim:
        """Record that a kernel holds GPUs. Call it while `locked`. `pid` is that of the kernel's server, for people.

        Raises:
            LaunchError: the record cannot be written.
        """
        folder = f"{self.folder}/{_NAME}-{os.geteuid()}"
        record = {
            "uuids": list(uuids),
            "user": _user(),
            "pid": pid,
            "since": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        }
        name = f"{secrets.token_hex(8)}.json"
        # Beside the folder until it is locked: whoever may read the folder, as a sandbox may, could lock it first.
        temporary = f"{self.folder}/.{_NAME}-{name}"
        try:
            self.prepare()
            for stale in _names(folder):
                if _read(f"{folder}/{stale}") is None:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(f"{folder}/{stale}")
            fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                os.fchmod(fd, 0o644)
                _set_lock(fd, fcntl.F_WRLCK)
                os.write(fd, json.dumps(record).encode())
                os.rename(temporary, f"{folder}/{name}")
            except BaseException:
                os.close(fd)
                os.unlink(temporary)
                raise
        except OSError as error:
            raise LaunchError(
                f"{folder}: the GPUs cannot be claimed for this kernel: {error.strerror}; correct the folder, or name "
                "another with c.OpenShellProvisioner.gpu_claims"
            ) from None
        return Claim(fd, f"{folder}/{name}")

    def prepare(self) -> None:
        """Make this user's folder, so that a sandbox that starts now can be granted reading it.

        Raises:
            LaunchError: something else stands in its place.
            OSError: it cannot be made.
        """
        path = f"{self.folder}/{_NAME}-{os.geteuid()}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o755)
            os.chmod(path, 0o755)  # noqa: S103 - sandboxes show the records, whoever's they are; the umask is not asked
        if not _is_private(path, os.geteuid()):
            raise LaunchError(
                f"{path}: a folder of user {os.geteuid()} that others cannot write is to be here; have it removed"
            )


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"


def _is_private(path: str, uid: int) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == uid and not status.st_mode & 0o022


def _names(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if re.fullmatch(r"[0-9a-f]+\.json", name))
    except OSError:
        return []


def _read(path: str) -> Holder | None:
    """Return the holder that a record tells of; None where nobody keeps it locked any more, or it is damaged."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not _is_locked(fd):
            return None
        data = json.loads(os.read(fd, _LARGEST_RECORD))
        return Holder(
            uuids=tuple(str(uuid) for uuid in data["uuids"]),
            user=str(data["user"]),
            pid=int(data["pid"]),
            since=str(data["since"]),
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None
    finally:
        os.close(fd)


def _set_lock(fd: int, kind: int) -> None:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0))


def _is_locked(fd: int) -> bool:
    """Return whether somebody holds a write lock. Asked for a read lock, with which read locks do not interfere."""
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def _open_lock(path: str) -> int:
    """Open the lock file, which any user may have made. Never with O_CREAT where it is there: fs.protected_regular."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with contextlib.suppress(FileExistsError):
            try:
                return os.open(path, flags)
            except FileNotFoundError:
                fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
                os.fchmod(fd, 0o644)
                return fd
        return os.open(path, flags)
    except OSError as error:
        raise LaunchError(
            f"{path}: the lock under which GPUs are chosen cannot be opened: {error.strerror}; correct the folder, or "
            "name another with c.OpenShellProvisioner.gpu_claims"
        ) from None


def _flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
