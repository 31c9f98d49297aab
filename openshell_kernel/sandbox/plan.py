"""The launch plan: what the launcher must do, as JSON that crosses from the trusted side into the new process.

The plan is handed over through a pipe or in an anonymous file, never on disk and never in arguments: it holds the
environment. Its parts are no dataclasses, which take several times as long to build at every start of the launcher.
"""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

from openshell_kernel.errors import ConfinementError

FORMAT = 2
SNAPSHOT_VARIABLE = "OPENSHELL_SNAPSHOT_FD"
"""Names the descriptor from which the kernel reads the record of its own sandbox."""

RIGHTS = frozenset(
    {
        "execute",
        "write_file",
        "read_file",
        "read_dir",
        "remove_dir",
        "remove_file",
        "make_dir",
        "make_reg",
        "make_sock",
        "make_fifo",
        "make_sym",
        "refer",
        "truncate",
        "ioctl_dev",
    }
)
"""Landlock's filesystem rights that a plan may grant. `make_char` and `make_block` are missing on purpose."""


class PlanRule(NamedTuple):
    """A path, the rights to grant at and beneath it, and whether the start fails when it cannot be opened.

    An `exact` path was judged by its name: it must not lead through a symbolic link that was put there since. A
    `listed` one was named by a policy's author: it must not lead through a link that a sandbox may have made.
    """

    path: str
    rights: tuple[str, ...]
    required: bool
    exact: bool = False
    listed: bool = False


CAPABILITIES = frozenset({"dac_override", "dac_read_search"})
"""Capabilities that a plan may let the kernel keep. Landlock bounds what is read, written and run with them, and not
what else they open."""

PROC = frozenset({"leave", "protect", "allow"})
"""What to do about /proc. `protect`: a private mount namespace in which its controls of the machine are read-only, or
no start; `allow`: the same, or a start all the same."""

_OTHER_VERSION = (
    "the launch plan was made by another version of openshell_kernel than is installed now: it was upgraded, or put "
    "back, under the running server; nothing was started. Stop Jupyter's server and start it again: restarting the "
    "kernel does not help"
)
_MAX_ID = 4294967294
_BPF_INSTRUCTION = 8  # bytes
_BPF_LONGEST = 4096  # instructions, linux/bpf_common.h


class Identity(NamedTuple):
    """The user and groups that the kernel takes on."""

    uid: int
    gid: int
    groups: tuple[int, ...]


