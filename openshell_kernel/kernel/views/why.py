"""What `%policy why` says of a path: a verdict for each action, and one block of YAML that would allow the rest. Pure.

Every string may hold what an attacker chose: the renderers escape, this does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.base.paths import is_within
from openshell_kernel.kernel.text import sentence
from openshell_kernel.kernel.views.view import label
from openshell_kernel.policy.effective import Access
from openshell_kernel.policy.explain import Action, yaml_block

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openshell_kernel.kernel.snapshot import Snapshot
    from openshell_kernel.policy.explain import Verdict

BUILT_IN = "the built-in policy"
_USER_POLICY = "~/.config/openshell/policy.yaml"
_VERBS = {Action.READ: "read", Action.WRITE: "write", Action.EXECUTE: "run"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One action on the path: whether the rules allow it, and which rule decides."""

    verb: str
    allowed: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Everything that is said of a path, top to bottom. `yaml` is empty where no line is proposed."""

    path: str
    target: str
    kind: str
    warning: str
    notes: tuple[str, ...]
    lines: tuple[Line, ...]
    proposal: str
    yaml: str
    advice: tuple[str, ...]


def explain(snapshot: Snapshot, verdicts: tuple[Verdict, ...], notes: tuple[str, ...] = ()) -> Explanation:
    """Put verdicts into words; `notes` are about the path that was asked for."""
    first = verdicts[0]
    remedies = tuple(dict.fromkeys(verdict.remedy for verdict in verdicts if verdict.remedy))
    return Explanation(
        path=first.path,
        target=first.real if first.real != first.path else "",
        kind=first.kind.value if first.kind else "does not exist",
        warning=_warning(snapshot),
        notes=(*notes, *_private_home(snapshot, first.path)),
        lines=tuple(map(_line, verdicts)),
        proposal=_proposal(verdicts, snapshot.effective.source) if remedies else "",
        yaml=yaml_block(remedies) if remedies else "",
        advice=(
            *dict.fromkeys(text for item in remedies for text in (item.advice, item.opens) if text),
            *_withheld(verdicts),
        ),
    )


def _warning(snapshot: Snapshot) -> str:
    if snapshot.report.enforced:
        return ""
    reason = sentence(snapshot.report.reason or "the reason was not recorded")
    return f"NOT enforced: {reason} Only file permissions restrict this kernel. The policy would say:"


def _line(verdict: Verdict) -> Line:
    notes = "".join(f" {note}" for note in verdict.notes)
    return Line(
        verb=_VERBS[verdict.action], allowed=verdict.allowed, text=f"{verdict.meaning}: {_rule(verdict)}{notes}"
    )


def _rule(verdict: Verdict) -> str:
    rule = verdict.rule
    if rule is None:
        return "no rule covers it."
    path = rule.resolved or rule.path
    access = "read-only" if rule.access is Access.READ_ONLY else "read-write"
    if verdict.allowed:
        return f"by {path} ({access}, {label(rule.origin)}), {rule.reason}."
    return f"{path} ({access}, {label(rule.origin)}) covers it and does not allow this."


def _proposal(verdicts: tuple[Verdict, ...], source: str) -> str:
    names = " and ".join(_VERBS[verdict.action] for verdict in verdicts if verdict.remedy)
    if source.startswith(BUILT_IN):
        return (
            f"To {names}: outside the sandbox, save what `%policy show --yaml` prints as {_USER_POLICY}. Add this, and "
            "restart the kernel:"
        )
    return f"To {names}: outside the sandbox, add this to {source}, and restart the kernel:"


def _withheld(verdicts: tuple[Verdict, ...]) -> Iterable[str]:
    """Actions often have no remedy for the same reason, which is given once."""
    reasons: dict[str, list[str]] = {}
    for verdict in verdicts:
        if verdict.withheld:
            reasons.setdefault(verdict.withheld, []).append(_VERBS[verdict.action])
    for reason, verbs in reasons.items():
        yield f"No line is proposed to {' or '.join(verbs)}: {reason}."


def _private_home(snapshot: Snapshot, path: str) -> Iterable[str]:
    home = snapshot.effective.home
    if home and is_within(path, home.path):
        yield (
            "This lies in the kernel's private home: here ~ leads there. For a file of your account, write its full "
            "path instead of ~."
        )
