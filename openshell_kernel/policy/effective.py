"""The effective policy: what one kernel was given, with the origin of every right, as values and as JSON.

Written by the trusted side, read inside the sandbox by `%policy`: imports the ground floor only.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from openshell_kernel.base.claims import Holder  # noqa: TC001 - the codec reads the types
from openshell_kernel.base.enums import StrEnum
from openshell_kernel.base.hardware import Extra, Family, Hardware  # noqa: TC001 - as above
from openshell_kernel.errors import SnapshotError

MAX_PATHS = 256
"""How many paths OpenShell lets a policy list, read_only and read_write together."""

READ_RIGHTS = ("execute", "read_file", "read_dir")
WRITE_RIGHTS = (
    *READ_RIGHTS,
    "write_file",
    "truncate",
    "make_reg",
    "make_dir",
    "make_sym",
    "make_fifo",
    "make_sock",
    "remove_file",
    "remove_dir",
    "refer",
)
"""Everything but `make_char` and `make_block`, which are never granted, and `ioctl_dev`, which only devices get."""

DEVICE_RIGHTS = ("read_file", "write_file", "truncate", "ioctl_dev")
PROC_READ_RIGHTS = ("read_file", "read_dir")
PROC_WRITE_RIGHTS = (*PROC_READ_RIGHTS, "write_file", "truncate")
"""What read-write means on procfs: nothing can be made or removed there, only existing files written."""


class Compatibility(StrEnum):
    """What to do where Landlock cannot do all that is asked for."""

    BEST_EFFORT = "best_effort"
    HARD_REQUIREMENT = "hard_requirement"


class HomeKind(StrEnum):
    """How long a kernel's private home is kept: for the notebooks of one folder, or as long as the kernel runs."""

    PROJECT = "project"
    EPHEMERAL = "ephemeral"


class GpuRequest(StrEnum):
    """Whether a kernel is to have GPUs: what is there, nothing, or no start without."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


class Access(str, Enum):
    """The two lists of OpenShell's `filesystem_policy`."""

    READ_ONLY = "read_only"
    READ_WRITE = "read_write"


