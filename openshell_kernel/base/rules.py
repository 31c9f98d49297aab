"""What crosses all zones: a rule from the policy to Landlock and back, and what is left open.

Enrichment makes the rules, the plan carries them, the launcher says what became of each, and `%policy` shows that.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, NamedTuple

from openshell_kernel.base.values import AbsolutePath, Right


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


class Kind(str, Enum):
    """What is behind a path, as far as Landlock tells it apart."""

    DIRECTORY = "directory"
    FILE = "file"
    DEVICE = "device"
    OTHER = "other"


class Rule(NamedTuple):
    """One path of the sandbox and what may be done at it and beneath it.

    Attributes:
        path: as the policy or a baseline names it.
        access: the list of the policy that it stands in, or would stand in.
        rights: Landlock's access rights in lower case. They are what is asked for; in a report, of a rule that is in
            force, what the kernel was given, after masking by the kind of inode and the ABI.
        origin: who asked for it.
        reason: what fails without it, or why it is asked for.
        required: the start is refused where it cannot be applied.
        exact: it was judged by its name: it must not lead through a symbolic link that was put there since.
        resolved: in a report, the path behind the descriptor that the rule was built from.
        kind: in a report, what is there.
        problem: in a report, why it was not applied; empty for a rule that is in force.
    """

    path: AbsolutePath
    access: Access
    rights: tuple[Right, ...]
    origin: Origin
    reason: str
    required: bool = False
    exact: bool = False
    resolved: str | None = None
    kind: Kind | None = None
    problem: str = ""

    @property
    def listed(self) -> bool:
        """Whether a policy's author named the path: it must not lead through a link that a sandbox may have made."""
        return self.origin in (Origin.POLICY, Origin.PROMOTION)


class Unenforced(NamedTuple):
    """Something that a reader could expect the sandbox to enforce, and that it does not.

    Through what is `wide_open` a notebook leaves the sandbox without any skill: it is shown first.
    """

    what: str
    why: str
    wide_open: bool = False


def why_not_asked(rule: Rule) -> str:
    """Return why a rule cannot stand in a plan; empty where it can."""
    if rule.resolved is not None or rule.kind is not None or rule.problem:
        return "it says already what became of it"
    return "" if rule.rights else "no right is asked for"


AskedRule = Annotated[Rule, why_not_asked]
