"""Where a kernel's policy comes from: the first source that exists. A bad one is never passed over."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from openshell_kernel.base.links import links_and_end
from openshell_kernel.base.paths import is_within
from openshell_kernel.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

VARIABLE = "OPENSHELL_SANDBOX_POLICY"
SYSTEM_POLICY = "/etc/openshell/policy.yaml"
BUILT_IN_POLICY = str(Path(__file__).with_name("default.yaml"))
BUILT_IN = "built-in"
"""What VARIABLE says for the built-in policy, whose path differs from one environment, or container, to the other."""
BESIDE = "in the kernel's kernel.json, metadata.kernel_provisioner.config"
"""Where a setting of the provisioner counts for every client."""
NEARBY_NAME = "openshell-policy.yaml"
"""The name of a policy that lies near the notebook; it counts once its content is trusted, see `trust`."""


class SourceKind(str, Enum):
    """What named a policy, in the order of precedence. The values are words for people."""

    CONFIGURED = "set by the provisioner's trait `policy`"
    ENVIRONMENT = f"set by {VARIABLE}"
    PINNED_BUILT_IN = f"built-in policy, set by {VARIABLE}"
    NEARBY = "trusted policy near the notebook"
    USER = "user policy"
    SYSTEM = "system policy"
    BUILT_IN = "built-in policy"
    GIVEN = "policy given for this program"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The file that a kernel's policy is read from, and what named it. `path` is empty for a policy in no file."""

    kind: SourceKind
    path: str

    def describe(self) -> str:
        """Return one line for people. Nobody is to look for the built-in policy's file, or to edit it."""
        if self.kind in (SourceKind.BUILT_IN, SourceKind.PINNED_BUILT_IN):
            return f"the {self.kind.value}"
        return f"{self.path} ({self.kind.value})" if self.path else self.kind.value

    @property
    def pinned(self) -> bool:
        """Whether the operator named this policy for every notebook: then a file near a notebook does not count."""
        return self.kind in (SourceKind.CONFIGURED, SourceKind.ENVIRONMENT, SourceKind.PINNED_BUILT_IN)

    @property
    def by_operator(self) -> bool:
        """Whether who installs or starts Jupyter has named this policy, and not the notebook's user or nobody.

        /etc/openshell is root's. A variable counts because it is that of the program which starts the kernels: a
        gateway lets its clients set only those that its operator names.
        """
        return self.pinned or self.kind is SourceKind.SYSTEM


def find(
    *,
    configured: str | None = None,
    environ: Mapping[str, str],
    nearby: Iterable[str] = (),
    required: bool = False,
    home_config: str | None = None,
    system: str = SYSTEM_POLICY,
    built_in: str = BUILT_IN_POLICY,
    lstat: Callable[[str], object] = os.lstat,
    expanduser: Callable[[str], str] = os.path.expanduser,
) -> Source:
    """Return the source that counts.

    Args:
        configured: the provisioner's trait `policy`; None or empty where it is not set.
        environ: the environment of the server, never one that the sandbox could have changed.
        nearby: the folders in which a policy near the notebook may lie, the nearest first; see `nearby_folders`.
            Not looked at where the operator named a policy: who pins one decides for every notebook.
        required: only a policy of the operator's counts; see `Source.by_operator`.
        home_config: the folder that stands for an unset XDG_CONFIG_HOME; `~/.config` by default.
        system: the machine's policy.
        built_in: the package's policy.
        lstat: looks at a path without following it: a link that leads nowhere is not an absent policy.
        expanduser: resolves `~`.

    Raises:
        PolicyError: a source was named and is not there, or it cannot be told whether one is, or none of the operator's
            is there and one is required.
    """
    named = _named(configured, environ.get(VARIABLE), built_in, lstat, expanduser)
    if named is not None:
        return named
    for folder in () if required else nearby:
        near = Source(kind=SourceKind.NEARBY, path=nearby_policy(folder))
        if _exists(near, lstat):
            return near
    user = None if required else _user_policy(environ, home_config=home_config, expanduser=expanduser)
    if user is not None and _exists(user, lstat):
        return user
    machine = Source(kind=SourceKind.SYSTEM, path=system)
    if _exists(machine, lstat):
        return machine
    if required:
        raise PolicyError(
            f"require_policy: the operator's policy is missing, and no other counts; set `policy` {BESIDE}, "
            f"create {system}, or set {VARIABLE} in the environment of what starts kernels. Enterprise Gateway "
            "does not pass that on"
        )
    return Source(kind=SourceKind.BUILT_IN, path=built_in)


def shared(environ: Mapping[str, str], *, expanduser: Callable[[str], str] = os.path.expanduser) -> tuple[Source, ...]:
    """Return the policies of the user and of the machine, which count as soon as their files are there.

    `environ` is the environment of the server.
    """
    user = _user_policy(environ, home_config=None, expanduser=expanduser)
    return (*((user,) if user else ()), Source(kind=SourceKind.SYSTEM, path=SYSTEM_POLICY))


def nearby_policy(folder: str) -> str:
    """Return where a folder's policy lies, if it has one."""
    return f"{folder.rstrip('/')}/{NEARBY_NAME}"


