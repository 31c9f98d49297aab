"""OpenShell's policy schema, version 1, as frozen values, with errors in words for a policy's author.

Where this differs from OpenShell it is stricter: paths are normalised before they are checked (`/.` is `/`),
and a `compatibility` that is misspelt is an error instead of a weaker sandbox. In one thing it is laxer, so that the
policies of a newer OpenShell start: in what nothing here enforces, a key that is not known is kept and told of.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from openshell_kernel.base.enums import StrEnum
from openshell_kernel.base.hardware import Extra
from openshell_kernel.policy.effective import MAX_PATHS, Compatibility, GpuRequest, HomeKind
from openshell_kernel.policy.in_json_schema import AsWritten, matching, not_null, or_empty

if TYPE_CHECKING:
    from pydantic import ModelWrapValidatorHandler
    from typing_extensions import Self

MAX_PATH_BYTES = 4096
MAX_ID = 4294967294

UNKNOWN_KEY = "unknown_key"
MISSING_KEY = "missing_key"
INVALID_VALUE = "invalid_value"
"""The types of all errors of these models. Their `ctx` holds `problem` and `remedy`, in words."""

MAX_VARIABLES = 256
MAX_VALUE_BYTES = 65536

SERVER_TOKENS = frozenset(
    {
        "CONFIGPROXY_AUTH_TOKEN",
        "JPY_API_TOKEN",
        "JPY_COOKIE_SECRET",
        "JUPYTERHUB_API_TOKEN",
        "JUPYTERHUB_COOKIE_SECRET",
        "JUPYTERHUB_CRYPT_KEY",
        "JUPYTER_TOKEN",
        "JUPYTER_PASSWORD",
    }
)
"""With these a notebook could have the server or the hub run code outside of the sandbox: no policy passes them."""
_RESERVED = frozenset({"JPY_PARENT_PID", "OPENSHELL_SNAPSHOT_FD"})


MAX_GPUS = 1024

_SHOWN = 80

_DEVICE = re.compile(
    r"[0-9]{1,4}(:[0-9]{1,4})?"  # NVML's index of a GPU, and of a MIG device on it
    r"|([Gg][Pp][Uu]|[Mm][Ii][Gg])-[0-9A-Fa-f-]{4,36}"
    r"|[Mm][Ii][Gg]-[Gg][Pp][Uu]-[0-9A-Fa-f-]{36}/[0-9]{1,3}/[0-9]{1,3}"  # before driver 470
    r"|([0-9A-Fa-f]{4,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]"  # PCI
)

_NAME, _NAMES = r"[A-Za-z_][A-Za-z0-9_]*", r"[A-Za-z_*?][A-Za-z0-9_*?]*"
"""An environment variable's name, and a pattern of such names."""
_NO_PARENT, _NOT_ROOT = r"(?!(.*/)?\.\.(/|$))", r"(?!(/|\./)*\.?$)"
"""What follows the first slash of a path: no `..`, and more than `/` in disguise."""

_EXPECTED = {
    "string_type": ("a string", "put the value in quotes"),
    "int_type": ("a whole number", "write plain digits, without quotes"),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "tuple_type": ("a list", "write [a, b], or one `- item` a line"),
    "dict_type": ("a mapping", "write `key: value` lines beneath it, or {}"),
    "mapping_type": ("a mapping", "write `key: value` lines beneath it, or {}"),
    "model_type": ("a mapping", "write `key: value` lines beneath it, or {}"),
}
"""What pydantic's type errors mean to the author of a YAML file, and what to do."""

_ENFORCED_WORDS = ("version", "filesystem", "landlock", "process", "jupyter")
_WORD_LIKENESS = 0.8
_KEY_LIKENESS = 0.75
"""How much a key that is not known may resemble one that is, from 0 to 1, before it is taken for a misspelling."""

_BOUNDS = {"greater_than_equal": ("at least", "ge"), "less_than_equal": ("at most", "le")}


