"""Why a policy allows something with a path, or does not, and what would allow it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from openshell_kernel.api.policies import effective_policy
from openshell_kernel.policy.effective import EffectivePolicy
from openshell_kernel.policy.explain import Action, Guarded, why
from openshell_kernel.server.dirs.home import homes
from openshell_kernel.server.planning import interpreter
from openshell_kernel.server.planning.command import OWN_PACKAGE
from openshell_kernel.server.planning.protected_paths import protected

if TYPE_CHECKING:
    from openshell_kernel.api.planning import AnyPolicy
    from openshell_kernel.policy.effective import Origin, Rule
    from openshell_kernel.policy.explain import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a policy says of one action on one path.

    Attributes:
        path: the path that was asked for, absolute.
        real: where it leads, without symbolic links.
        action: what somebody wants to do.
        allowed: whether the policy allows it. Ordinary file permissions apply as well.
        rule: the rule that grants it, or the nearest one that covers the path and does not; None where none does.
        remedy: the lines to add to the policy, as YAML; empty where nothing has to be added, or nothing is proposed.
        notes: what else there is to know, a sentence each; why nothing is proposed, among others.
    """

    path: str
    real: str
    action: Action
    allowed: bool
    rule: Rule | None
    remedy: str
    notes: tuple[str, ...]

    @property
    def origin(self) -> Origin | None:
        """Who asked for the rule; None where there is none."""
        return None if self.rule is None else self.rule.origin

    @property
    def reason(self) -> str:
        """Why the rule is there; empty where there is none."""
        return "" if self.rule is None else self.rule.reason


def explain(
    policy: AnyPolicy | EffectivePolicy | None, path: str | os.PathLike[str], action: Action | str = Action.READ
) -> Explanation:
    """Say whether a policy allows an action on a path, by which rule, or what to add to it.

    >>> import openshell_kernel
    >>> effective = openshell_kernel.effective_policy("policy.yaml")
    >>> answer = openshell_kernel.explain(effective, "/usr/bin/env")
    >>> answer.allowed, answer.origin.value, answer.reason
    (True, 'policy', 'listed in filesystem_policy.read_only')
    >>> answer = openshell_kernel.explain(effective, "/srv", "write")
    >>> answer.allowed
    False
    >>> print(answer.remedy)
    filesystem_policy:
      read_write: [/srv]

    Args:
        policy: what `effective_policy` returned, which is the way to ask many questions; or what it takes.
        path: the path; a relative one begins in this process's working directory.
        action: read, write or execute.

    Raises:
        PolicyError: nothing would start with this policy here.
        ValueError: there is no such action.
    """
    wanted = action if isinstance(action, Action) else _action(action)
    effective = policy if isinstance(policy, EffectivePolicy) else effective_policy(policy)
    named = os.path.abspath(path)
    # Whoever asks whether something may be run means to run it.
    verdicts = why(effective, named, guarded=_guarded(), runnable=lambda _: True)
    verdict = next((verdict for verdict in verdicts if verdict.action is wanted), None)
    if verdict is not None:
        return _explanation(verdict)
    nothing = (f"there is nothing to {_WORDS[wanted]} at {named}",)
    return Explanation(
        path=named, real=verdicts[0].real, action=wanted, allowed=False, rule=None, remedy="", notes=nothing
    )


_WORDS = {Action.READ: "read", Action.WRITE: "write", Action.EXECUTE: "execute"}


def _action(word: str) -> Action:
    for action, name in _WORDS.items():
        if word == name:
            return action
    raise ValueError(f"{word!r} is no action; say {', '.join(_WORDS.values())}")


def _explanation(verdict: Verdict) -> Explanation:
    return Explanation(
        path=verdict.path,
        real=verdict.real,
        action=verdict.action,
        allowed=verdict.allowed,
        rule=verdict.rule,
        remedy="" if verdict.remedy is None else verdict.remedy.yaml,
        notes=tuple(_notes(verdict)),
    )


def _notes(verdict: Verdict) -> list[str]:
    proposed = [] if verdict.remedy is None else [verdict.remedy.advice, verdict.remedy.opens]
    withheld = [f"Nothing is proposed: {verdict.withheld}."] if verdict.withheld else []
    return [note for note in (*verdict.notes, *proposed, *withheld) if note]


def _guarded() -> Guarded:
    """Return what no line is proposed for: secrets, and what unconfined programs run or obey."""
    home = str(Path.home())
    python = interpreter.inspect(sys.executable, interpreter.scrubbed(os.environ, ["/"]))
    return Guarded(home=os.path.realpath(home), places=protected([python], [OWN_PACKAGE, str(homes())], home=home))