def nearby_folders(
    workdir: str,
    *,
    root: str | None,
    home: str,
    realpath: Callable[[str], str] = os.path.realpath,
    device: Callable[[str], int] = lambda path: os.stat(path).st_dev,
) -> tuple[str, ...]:
    """Return the folders in which a policy near the notebook is looked for, the nearest first.

    They are the working directory and the folders above it, up to the server's root folder. Where no root is known,
    or the working directory lies outside it, the working directory is the only one: what a client that starts one
    kernel means by "above" is anybody's guess. Folders above the home directory and beyond the file system of the
    working directory are never looked into: other people may write there.

    Raises:
        PolicyError: one of the folders is not there. A notebook that may write the folder above could have moved it
            away for a moment, so that the policies in it and above would not be seen.
    """
    here = realpath(workdir)
    mount = _device(here, device)
    found = [here]
    limit = here if root is None or not is_within(here, realpath(root)) else realpath(root)
    stops = {limit, realpath(home), "/"}
    while here not in stops:
        here = _parent(here)
        if _device(here, device) != mount:
            break
        found.append(here)
    return tuple(found)


def _device(folder: str, device: Callable[[str], int]) -> int:
    try:
        return device(folder)
    except OSError as error:
        raise PolicyError(
            f"{folder}: cannot be searched for a policy ({error.strerror}): this folder of the notebook is "
            "gone, or was just moved; start the kernel again where the notebook is"
        ) from None


def ways(paths: Iterable[str]) -> tuple[str, ...]:
    """Return where these names lead and every symbolic link on the way: whoever writes one of them decides of all."""
    return tuple({place for path in paths for place in links_and_end(path)})


def writable_way(path: str, writable: Iterable[str]) -> str | None:
    """Return the writable path that holds a file, or a symbolic link on the way to it; None if there is none."""
    places = links_and_end(path)
    return next((root for root in writable if any(is_within(place, os.path.realpath(root)) for place in places)), None)


def check_writable_source(
    source: Source,
    writable: Iterable[str],
) -> None:
    """Make sure that the sandbox cannot write its next policy.

    A trusted policy near the notebook is exempt, although it lies where the notebook may write: trust is by content,
    so a sandbox that rewrites the file makes it untrusted, and the next start is refused.

    Raises:
        PolicyError: the policy file, or a symbolic link on the way to it, lies at or beneath a writable path.
    """
    if source.kind is SourceKind.NEARBY or not source.path:
        return
    path = writable_way(source.path, writable)
    if path is not None:
        raise PolicyError(
            f"{source.describe()}: the sandbox may write {path}, and so its own next policy; move the policy "
            f"elsewhere, or make {path} read-only"
        )


def check_writable_shared(
    source: Source,
    others: Iterable[Source],
    writable: Iterable[str],
) -> None:
    """Make sure that the sandbox cannot put a policy where one counts, be it there or not. `others` are the `shared`.

    Where the operator names the policy for every notebook, none of them counts, and nothing is refused.

    Raises:
        PolicyError: one of them, or a symbolic link on the way to it, lies at or beneath a writable path.
    """
    if source.pinned:
        return
    roots = tuple(writable)
    for other in others:
        path = writable_way(other.path, roots)
        if path is not None:
            raise PolicyError(
                f"{source.describe()}: the sandbox may write {path}. It could put a policy into {other.path}, "
                "which would count for other notebooks or at the next start; list narrower folders than "
                f"{path}, or pin one policy for all notebooks with {VARIABLE}"
            )


def check_linked_source(source: Source, links: int) -> None:
    """Make sure that a policy has no second name, by which the sandbox might write it.

    Exempt are a policy near the notebook, which is trusted by content, and the built-in one: installers make hard links
    between environments, and the code beside it would be no safer.

    Raises:
        PolicyError: the file has more than one hard link.
    """
    built_in = (SourceKind.BUILT_IN, SourceKind.PINNED_BUILT_IN)
    if source.kind not in (SourceKind.NEARBY, *built_in) and links > 1:
        raise PolicyError(
            f"{source.describe()}: the file has {links} names (hard links), and the sandbox may be able to "
            f"write another one; make a copy with one name only: cp -p {shlex.quote(source.path)} NEW && mv NEW "
            f"{shlex.quote(source.path)}"
        )


def _user_policy(
    environ: Mapping[str, str], *, home_config: str | None, expanduser: Callable[[str], str]
) -> Source | None:
    # A relative XDG_CONFIG_HOME is invalid and to be ignored, says the XDG Base Directory Specification.
    config = environ.get("XDG_CONFIG_HOME", "")
    if not config.startswith("/"):
        config = expanduser("~/.config") if home_config is None else home_config
    user = Source(kind=SourceKind.USER, path=f"{config}/openshell/policy.yaml")
    # Without a home folder there is no user policy; `~` must not become a folder of the working directory.
    return user if user.path.startswith("/") else None


def _named(
    trait: str | None,
    variable: str | None,
    built_in: str,
    lstat: Callable[[str], object],
    expanduser: Callable[[str], str],
) -> Source | None:
    """Return the source that the operator named; None if there is none."""
    if trait:
        source = Source(kind=SourceKind.CONFIGURED, path=expanduser(trait))
        return _there(source, "the provisioner's trait `policy`", lstat)
    if variable == BUILT_IN:
        return Source(kind=SourceKind.PINNED_BUILT_IN, path=built_in)
    if variable:
        return _there(Source(kind=SourceKind.ENVIRONMENT, path=variable), f"the variable {VARIABLE}", lstat)
    return None


def _there(source: Source, what: str, lstat: Callable[[str], object]) -> Source:
    if not source.path.startswith("/"):
        raise PolicyError(f"{what} is {source.path!r}, a relative path; write an absolute path")
    if not _exists(source, lstat):
        raise PolicyError(f"{what} names {source.path}, which does not exist; correct it or remove the setting")
    return source


def _exists(source: Source, lstat: Callable[[str], object]) -> bool:
    try:
        lstat(source.path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PolicyError(
            f"{source.describe()}: cannot see whether a policy is there: {reason}; correct the path or the "
            "permissions of its folders"
        ) from error
    return True


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"
