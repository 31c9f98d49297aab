"""The reader's five questions about a notebook, each answered in a sentence or two. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.base.paths import is_within
from openshell_kernel.kernel import gpus
from openshell_kernel.kernel.text import counted
from openshell_kernel.policy.effective import Access, Origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openshell_kernel.kernel.snapshot import Snapshot
    from openshell_kernel.policy.effective import Rule

_ASKED_FOR = (Origin.WORKDIR, Origin.POLICY, Origin.PROMOTION)
_NAMED = 5
_SHARED = "/tmp"  # noqa: S108 - it is only named
_NETWORK_POLICIES = "network_policies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a reader asks, in two words, and the answer."""

    question: str
    text: str


def answers(snapshot: Snapshot) -> tuple[Answer, ...]:
    """Return what this notebook may write, may read and cannot see, and which network and GPUs it has."""
    questions = {
        "May write": _write,
        "May read": _read,
        "Cannot see": _hidden,
        "Network": _network,
        "GPUs": _gpus,
    }
    return tuple(Answer(question=question, text=answer(snapshot)) for question, answer in questions.items())


def _write(snapshot: Snapshot) -> str:
    if not snapshot.report.enforced:
        return "Every file that its account may write."
    return _granted(snapshot, Access.READ_WRITE, also="")


def _read(snapshot: Snapshot) -> str:
    if not snapshot.report.enforced:
        return "Every file that its account may read."
    return _granted(snapshot, Access.READ_ONLY, also="all that it may write")


def _granted(snapshot: Snapshot, access: Access, *, also: str) -> str:
    rules = [rule for rule in snapshot.effective.rules if rule.access is access]
    asked = [_named(rule) for origin in _ASKED_FOR for rule in rules if rule.origin is origin]
    named = [*asked[:_NAMED], *([f"{len(asked) - _NAMED} more"] if asked[_NAMED:] else []), *([also] if also else [])]
    gpu = sum(rule.origin is Origin.GPU_BASELINE for rule in rules)
    needed = len(rules) - len(asked) - gpu
    named += [f"{counted(needed, 'path')} that every kernel needs"] if needed else []
    named += [f"{gpu} for its GPUs"] if gpu else []
    return f"{_listed(named)}." if named else "Nothing."


def _named(rule: Rule) -> str:
    if rule.path == "/":
        return "every file on this machine (/)"
    if rule.origin is Origin.WORKDIR:
        return f"{rule.path} (its folder)"
    if "write_file" in rule.rights and "read_dir" in rule.rights and "make_reg" not in rule.rights:
        return f"{rule.path} (existing files)"
    return rule.path


def _hidden(snapshot: Snapshot) -> str:
    if not snapshot.report.enforced:
        return "Only what ordinary file permissions hide from its account."
    places = [rule.resolved or rule.path for rule in snapshot.effective.rules if "read_file" in rule.rights]
    if "/" in places:
        return "No file is hidden by the policy: it opens /."
    home = snapshot.guarded.home
    closed = [f"your home {home}"] if home and not _covered(home, places) else []
    closed += [] if _covered(_SHARED, places) else [_SHARED]
    examples = f", for example in {_listed(closed)}" if closed else ""
    withheld = len(snapshot.effective.environment.withheld)
    variables = f" {counted(withheld, 'environment variable')} of the server are withheld." if withheld else ""
    return f"The contents of all other files{examples}.{variables}"


def _covered(path: str, places: Sequence[str]) -> bool:
    return any(is_within(path, place) for place in places)


def _network(snapshot: Snapshot) -> str:
    listed = any(item.what == _NETWORK_POLICIES for item in snapshot.effective.unenforced)
    ignored = " The network_policies of the policy are not enforced." if listed else ""
    return f"Open: it can reach any host, and send what it reads.{ignored}"


def _gpus(snapshot: Snapshot) -> str:
    if not snapshot.report.enforced:
        return "Every GPU that its account may open."
    return gpus.summary(snapshot.effective)


def _listed(words: Sequence[str]) -> str:
    return ", and ".join([", ".join(words[:-1]), words[-1]]) if words[2:] else " and ".join(words)
