"""What every layer has: a name, what it covers, what stays open without it; `prepare`, `enforce` and `verify`.

A layer is made from its parameters, which the trusted side has decided, for the process that becomes the kernel.
`prepare` is what can fail, `enforce` is irreversible and says what was achieved; the table has the stage for each.
`verify` runs later, in a child of the confined kernel, and believes nothing of what was said.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from openshell_kernel.sandbox.report import LayerReport, LayerStatus

if TYPE_CHECKING:
    from openshell_kernel.base.rules import Rule, Unenforced
    from openshell_kernel.sandbox.probes import Probe
    from openshell_kernel.sandbox.report import Report
    from openshell_kernel.sandbox.ruleset import Support

P = TypeVar("P")


class Stage(IntEnum):
    """When a layer acts: mounts change before paths are opened, and privileges drop before the kernel is restricted."""

    MOUNT = 1
    OPEN = 2
    PRIVILEGES = 3
    RESTRICT = 4


class Need(Enum):
    """Whether a start is refused without a layer: always, unless the operator waives that, or if the operator asks."""

    ALWAYS = "always"
    UNLESS_WAIVED = "unless waived"
    IF_ASKED = "if asked"


class NoParameters(NamedTuple):
    """For a layer about which nothing has to be decided."""


class Context:
    """What is known of a start besides a layer's own parameters.

    Attributes:
        program: the absolute path of the kernel's program, if this process becomes one.
        cwd: its working directory.
        temporary: its folder for temporary files, if it has one.
        ending: where the keeper says that nothing of the kernel is left, if anybody asks.
        support: which Landlock there is.
        is_root: whether the launcher runs as root, and so whether the kernel does, unless it takes on an identity.
        stays_root: whether the kernel will run as root.
        new_user: whether it takes on an identity, for which the launcher's Python may be out of reach.
        rules: those of the plan; once they are applied, with what became of each.
    """

    def __init__(
        self,
        *,
        support: Support,
        rules: tuple[Rule, ...],
        program: str | None = None,
        cwd: str | None = None,
        temporary: str | None = None,
        ending: int | None = None,
        is_root: bool = False,
        stays_root: bool = False,
        new_user: bool = False,
    ) -> None:
        self.program = program
        self.cwd = cwd
        self.temporary = temporary
        self.ending = ending
        self.support = support
        self.is_root = is_root
        self.stays_root = stays_root
        self.new_user = new_user
        self.rules = rules


class Layer(ABC, Generic[P]):
    """One protection.

    Attributes:
        name: how operators and plans call it.
        title: how people are shown it.
        covers: what it protects from what, in one sentence.
        residual: what stays open where it is missing.
        need: whether a start is refused without it.
        waiver: what an operator who can do without it writes; it ends a refusal.
        takes: the type of its parameters.
        may_be_left_out: whether a plan without it is whole, because there can be nothing for it to do.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    covers: ClassVar[str]
    residual: ClassVar[tuple[Unenforced, ...]] = ()
    need: ClassVar[Need] = Need.IF_ASKED
    waiver: ClassVar[str] = "to go on without this layer"
    takes: ClassVar[type[Any]] = NoParameters
    may_be_left_out: ClassVar[bool] = False

    def __init__(self, parameters: P, context: Context) -> None:
        self.parameters = parameters
        self.context = context

    def prepare(self) -> LayerReport | None:
        """Do what can fail. Called in the stage that the table says; a report, which says why not, ends it here.

        Raises:
            ConfinementError: no kernel can be started from this plan.
        """
        return None

    @abstractmethod
    def enforce(self) -> LayerReport:
        """Protect, for ever, and say what was achieved. Called after `prepare`, in the stage that the table says.

        Raises:
            ConfinementError: no kernel can be started from this plan.
        """

    @classmethod
    @abstractmethod
    def verify(cls, report: Report) -> tuple[Probe, ...]:
        """Try what the layer forbids, and return what came of it. Called in a child of the confined kernel.

        It leaves nothing behind, and is called only where the report claims that the layer protects.
        """

    @classmethod
    def enforced(cls, detail: str, *, subjects: tuple[str, ...] = ()) -> LayerReport:
        """Return that it protects as it should."""
        return LayerReport(cls.name, cls.title, LayerStatus.ENFORCED, detail, subjects=subjects)

    @classmethod
    def degraded(
        cls, detail: str, residual: tuple[Unenforced, ...], *, remedy: str = "", subjects: tuple[str, ...] = ()
    ) -> LayerReport:
        """Return that it protects in part, why only so, and what stays open."""
        return LayerReport(cls.name, cls.title, LayerStatus.DEGRADED, detail, remedy, residual, subjects)

    @classmethod
    def absent(cls, detail: str, *, remedy: str = "") -> LayerReport:
        """Return that it does not protect, and why."""
        return LayerReport(cls.name, cls.title, LayerStatus.ABSENT, detail, remedy, cls.residual)