def normalise(path: str) -> str:
    """Collapse `//`, `.` and a trailing `/` of an absolute path, without looking at the file system."""
    if not path.startswith("/"):
        return path
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def _error(kind: str, problem: str, remedy: str) -> PydanticCustomError:
    return PydanticCustomError(kind, "{problem}; {remedy}", {"problem": problem, "remedy": remedy})


def _show(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}...{text[-_SHOWN // 2 :]}"


class Block(BaseModel):
    """A mapping of the schema: immutable, without unknown keys, with errors in words."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _report(cls, data: object, handler: "ModelWrapValidatorHandler[Self]") -> "Self":
        # Here, and not where files are loaded: only here it is known which keys would have been right.
        limits = cls._limits(data)
        try:
            block = handler(data)
        except ValidationError as error:
            details = [_detail(cls._translate(line), line) for line in error.errors(include_url=False)]
        else:
            if not limits:
                return block
            details = []
        raise ValidationError.from_exception_data(cls.__name__, limits + details)

    @classmethod
    def _limits(cls, data: object) -> list[InitErrorDetails]:  # noqa: ARG003 - for subclasses
        """Check what concerns several keys at once, on the raw data: reported even if a single key is bad."""
        return []

    @classmethod
    def _translate(cls, error: ErrorDetails) -> PydanticCustomError:
        kind = error["type"]
        if kind in (UNKNOWN_KEY, MISSING_KEY, INVALID_VALUE):
            return _error(kind, error["ctx"]["problem"], error["ctx"]["remedy"])
        if kind == "extra_forbidden":
            return _error(UNKNOWN_KEY, "unknown key", _known_instead(cls, str(error["loc"][-1])))
        if kind == "missing":
            missing = error["loc"][-1]
            return _error(
                MISSING_KEY, "a required key is missing", f"add `{missing}: {1 if missing == 'version' else '...'}`"
            )
        if kind in _EXPECTED:
            expected, remedy = _EXPECTED[kind]
            return _error(INVALID_VALUE, f"must be {expected}, not {_show(error['input'])}", remedy)
        if kind in _BOUNDS:
            words, bound = _BOUNDS[kind]
            problem = f"must be {words} {error['ctx'][bound]}, not {_show(error['input'])}"
            return _error(INVALID_VALUE, problem, "correct the number")
        return _error(INVALID_VALUE, f"{_show(error['input'])}: {error['msg']}", "correct the value")


class UnenforcedBlock(Block):
    """A mapping of the schema that nothing here enforces: keys of a newer OpenShell are kept, see `unknown_keys`."""

    model_config = ConfigDict(extra="allow")


def unknown_keys(block: Block, at: tuple[str | int, ...] = ()) -> "Iterator[tuple[tuple[str | int, ...], str]]":
    """Yield where in a policy keys are kept that are not known, and what may have been meant."""
    for key in block.model_extra or ():
        close = _closest(type(block), key, _KEY_LIKENESS)
        yield (*at, key), f"did you mean {close}?" if close else "a newer OpenShell may know it"
    for name, field in type(block).model_fields.items():
        yield from _unknown_beneath(getattr(block, name), (*at, field.alias or name))


def _unknown_beneath(value: object, at: tuple[str | int, ...]) -> "Iterator[tuple[tuple[str | int, ...], str]]":
    if isinstance(value, Block):
        yield from unknown_keys(value, at)
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            yield from _unknown_beneath(item, (*at, number))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _unknown_beneath(item, (*at, key))


def _known_instead(cls: type[Block], key: str) -> str:
    close = _closest(cls, key, 0.5)
    return f"did you mean {close}?" if close else f"known here: {', '.join(_names(cls))}"


def _closest(cls: type[Block], key: str, likeness: float) -> str:
    return next(iter(difflib.get_close_matches(key, _names(cls), n=1, cutoff=likeness)), "")


def _names(cls: type[Block]) -> list[str]:
    return [field.alias or name for name, field in cls.model_fields.items()]


def _at(loc: tuple[str | int, ...], error: PydanticCustomError) -> InitErrorDetails:
    return InitErrorDetails(type=error, loc=loc, input=None)


def _detail(translated: PydanticCustomError, error: ErrorDetails) -> InitErrorDetails:
    loc = error["loc"]
    # So pydantic marks a key of a mapping that is wrong itself; the key's own name stands before it.
    return InitErrorDetails(type=translated, loc=loc[:-1] if loc[-1:] == ("[key]",) else loc, input=error["input"])


def _check_version(value: object) -> object:
    if type(value) is int and value == 1:
        return value
    raise _error(INVALID_VALUE, f"must be the number 1, not {_show(value)}", "write `version: 1`")


def _check_identity(value: object) -> object:
    if type(value) is int:
        raise _error(INVALID_VALUE, f"must be a string, not the number {_show(value)}", f'put it in quotes: "{value}"')
    if value == "sandbox":
        return value
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= len(str(MAX_ID)):
        if 1 <= int(value) <= MAX_ID:
            return value
        raise _error(
            INVALID_VALUE,
            f"must be 'sandbox' or a numeric UID/GID in range [1, {MAX_ID}], not {_show(value)}",
            "root (0) is never accepted" if int(value) == 0 else "choose a smaller number",
        )
    raise _error(
        INVALID_VALUE,
        f"must be 'sandbox' or a numeric UID/GID in range [1, {MAX_ID}], not {_show(value)}",
        "write the number in quotes, or remove the key",
    )


def _check_path(value: str, *, writable: bool) -> str:
    path = normalise(value)
    found = []
    if "\0" in path:
        found.append(("contains a NUL byte", "remove it"))
    if not path.startswith("/"):
        found.append(("must be absolute (start with '/')", "write the full path: ~ and variables are not expanded"))
    if ".." in path.split("/"):
        found.append(("contains a '..' traversal component", "write the path without it"))
    size = len(path.encode("utf-8", "surrogatepass"))
    if size > MAX_PATH_BYTES:
        found.append((f"exceeds the maximum length ({size} bytes > {MAX_PATH_BYTES})", "list a folder above it"))
    if writable and path == "/":
        found.append(("is overly broad as a read-write path", "list the folders that must be writable"))
    if found:
        problems, remedies = zip(*found, strict=True)
        raise _error(INVALID_VALUE, f"path {_show(value)} {' and '.join(problems)}", ", and ".join(remedies))
    return path


def _check_pattern(value: str) -> str:
    if not re.fullmatch(_NAMES, value):
        problem = f"{_show(value)} is not the name of an environment variable, nor a pattern of names"
        raise _error(INVALID_VALUE, problem, "write letters, digits and _; * and ? stand for any of them")
    if value in SERVER_TOKENS:
        problem = f"{value} is a token of the Jupyter server, with which a notebook could start unconfined kernels"
        raise _error(INVALID_VALUE, problem, "remove it: these never pass")
    return value


def _check_variable(value: str) -> str:
    if not re.fullmatch(_NAME, value):
        problem = f"{_show(value)} is not the name of an environment variable"
        raise _error(INVALID_VALUE, problem, "write letters, digits and _")
    if value in _RESERVED:
        raise _error(INVALID_VALUE, f"{value} is set by Jupyter or by openshell_kernel itself", "remove it")
    return value


def _check_variable_value(value: object) -> object:
    # Never shown: it may be a secret.
    if not isinstance(value, str):
        raise _error(INVALID_VALUE, "a variable's value must be a string", "put it in quotes")
    size = len(value.encode("utf-8", "surrogatepass"))
    if re.search("[\0\ud800-\udfff]", value) or size > MAX_VALUE_BYTES:
        problem = f"a variable's value may hold neither NUL nor lone surrogates, nor more than {MAX_VALUE_BYTES} bytes"
        raise _error(INVALID_VALUE, problem, "correct the value")
    return value


def _word_of(words: type[StrEnum], remedy: str = "") -> BeforeValidator:
    """Take a word of a closed set for what it stands for; `remedy` is what to do about any other."""
    known = [word.value for word in words]

    def check(value: object) -> object:
        if value in known:
            return words(value)
        close = difflib.get_close_matches(str(value), known, n=1, cutoff=0.5)
        meant = f"did you mean {close[0]}?" if close else "write one of them exactly"
        problem = f"must be {', '.join(known[:-1])} or {known[-1]}, not {_show(value)}"
        raise _error(INVALID_VALUE, problem, remedy or meant)

    return BeforeValidator(check)


_HOME_REMEDY = "project keeps the home for the notebooks of a folder; ephemeral throws it away with the kernel"
_COMPATIBILITY_REMEDY = "a misspelling must not weaken the sandbox, so write one of the two exactly"


def _check_device(value: object) -> object:
    # YAML has an index as a number.
    text = str(value) if type(value) is int else value
    if isinstance(text, str) and _DEVICE.fullmatch(text):
        return text
    raise _error(
        INVALID_VALUE,
        f"{_show(value)} is not the name of a GPU",
        "write its index, its UUID (GPU-... or MIG-...) or its PCI address, as `nvidia-smi -L` and `nvidia-smi -q` "
        "show them",
    )


def _device(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "anyOf": [{**schema, "pattern": f"^({_DEVICE.pattern})$"}, {"type": "integer", "minimum": 0, "maximum": 9999}]
    }


def _check_glob(value: str) -> str:
    path = normalise(value)
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        problem = f"{_show(value)} is not an absolute path or pattern of paths"
        raise _error(
            INVALID_VALUE, problem, "start it with '/', without '..'; * stands for a part of a name, ** for any"
        )
    return path


def _check_not_null(value: object) -> object:
    # OpenShell's releases differ in what an empty block means: none (working directory granted) or {} (not).
    if value is None:
        raise _error(INVALID_VALUE, "is empty", "remove the key, or write {} for a block without settings")
    return value


def _list(value: object) -> object:
    """Take a list that is left empty for an empty one, and make it immutable."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else value


def _mapping(value: object) -> object:
    return {} if value is None else value


_T = TypeVar("_T")
_List = Annotated[tuple[_T, ...], BeforeValidator(_list), AsWritten(or_empty)]
_Mapping = Annotated[Mapping[str, _T], BeforeValidator(_mapping), AsWritten(or_empty)]
_Optional = Annotated[_T | None, BeforeValidator(_check_not_null), AsWritten(not_null)]
_ReadOnlyPath = Annotated[str, AfterValidator(partial(_check_path, writable=False)), matching(f"^/{_NO_PARENT}")]
_ReadWritePath = Annotated[
    str, AfterValidator(partial(_check_path, writable=True)), matching(f"^/{_NO_PARENT}{_NOT_ROOT}")
]
_Identity = Annotated[str | None, BeforeValidator(_check_identity), matching("^(|sandbox|(?!0+$)[0-9]{1,10})$")]
_Port = Annotated[int, Field(ge=0, le=65535)]
_U32 = Annotated[int, Field(ge=0, le=2**32 - 1)]
_I32 = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]


class FilesystemPolicy(Block):
    """Paths that the sandbox may read, or read and write; everything beneath them included."""

    include_workdir: bool = False
    read_only: _List[_ReadOnlyPath] = ()
    read_write: _List[_ReadWritePath] = ()

    @classmethod
    def _limits(cls, data: object) -> list[InitErrorDetails]:
        lists = [data.get(key) for key in ("read_only", "read_write")] if isinstance(data, Mapping) else []
        count = sum(len(paths) for paths in lists if isinstance(paths, (list, tuple)))
        if count <= MAX_PATHS:
            return []
        problem = f"too many filesystem paths ({count} > {MAX_PATHS} in read_only and read_write together)"
        return [_at((), _error(INVALID_VALUE, problem, "list the folders above them instead"))]


class LandlockPolicy(Block):
    """What to do where Landlock cannot do all that is asked for."""

    compatibility: Annotated[Compatibility, _word_of(Compatibility, _COMPATIBILITY_REMEDY)] = Compatibility.BEST_EFFORT


class ProcessPolicy(Block):
    """The identity that the sandboxed process takes on; numbers are strings, as in OpenShell."""

    run_as_user: _Identity = None
    run_as_group: _Identity = None

    @model_validator(mode="before")
    @classmethod
    def _omit_empty(cls, data: object) -> object:
        """Take an empty identity for one that is left out, as OpenShell does."""
        if not isinstance(data, Mapping):
            return data
        return {key: value for key, value in data.items() if not (key in cls.model_fields and value == "")}

    @property
    def asked(self) -> bool:
        """Whether any identity is asked for."""
        return self.run_as_user is not None or self.run_as_group is not None


class NetworkEndpoint(UnenforcedBlock):
    """A host that OpenShell's proxy lets through: validated in shape, and kept. This package has no proxy."""

    host: str = ""
    path: str = ""
    port: _Port = 0
    ports: _List[_Port] = ()
    protocol: str = ""
    tls: str = ""
    enforcement: str = ""
    access: str = ""
    rules: _List[JsonValue] = ()
    deny_rules: _List[JsonValue] = ()
    allowed_ips: _List[str] = ()
    allow_encoded_slash: bool = False
    websocket_credential_rewrite: bool = False
    request_body_credential_rewrite: bool = False
    allow_uninspected_credentials: bool = False
    persisted_queries: str = ""
    graphql_persisted_queries: _Mapping[JsonValue] = Field(default_factory=dict)
    graphql_max_body_bytes: _U32 = 0
    credential_signing: str = ""
    signing_service: str = ""
    signing_region: str = ""
    credential_binding: _Mapping[JsonValue] = Field(default_factory=dict)
    json_rpc: _Mapping[JsonValue] = Field(default_factory=dict)
    mcp: _Mapping[JsonValue] = Field(default_factory=dict)


class NetworkBinary(UnenforcedBlock):
    """A program that may use a network policy's endpoints. `path` may hold a glob and is kept as it is."""

    path: str
    harness: bool = False
    """Ignored by OpenShell, which accepts it for the sake of old files."""


class NetworkPolicy(UnenforcedBlock):
    """Endpoints, and the programs that may reach them."""

    name: str = ""
    endpoints: _List[NetworkEndpoint] = ()
    binaries: _List[NetworkBinary] = ()


class MiddlewareEndpoints(UnenforcedBlock):
    """The hosts that a middleware sees."""

    include: _List[str] = ()
    exclude: _List[str] = ()


class NetworkMiddleware(UnenforcedBlock):
    """A filter of OpenShell's proxy. What stands under `config` belongs to the filter."""

    name: str = ""
    middleware: str = ""
    order: _I32 = 0
    config: _Mapping[JsonValue] = Field(default_factory=dict)
    on_error: str = ""
    endpoints: _Optional[MiddlewareEndpoints] = None


class EnvironmentPolicy(Block):
    """What to add to the environment variables that every kernel gets: some of the server's, and some of one's own.

    A pattern with `*` or `?` passes no name that looks like a secret's; such a name has to be written in full.
    """

    passing: Annotated[
        _List[Annotated[str, AfterValidator(_check_pattern), matching(f"^{_NAMES}$")]],
        Field(alias="pass", max_length=MAX_VARIABLES),
    ] = ()
    setting: Annotated[
        Mapping[
            Annotated[str, AfterValidator(_check_variable)], Annotated[str, BeforeValidator(_check_variable_value)]
        ],
        BeforeValidator(_mapping),
        AsWritten(or_empty),
        AsWritten(lambda schema: {**schema, "propertyNames": {"pattern": f"^{_NAME}$"}}),
        Field(alias="set", max_length=MAX_VARIABLES),
    ] = Field(default_factory=dict)


class GpuPolicy(Block):
    """Which GPUs a kernel is to have.

    `auto` takes what is there, `none` takes nothing, and `required` does not start without. Either `count` asks for
    so many that no other kernel holds, or `devices` names them; without both, all are meant. `extras` are families of
    devices beside the GPUs.
    """

    request: Annotated[GpuRequest, _word_of(GpuRequest)] = GpuRequest.AUTO
    count: Annotated[int, Field(ge=1, le=MAX_GPUS)] | None = None
    devices: Annotated[
        _List[Annotated[str, BeforeValidator(_check_device), AsWritten(_device)]], Field(max_length=MAX_GPUS)
    ] = ()
    extras: _List[Annotated[Extra, _word_of(Extra)]] = ()

    @classmethod
    def _limits(cls, data: object) -> list[InitErrorDetails]:
        if not isinstance(data, Mapping):
            return []
        found = []
        if data.get("count") is not None and data.get("devices"):
            problem = "count and devices contradict each other"
            found.append(_error(INVALID_VALUE, problem, "count lets GPUs be chosen, devices names them: remove one"))
        pointless = [key for key in ("count", "devices", "extras") if data.get(key)]
        if data.get("request") == GpuRequest.NONE and pointless:
            problem = f"request: none contradicts {' and '.join(pointless)}"
            found.append(_error(INVALID_VALUE, problem, "remove one of them"))
        return [_at((), error) for error in found]


class ConflictMode(StrEnum):
    """What becomes of conflicts, see `ConflictsPolicy`."""

    KEEP_UNLISTED = "keep_unlisted"
    REJECT_UNLISTED = "reject_unlisted"
    PROMOTE_ALL = "promote_all"
    REJECT_ALL = "reject_all"


class ConflictsPolicy(Block):
    """What happens where the policy lists a path read-only and a baseline wants it read-write.

    `allow_promotion` are patterns of absolute paths that may become read-write. Of the others, `keep_unlisted` keeps
    them read-only, and `reject_unlisted` refuses the start. `promote_all` makes all of them read-write, `reject_all`
    refuses the start for any. The shape is that of OpenShell's issue #1629, the default OpenShell's rule of today.
    """

    mode: Annotated[ConflictMode, _word_of(ConflictMode)] = ConflictMode.KEEP_UNLISTED
    allow_promotion: Annotated[
        _List[Annotated[str, AfterValidator(_check_glob), matching(f"^/{_NO_PARENT}")]], Field(max_length=MAX_PATHS)
    ] = ("/proc",)


class JupyterPolicy(Block):
    """This package's extension of the schema: what concerns kernels and not sandboxes in general."""

    environment: _Optional[EnvironmentPolicy] = None
    home: Annotated[HomeKind, _word_of(HomeKind, _HOME_REMEDY)] = HomeKind.PROJECT
    gpu: _Optional[GpuPolicy] = None
    baseline_conflicts: _Optional[ConflictsPolicy] = None


class Policy(UnenforcedBlock):
    """A policy as its author wrote it, validated, with normalised paths; nothing is added to it here.

    A whole block that is not known is one of a newer OpenShell: it is kept, and not enforced. But what looks like a
    block that is known, or like a part of one, is a mistake, by which a restriction would be lost.
    """

    version: Annotated[Literal[1], BeforeValidator(_check_version)]
    filesystem_policy: _Optional[FilesystemPolicy] = None
    landlock: _Optional[LandlockPolicy] = None
    process: _Optional[ProcessPolicy] = None
    network_policies: _Mapping[NetworkPolicy] = Field(default_factory=dict)
    network_middlewares: _Mapping[NetworkMiddleware] = Field(default_factory=dict)
    jupyter: _Optional[JupyterPolicy] = None
    _notices: tuple[str, ...] = PrivateAttr(default=())

    @classmethod
    def _limits(cls, data: object) -> list[InitErrorDetails]:
        return [
            _at((key,), _error(UNKNOWN_KEY, "unknown key", _belongs(str(key)) or _known_instead(cls, str(key))))
            for key, value in (data.items() if isinstance(data, Mapping) else ())
            if key not in cls.model_fields and _resembles_enforced(str(key), value)
        ]

    def with_notices(self, notices: tuple[str, ...]) -> "Self":
        """Return the policy with sentences that its user should read."""
        copy = self.model_copy()
        copy._notices = notices  # noqa: SLF001 - its own
        return copy

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know of the policy's text: keys that are not known and therefore not enforced."""
        return self._notices

    @property
    def unknown_blocks(self) -> tuple[str, ...]:
        """The blocks that are not known, which nothing here enforces."""
        return tuple(self.model_extra or ())

    @property
    def include_workdir(self) -> bool:
        """Whether the working directory is asked for. Without `filesystem_policy` it is, as in OpenShell."""
        return self.filesystem_policy is None or self.filesystem_policy.include_workdir

    @property
    def leaves_workdir_open(self) -> bool:
        """Whether `filesystem_policy` says nothing of the working directory, which then is not asked for."""
        listed = self.filesystem_policy
        return listed is not None and "include_workdir" not in listed.model_fields_set

    @property
    def compatibility(self) -> Compatibility:
        """What to do where Landlock cannot do all that is asked for; OpenShell's default is `best_effort`."""
        return Compatibility.BEST_EFFORT if self.landlock is None else self.landlock.compatibility

    @property
    def environment(self) -> EnvironmentPolicy:
        """Which environment variables the kernel gets besides those that every kernel gets."""
        return (self.jupyter and self.jupyter.environment) or EnvironmentPolicy()

    @property
    def home(self) -> HomeKind:
        """Whether the kernel's private home is kept for its folder or goes away with the kernel."""
        return HomeKind.PROJECT if self.jupyter is None else self.jupyter.home

    @property
    def gpu(self) -> GpuPolicy:
        """Which GPUs the kernel is to have."""
        return (self.jupyter and self.jupyter.gpu) or GpuPolicy()

    def with_gpu(self, request: GpuPolicy) -> "Policy":
        """Return the policy with another request for GPUs."""
        jupyter = (self.jupyter or JupyterPolicy()).model_copy(update={"gpu": request})
        return self.model_copy(update={"jupyter": jupyter})

    @property
    def baseline_conflicts(self) -> ConflictsPolicy:
        """What happens where a baseline wants read-write what the policy lists read-only."""
        return (self.jupyter and self.jupyter.baseline_conflicts) or ConflictsPolicy()

    def declared(self) -> dict[str, Any]:
        """Return the keys that the author set, as JSON values that are the caller's own."""
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)


