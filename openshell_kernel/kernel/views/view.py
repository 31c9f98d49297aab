"""What a person is shown of a snapshot, in words and in order; the renderers decide how it looks.

Pure. Every string may hold what an attacker chose (paths): the renderers escape, this does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from openshell_kernel.kernel import gpus
from openshell_kernel.kernel.text import counted, sentence
from openshell_kernel.kernel.views.answers import Answer, answers
from openshell_kernel.kernel.views.layers import Layer, layers
from openshell_kernel.policy.effective import Access, HomeKind, Origin, Rule
from openshell_kernel.policy.explain import Exposure, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openshell_kernel.kernel.snapshot import Snapshot

FOLDED_ORIGINS = (Origin.PROXY_BASELINE, Origin.RUNTIME_BASELINE)
"""Long, the same for every kernel and seldom asked about: behind one line each. So is what a GPU only reads."""
ASKED_FOR = (Origin.POLICY, Origin.WORKDIR)
"""What a person asked for: if it was not granted, that is news; a baseline's path that does not exist is not."""
VISIBLE_ROWS = 12
DISCLAIMER = "This view was recorded at launch. Code of the notebook can change what it prints, so it proves nothing."
_ORDER = (Origin.POLICY, Origin.WORKDIR, Origin.PROMOTION, Origin.GPU_BASELINE)