class Origin(str, Enum):
    """Who asked for a rule. A right without an origin is not granted."""

    POLICY = "policy"
    WORKDIR = "workdir"
    RUNTIME_BASELINE = "runtime baseline"
    GPU_BASELINE = "gpu baseline"
    PROXY_BASELINE = "proxy baseline"
    PROMOTION = "promotion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One path of the sandbox and what may be done at it and beneath it.

    `rights` are Landlock's access rights in lower case. Before the launch they are what is asked for; in a snapshot
    they are what the kernel was given, after masking by the kind of inode and the ABI, and `resolved` is the path
    behind the descriptor that the rule was built from. A `required` rule that cannot be applied stops the start.
    """

    path: str
    access: Access
    rights: tuple[str, ...]
    origin: Origin
    reason: str
    required: bool = False
    resolved: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """A path that the policy lists read-only and a baseline made read-write, as the conflict settings allow."""

    path: str
    origin: Origin
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A path that a baseline wants read-write and that stays read-only, because the policy says so."""

    path: str
    origin: Origin
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A rule that was not applied, and why."""

    path: str
    access: Access
    origin: Origin
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unenforced:
    """Something that a reader could expect the sandbox to enforce, and that it does not.

    Through what is `wide_open` a notebook leaves the sandbox without any skill: it is shown first.
    """

    what: str
    why: str
    wide_open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSelection:
    """Which GPUs a kernel is given.

    `granted` tells whether it is given any, and with them the GPU baseline. `devices` are the GPUs and MIG devices by
    index, as "0" or "1:2"; `visible` is the value of CUDA_VISIBLE_DEVICES, None where that is left as it was. `nodes`
    are the GPUs' own device nodes, `capabilities` those of MIG. `hold` are the UUIDs that the kernel holds while it
    runs, so that none that counts GPUs is given them, `held` what others held when it started, and `records` the
    folders that tell who holds what by now.
    """

    request: GpuRequest = GpuRequest.AUTO
    granted: bool = False
    devices: tuple[str, ...] = ()
    visible: str | None = None
    nodes: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    extras: tuple[Family, ...] = ()
    hold: tuple[str, ...] = ()
    held: tuple[Holder, ...] = ()
    records: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def own_nodes(self) -> tuple[str, ...]:
        """The device nodes that belong to the selected GPUs and MIG devices alone."""
        return (*self.nodes, *self.capabilities)

    def includes(self, extra: Extra) -> bool:
        """Return whether devices of a family are given."""
        return any(family.name == extra for family in self.extras)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The names of environment variables, never their values.

    `passed` came from the server, `added` were set for this kernel, and `withheld` are what the server has besides.
    """

    passed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The kernel's private home, and how long it is kept."""

    kind: HomeKind
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectivePolicy:
    """What a kernel is allowed, and everything that was decided on the way there.

    `source` says where the policy came from;
    `declared` is the policy as its author wrote it, in OpenShell's schema, without the values of variables. `kept` is
    what stays read-only by mounts, although a rule makes a folder around it writable.
    """

    source: str
    compatibility: Compatibility
    rules: tuple[Rule, ...]
    promotions: tuple[Promotion, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    notices: tuple[str, ...] = ()
    unenforced: tuple[Unenforced, ...] = ()
    hardware: Hardware
    selection: GpuSelection = field(default_factory=GpuSelection)
    declared: dict[str, Any]
    environment: Environment = field(default_factory=Environment)
    home: Home | None = None
    kept: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return this policy as JSON values; `from_json` gives it back."""
        return _encode(self)  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, data: object) -> EffectivePolicy:
        """Build the policy from JSON values, checking every field.

        Raises:
            SnapshotError: a field is missing, unknown or of the wrong type; the message names its path.
        """
        return decode(cls, data)


T = typing.TypeVar("T")


def decode(cls: type[T], data: object, where: str = "$") -> T:
    """Build a dataclass of this module's kind from JSON values; strict about names and types.

    Raises:
        SnapshotError: with the path of the offending value.
    """
    return typing.cast("T", _decode(cls, data, where))


def _encode(value: object) -> Any:  # noqa: ANN401 - JSON values have no narrower type
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    return value


def _decode(hint: Any, data: object, where: str) -> object:  # noqa: ANN401, PLR0911 - one branch for each kind of type
    if dataclasses.is_dataclass(hint):
        return _decode_dataclass(hint, data, where)
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        if data is None:
            return None
        (inner,) = [option for option in typing.get_args(hint) if option is not type(None)]
        return _decode(inner, data, where)
    if origin is tuple and isinstance(data, list):
        item = typing.get_args(hint)[0]
        return tuple(_decode(item, element, f"{where}[{i}]") for i, element in enumerate(data))
    if origin is dict and isinstance(data, dict):
        return data
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(data)
        except ValueError:
            pass
    elif isinstance(hint, type) and type(data) is hint:
        return data
    raise SnapshotError(
        f"{where}: {type(data).__name__} where {hint} was expected; restart the kernel to record it anew"
    )


def _decode_dataclass(cls: Any, data: object, where: str) -> object:  # noqa: ANN401
    if not isinstance(data, dict):
        raise SnapshotError(f"{where}: not an object; restart the kernel to record it anew")
    hints = typing.get_type_hints(cls)
    unknown = set(data) - set(hints)
    if unknown:
        raise SnapshotError(
            f"{where}: unknown key {min(map(str, unknown))!r}: another version of openshell_kernel wrote it; restart "
            "Jupyter's server, if it was upgraded since that was started, and then the kernel"
        )
    values = {name: _decode(hint, data[name], f"{where}.{name}") for name, hint in hints.items() if name in data}
    try:
        return cls(**values)
    except TypeError as error:
        raise SnapshotError(f"{where}: {error}; restart the kernel to record it anew") from None