_BLOCKS: dict[str, type[Block]] = {
    "filesystem_policy": FilesystemPolicy,
    "landlock": LandlockPolicy,
    "process": ProcessPolicy,
    "jupyter": JupyterPolicy,
}
_KNOWN = (*Policy.model_fields, *(key for block in _BLOCKS.values() for key in block.model_fields))
_OPENSHELLS = frozenset(key for name in _BLOCKS if name != "jupyter" for key in _BLOCKS[name].model_fields)


def _resembles_enforced(key: str, value: object) -> bool:
    """Return whether a key at the top may be meant for something that is enforced, or is no block's name at all."""
    words = [*re.split(r"[^a-z0-9]+", key.lower()), re.sub(r"[^a-z0-9]", "", key.lower())]
    return (
        not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", key)
        or bool(difflib.get_close_matches(key.lower(), _KNOWN, n=1, cutoff=_KEY_LIKENESS))
        or any(difflib.get_close_matches(word, _ENFORCED_WORDS, n=1, cutoff=_WORD_LIKENESS) for word in words)
        or (isinstance(value, Mapping) and not _OPENSHELLS.isdisjoint(value))
    )


def _belongs(key: str) -> str:
    return next((f"it belongs beneath {name}" for name, block in _BLOCKS.items() if key in block.model_fields), "")