class Tone(str, Enum):
    """How alarming the headline is. The values are the classes of the style sheet."""

    GOOD = "good"
    EXPOSED = "exposed"
    UNENFORCED = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One rule in words."""

    path: str
    target: str
    tag: str
    may: str
    rights: str
    origin: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Rows that stand behind one line until somebody wants to see them."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The rules of one kind of access."""

    title: str
    count: int
    rows: tuple[Row, ...]
    folds: tuple[Fold, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One GPU, and whether this kernel was given it."""

    title: str
    facts: tuple[str, ...]
    given: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something that a reader should not overlook: what it is about, and a sentence."""

    label: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything that is shown, top to bottom. `exposed` and `wide_open` belong to the headline."""

    tone: Tone
    status: str
    explanation: str
    source: str
    started: str
    exposed: tuple[Remark, ...]
    wide_open: tuple[Remark, ...]
    answers: tuple[Answer, ...]
    gpus: tuple[Card, ...]
    layers: tuple[Layer, ...]
    remarks: tuple[Remark, ...]
    sections: tuple[Section, ...]
    unenforced: tuple[Remark, ...]
    skipped: tuple[Remark, ...]
    facts: tuple[tuple[str, str], ...]


def build(snapshot: Snapshot, exposed: tuple[Exposure, ...] = ()) -> View:
    """Put a snapshot into words; `exposed` is what its policy gives away, which only a look at the machine tells."""
    effective = snapshot.effective
    tone = _tone(snapshot, exposed)
    return View(
        tone=tone,
        status=_status(tone, exposed),
        explanation=_explanation(snapshot),
        source=effective.source,
        started=_time(snapshot.kernel.started),
        exposed=tuple(_exposure(item) for item in exposed),
        wide_open=tuple(
            Remark(label="", subject=item.what, text=sentence(item.why))
            for item in effective.unenforced
            if item.wide_open
        ),
        answers=answers(snapshot),
        gpus=tuple(map(_card, gpus.devices(effective, effective.selection.held))),
        layers=layers(snapshot),
        remarks=tuple(_remarks(snapshot)),
        sections=(
            _section("Read-write", Access.READ_WRITE, snapshot),
            _section("Read-only", Access.READ_ONLY, snapshot),
        ),
        unenforced=tuple(_unenforced(snapshot)),
        skipped=tuple(
            Remark(label=label(item.origin), subject=item.path, text=item.why)
            for item in effective.skipped
            if item.origin not in ASKED_FOR
        ),
        facts=tuple(_facts(snapshot)),
    )


def _tone(snapshot: Snapshot, exposed: tuple[Exposure, ...]) -> Tone:
    if not snapshot.report.enforced:
        return Tone.UNENFORCED
    return Tone.EXPOSED if exposed else Tone.GOOD


def _status(tone: Tone, exposed: tuple[Exposure, ...]) -> str:
    if tone is Tone.UNENFORCED:
        return "NOT enforced"
    if tone is Tone.GOOD:
        return "Enforced"
    if any(item.path == "/" for item in exposed):
        return "Enforced, but the policy opens the whole file system"
    return "Enforced, but the policy opens private files"


def _exposure(item: Exposure) -> Remark:
    may = "read" if item.access is Access.READ_ONLY else "read and write"
    return Remark(label=f"May {may}", subject=item.path, text=sentence(item.why))


def _explanation(snapshot: Snapshot) -> str:
    report = snapshot.report
    if not report.enforced:
        return (
            f"{sentence(report.reason or 'The reason was not recorded')} "
            "Nothing below restricts this kernel: it is only what the policy asks for."
        )
    return f"Landlock ABI {report.abi} on Linux {report.release}"


def _unenforced(snapshot: Snapshot) -> Iterable[Remark]:
    for item in snapshot.effective.unenforced:
        if not item.wide_open:
            yield Remark(label="", subject=item.what, text=sentence(item.why))


def _facts(snapshot: Snapshot) -> Iterable[tuple[str, str]]:
    effective = snapshot.effective
    yield "Policy", f"{effective.source}, {effective.compatibility}"
    yield "Folder", snapshot.kernel.workdir
    yield "Python", snapshot.kernel.python
    home, environment = effective.home, effective.environment
    if home is not None:
        kept = "kept for this folder's notebooks" if home.kind is HomeKind.PROJECT else "deleted with this kernel"
        yield "Home", f"{home.path}, private, {kept}"
    withheld = counted(len(environment.withheld), "environment variable")
    yield "Env", f"{withheld} withheld, {len(environment.passed)} passed; %policy env lists their names"


def _card(device: gpus.Device) -> Card:
    return Card(title=f"{device.label}: {device.name}", facts=(*device.facts, device.state), given=device.given)


def _remarks(snapshot: Snapshot) -> Iterable[Remark]:
    effective = snapshot.effective
    for skipped in effective.skipped:
        if skipped.origin in ASKED_FOR:
            yield Remark(label="Not granted", subject=skipped.path, text=sentence(skipped.why))
    rights = {rule.path: " ".join(rule.rights) for rule in effective.rules}
    for promotion in effective.promotions:
        yield Remark(
            label="Promoted",
            subject=promotion.path,
            text=f"The policy lists it read-only. The {label(promotion.origin)} made it read-write. "
            f"{sentence(promotion.reason)} Landlock rights there: {rights.get(promotion.path) or 'none'}.",
        )
    for conflict in effective.conflicts:
        yield Remark(
            label="Kept read-only",
            subject=conflict.path,
            text=f"The {label(conflict.origin)} needs it read-write. The policy lists it read-only, and that holds. "
            f"{sentence(conflict.reason)}",
        )
    for notice in effective.notices:
        yield Remark(label="Notice", subject="", text=notice)


def _section(title: str, access: Access, snapshot: Snapshot) -> Section:
    rules = [rule for rule in snapshot.effective.rules if rule.access is access]
    kinds = snapshot.kinds()
    folded = FOLDED_ORIGINS if access is Access.READ_WRITE else (Origin.GPU_BASELINE, *FOLDED_ORIGINS)
    shown = [_row(rule, kinds) for origin in _ORDER if origin not in folded for rule in rules if rule.origin is origin]
    folds = [
        Fold(title=label(origin), rows=tuple(_row(rule, kinds) for rule in rules if rule.origin is origin))
        for origin in folded
    ]
    if len(shown) > VISIBLE_ROWS:
        folds.insert(0, Fold(title="more", rows=tuple(shown[VISIBLE_ROWS:])))
    return Section(
        title=title,
        count=len(rules),
        rows=tuple(shown[:VISIBLE_ROWS]),
        folds=tuple(fold for fold in folds if fold.rows),
    )


def _row(rule: Rule, kinds: dict[str, Kind | None]) -> Row:
    kind = kinds.get(rule.path)
    return Row(
        path=rule.path,
        target=rule.resolved if rule.resolved and rule.resolved != rule.path else "",
        tag=kind.value if kind and kind is not Kind.DIRECTORY else "",
        may=meaning(rule.rights),
        rights=" ".join(rule.rights),
        origin=label(rule.origin),
        reason=rule.reason,
    )


def label(origin: Origin) -> str:
    """Return an origin as people write it."""
    return origin.value.replace("gpu", "GPU")


def meaning(rights: tuple[str, ...]) -> str:
    """Say in words what a set of Landlock's rights lets one do."""
    making = any(right.startswith("make_") for right in rights)
    removing = any(right.startswith("remove_") for right in rights)
    words = [
        "read" if "read_file" in rights else "list" if "read_dir" in rights else "",
        "" if "write_file" not in rights else "write" if making or "read_dir" not in rights else "write existing files",
        "create" if making else "",
        "delete" if removing else "",
        "run" if "execute" in rights else "",
        "control" if "ioctl_dev" in rights else "",
    ]
    return ", ".join(word for word in words if word) or "nothing"


def _time(stamp: str) -> str:
    """Return an ISO 8601 time in UTC for reading; anything else as it stands."""
    day, _, clock = stamp.partition("T")
    return f"{day} {clock[:8]} UTC" if clock.endswith(("+00:00", "Z")) else stamp
