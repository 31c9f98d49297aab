"""OpenShell's policy schema, version 1, as frozen values, with errors in words for a policy's author.

Where this differs from OpenShell it is stricter: paths are normalised before they are checked (`/.` is `/`),
and a `compatibility` that is misspelt is an error instead of a weaker sandbox. In one thing it is laxer, so that the
policies of a newer OpenShell start: in what nothing here enforces, a key that is not known is kept and told of.
"""

import difflib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr
from pydantic_core import InitErrorDetails

from openshell_kernel.policy.blocks.block import KEY_LIKENESS, Block, UnenforcedBlock, known_instead
from openshell_kernel.policy.blocks.conflicts import ConflictsPolicy
from openshell_kernel.policy.blocks.environment import EnvironmentPolicy
from openshell_kernel.policy.blocks.errors import at, invalid, show, unknown
from openshell_kernel.policy.blocks.filesystem import FilesystemPolicy, LandlockPolicy
from openshell_kernel.policy.blocks.gpu import GpuPolicy
from openshell_kernel.policy.blocks.jupyter import JupyterPolicy
from openshell_kernel.policy.blocks.kinds import MappingOf, NotNull
from openshell_kernel.policy.blocks.process import ProcessPolicy
from openshell_kernel.policy.effective import Compatibility, HomeKind
from openshell_kernel.policy.network.schema import NetworkMiddleware, NetworkPolicy

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "Block",
    "ConflictsPolicy",
    "EnvironmentPolicy",
    "FilesystemPolicy",
    "GpuPolicy",
    "JupyterPolicy",
    "LandlockPolicy",
    "NetworkMiddleware",
    "NetworkPolicy",
    "Policy",
    "ProcessPolicy",
]


_ENFORCED_WORDS = ("version", "filesystem", "landlock", "process", "jupyter")
_WORD_LIKENESS = 0.8


def _check_version(value: object) -> object:
    if type(value) is int and value == 1:
        return value
    raise invalid(f"must be the number 1, not {show(value)}", "write `version: 1`")


class Policy(UnenforcedBlock):
    """A policy as its author wrote it, validated, with normalised paths; nothing is added to it here.

    A whole block that is not known is one of a newer OpenShell: it is kept, and not enforced. But what looks like a
    block that is known, or like a part of one, is a mistake, by which a restriction would be lost.
    """

    version: Annotated[Literal[1], BeforeValidator(_check_version)]
    filesystem_policy: NotNull[FilesystemPolicy] = None
    landlock: NotNull[LandlockPolicy] = None
    process: NotNull[ProcessPolicy] = None
    network_policies: MappingOf[str, NetworkPolicy] = Field(default_factory=dict)
    network_middlewares: MappingOf[str, NetworkMiddleware] = Field(default_factory=dict)
    jupyter: NotNull[JupyterPolicy] = None
    _notices: tuple[str, ...] = PrivateAttr(default=())

    @classmethod
    def _limits(cls, data: object) -> list[InitErrorDetails]:
        return [
            at((key,), unknown(_belongs(str(key)) or known_instead(cls, str(key))))
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
        or bool(difflib.get_close_matches(key.lower(), _KNOWN, n=1, cutoff=KEY_LIKENESS))
        or any(difflib.get_close_matches(word, _ENFORCED_WORDS, n=1, cutoff=_WORD_LIKENESS) for word in words)
        or (isinstance(value, Mapping) and not _OPENSHELLS.isdisjoint(value))
    )


def _belongs(key: str) -> str:
    return next((f"it belongs beneath {name}" for name, block in _BLOCKS.items() if key in block.model_fields), "")