class LaunchPlan(NamedTuple):
    """Everything the launcher needs; it looks up nothing else.

    Attributes:
        argv: the kernel's command; the first word is an absolute path.
        cwd: the kernel's working directory.
        environment: the kernel's whole environment.
        rules: the filesystem rules, in the order in which they are reported.
        kernels_folders: where kernels may write, whoever owns that: no link there leads a listed path anywhere.
        read_only_mounts: what stays as it is although a rule grants a folder above it read-write; without links.
        pinned: the folders between that folder and these, which must stay in their places.
        require_landlock: refuse to start where Landlock is missing.
        record: JSON object that is handed to the kernel beside what was achieved; nothing is, where it is empty.
        identity: whom the kernel runs as; None leaves that as it is.
        keep_capabilities: what the kernel keeps when all other capabilities are dropped.
        proc: one of `PROC`.
        proc_for_gpu: a GPU is given, which needs /proc read-write: a policy that lists it read-only does not help.
        seccomp: the filter of system calls, as BPF instructions; empty where the trusted side could not make one.
        seccomp_detail: what the filter covers, or why there is none.
        require_seccomp: refuse to start without a filter.
    """

    argv: tuple[str, ...]
    cwd: str
    environment: dict[str, str]
    rules: tuple[PlanRule, ...]
    require_landlock: bool
    record: dict[str, Any]
    kernels_folders: tuple[str, ...] = ()
    read_only_mounts: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()
    identity: Identity | None = None
    keep_capabilities: tuple[str, ...] = ()
    proc: str = "leave"
    proc_for_gpu: bool = False
    seccomp: bytes = b""
    seccomp_detail: str = ""
    require_seccomp: bool = True

    def to_bytes(self) -> bytes:
        """Return the plan as JSON."""
        data = {
            "format": FORMAT,
            "argv": self.argv,
            "cwd": self.cwd,
            "environment": self.environment,
            "rules": [rule._asdict() for rule in self.rules],
            "kernels_folders": self.kernels_folders,
            "read_only_mounts": self.read_only_mounts,
            "pinned": self.pinned,
            "require_landlock": self.require_landlock,
            "record": self.record,
            "identity": self.identity and self.identity._asdict(),
            "keep_capabilities": self.keep_capabilities,
            "proc": self.proc,
            "proc_for_gpu": self.proc_for_gpu,
            "seccomp": self.seccomp.hex(),
            "seccomp_detail": self.seccomp_detail,
            "require_seccomp": self.require_seccomp,
        }
        return json.dumps(data).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> LaunchPlan:
        """Read a plan, by allow-list: whatever is not exactly as `to_bytes` writes it is refused.

        Raises:
            ConfinementError: the plan is damaged, or another version of this package wrote it; nothing may be started
                from it.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            raise _damaged("it is not JSON") from None
        _expect(isinstance(data, dict), "it is not an object")
        _expect(type(data.get("format")) is int, "it has no format")
        if data["format"] != FORMAT or data.keys() != _KEYS:
            raise ConfinementError(_OTHER_VERSION)
        argv, cwd, environment = data["argv"], data["cwd"], data["environment"]
        _expect(_is_strings(argv) and argv != [] and os.path.isabs(argv[0]), "argv is not a command")
        _expect(_is_string(cwd) and os.path.isabs(cwd), "cwd is not an absolute path")
        _expect(isinstance(environment, dict) and _is_strings(list(environment.values())), "environment is wrong")
        _expect(all(_is_string(name) and name and "=" not in name for name in environment), "environment is wrong")
        _expect(isinstance(data["rules"], list), "rules is not a list")
        for name in _PATHS:
            _expect(_is_strings(data[name]) and all(map(os.path.isabs, data[name])), f"{name} is wrong")
        _expect(isinstance(data["require_landlock"], bool), "require_landlock is not true or false")
        _expect(isinstance(data["record"], dict), "record is not an object")
        keep, proc = data["keep_capabilities"], data["proc"]
        _expect(_is_strings(keep) and CAPABILITIES.issuperset(keep), "keep_capabilities is wrong")
        _expect(_is_string(proc) and proc in PROC, "proc is wrong")
        _expect(isinstance(data["proc_for_gpu"], bool), "proc_for_gpu is not true or false")
        _expect(_is_string(data["seccomp_detail"]), "seccomp_detail is not text")
        _expect(isinstance(data["require_seccomp"], bool), "require_seccomp is not true or false")
        return cls(
            argv=tuple(argv),
            cwd=cwd,
            environment=environment,
            rules=tuple(_rule(item) for item in data["rules"]),
            **{name: tuple(data[name]) for name in _PATHS},
            require_landlock=data["require_landlock"],
            record=data["record"],
            identity=_identity(data["identity"]),
            keep_capabilities=tuple(keep),
            proc=proc,
            proc_for_gpu=data["proc_for_gpu"],
            seccomp=_program(data["seccomp"]),
            seccomp_detail=data["seccomp_detail"],
            require_seccomp=data["require_seccomp"],
        )


_PATHS = ("kernels_folders", "read_only_mounts", "pinned")
_KEYS = {
    "format",
    "argv",
    "cwd",
    "environment",
    "rules",
    *_PATHS,
    "require_landlock",
    "record",
    "identity",
    "keep_capabilities",
    "proc",
    "proc_for_gpu",
    "seccomp",
    "seccomp_detail",
    "require_seccomp",
}


def _rule(item: Any) -> PlanRule:  # noqa: ANN401 - it is checked here
    _expect(isinstance(item, dict) and item.keys() == set(PlanRule._fields), "a rule has wrong keys")
    path, rights = item["path"], item["rights"]
    _expect(_is_string(path) and os.path.isabs(path), "a rule's path is not absolute")
    _expect(_is_strings(rights) and RIGHTS.issuperset(rights) and rights != [], "a rule's rights are unknown")
    flags = ("required", "exact", "listed")
    for name in flags:
        _expect(isinstance(item[name], bool), f"a rule's {name} is not true or false")
    return PlanRule(path=path, rights=tuple(rights), **{name: item[name] for name in flags})


def _identity(item: Any) -> Identity | None:  # noqa: ANN401 - it is checked here
    if item is None:
        return None
    _expect(isinstance(item, dict) and item.keys() == {"uid", "gid", "groups"}, "identity has wrong keys")
    uid, gid, groups = item["uid"], item["gid"], item["groups"]
    _expect(_is_id(uid) and _is_id(gid), "identity is not a user and a group")
    _expect(isinstance(groups, list) and all(map(_is_id, groups)), "identity's groups are wrong")
    return Identity(uid=uid, gid=gid, groups=tuple(groups))


def _program(value: object) -> bytes:
    try:
        program = bytes.fromhex(value if isinstance(value, str) else "?")
    except ValueError:
        raise _damaged("seccomp is not hexadecimal") from None
    _expect(program.hex() == value, "seccomp is not hexadecimal as it is written here")
    whole, rest = divmod(len(program), _BPF_INSTRUCTION)
    _expect(rest == 0 and whole <= _BPF_LONGEST, "seccomp is not a program")
    return program


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX_ID


def _is_string(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_strings(value: object) -> bool:
    return isinstance(value, list) and all(_is_string(item) for item in value)


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise _damaged(what)


def _damaged(what: str) -> ConfinementError:
    return ConfinementError(f"the launch plan is damaged: {what}; nothing was started. Start the kernel again.")
