"""The effective policy: what one kernel was given, with the origin of every right, as values and as JSON.

Written by the trusted side, read inside the sandbox by `%policy`: imports nothing but the standard library.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

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
_LONGEST_NAME = 80  # of a hub's user or server: longer ones are cut when they are shown
PROC_READ_RIGHTS = ("read_file", "read_dir")
PROC_WRITE_RIGHTS = (*PROC_READ_RIGHTS, "write_file", "truncate")
"""What read-write means on procfs: nothing can be made or removed there, only existing files written."""


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
class MigDevice:
    """One MIG device of a GPU as seen when the kernel was started.

    `index` is its place on that GPU. `memory` and what is `used` of it are in bytes, and `busy` is the share of time
    with work in percent, as NVML last said. `capabilities` are the nodes that open its GPU instance and compute
    instance. What NVML would not tell is None.
    """

    index: int
    uuid: str | None = None
    name: str | None = None
    memory: int | None = None
    used: int = 0
    busy: int = 0
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuDevice:
    """One GPU as seen when the kernel was started; `memory`, `used` and `busy` are as for `MigDevice`.

    `mig` tells whether it is divided into MIG devices; `fault` is what is wrong with it, if anything is.
    """

    index: int
    minor: int | None = None
    uuid: str | None = None
    name: str | None = None
    memory: int | None = None
    used: int = 0
    busy: int = 0
    pci_address: str | None = None
    mig: bool = False
    mig_devices: tuple[MigDevice, ...] = ()
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family of devices beside the GPUs, by the name that a policy gives it, and the paths that are there."""

    name: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderNode:
    """A GPU's node in /dev/dri, by the GPU's PCI address."""

    pci_address: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What GPU discovery found.

    `status` is NVML's typed outcome, `detail` one sentence for people, and `present` whether there is a GPU at all by
    OpenShell's rule: a device node is enough, even if NVML fails. `topology` are folders of sysfs, `pci_classes` files
    there that say what a device is.
    """

    status: str
    detail: str
    present: bool = False
    driver_version: str | None = None
    cuda_version: str | None = None
    gpus: tuple[GpuDevice, ...] = ()
    nodes: tuple[str, ...] = ()
    render_nodes: tuple[RenderNode, ...] = ()
    topology: tuple[str, ...] = ()
    pci_classes: tuple[str, ...] = ()
    extras: tuple[Family, ...] = ()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSelection:
    """Which GPUs a kernel is given.

    `granted` tells whether it is given any, and with them the GPU baseline. `devices` are the GPUs and MIG devices by
    index, as "0" or "1:2"; `visible` is the value of CUDA_VISIBLE_DEVICES, None where that is left as it was. `nodes`
    are the GPUs' own device nodes, `capabilities` those of MIG. `hold` are the UUIDs that the kernel holds while it
    runs, so that none that counts GPUs is given them, `held` what others held when it started, and `records` the
    folders that tell who holds what by now.
    """

    request: str = "auto"
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
    """The kernel's private home: `project` is kept for the notebooks of one folder, `ephemeral` goes away."""

    kind: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectivePolicy:
    """What a kernel is allowed, and everything that was decided on the way there.

    `source` says where the policy came from; `compatibility` is OpenShell's `hard_requirement` or `best_effort`;
    `declared` is the policy as its author wrote it, in OpenShell's schema, without the values of variables. `kept` is
    what stays read-only by mounts, although a rule makes a folder around it writable.
    """

    source: str
    compatibility: str
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
