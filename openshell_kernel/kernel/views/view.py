"""What a person is shown of a snapshot, in words and in order; the renderers decide how it looks.

Pure. Every string may hold what an attacker chose (paths): the renderers escape, this does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.kernel import gpus
from openshell_kernel.kernel.text import counted
from openshell_kernel.policy.effective import Access, HomeKind, Origin, Rule
from openshell_kernel.policy.explain import Kind
from openshell_kernel.sandbox.report import LANDLOCK, LayerStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openshell_kernel.kernel.snapshot import Snapshot

FOLDED_ORIGINS = (Origin.PROXY_BASELINE, Origin.RUNTIME_BASELINE)
"""Long, the same for every kernel and seldom asked about: behind one line each. So is what a GPU only reads."""
ASKED_FOR = (Origin.POLICY, Origin.WORKDIR)
"""What a person asked for: if it was not granted, that is news; a baseline's path that does not exist is not."""
VISIBLE_ROWS = 12
DISCLAIMER = (
    "As recorded at launch. This view is drawn inside the sandbox, by code that the notebook can change: "
    "it proves nothing."
)
_ORDER = (Origin.POLICY, Origin.WORKDIR, Origin.PROMOTION, Origin.GPU_BASELINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One kind of protection and whether this kernel has it."""

    name: str
    active: bool
    detail: str


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
    """Everything that is shown, top to bottom."""

    enforced: bool
    status: str
    explanation: str
    started: str
    layers: tuple[Layer, ...]
    facts: tuple[tuple[str, str], ...]
    gpu_summary: str
    gpus: tuple[Card, ...]
    remarks: tuple[Remark, ...]
    sections: tuple[Section, ...]
    unenforced: tuple[Remark, ...]
    skipped: tuple[Remark, ...]


def build(snapshot: Snapshot) -> View:
    """Put a snapshot into words."""
    effective, report = snapshot.effective, snapshot.report
    return View(
        enforced=report.enforced,
        status="Enforced" if report.enforced else "NOT enforced",
        explanation=_explanation(snapshot),
        started=_time(snapshot.kernel.started),
        layers=_layers(snapshot),
        facts=(
            ("Policy", f"{effective.source}, {effective.compatibility}"),
            ("Folder", snapshot.kernel.workdir),
            ("Python", snapshot.kernel.python),
            *_private(snapshot),
        ),
        gpu_summary=gpus.summary(effective),
        gpus=tuple(map(_card, gpus.devices(effective, effective.selection.held))),
        remarks=tuple(_remarks(snapshot)),
        sections=(
            _section("Read-write", Access.READ_WRITE, snapshot),
            _section("Read-only", Access.READ_ONLY, snapshot),
        ),
        unenforced=tuple(
            Remark(label="", subject=item.what, text=_sentence(item.why))
            for item in effective.unenforced
            if not item.wide_open
        ),
        skipped=tuple(
            Remark(label=label(item.origin), subject=item.path, text=item.why)
            for item in effective.skipped
            if item.origin not in ASKED_FOR
        ),
    )


def _explanation(snapshot: Snapshot) -> str:
    report = snapshot.report
    if not report.enforced:
        return (
            f"{_sentence(report.reason or 'The reason was not recorded')} "
            "Nothing below restricts this kernel: it is only what the policy asks for."
        )
    return f"Landlock ABI {report.abi} on Linux {report.release}"


def _layers(snapshot: Snapshot) -> tuple[Layer, ...]:
    layers = sorted(snapshot.report.layers, key=lambda layer: layer.name != LANDLOCK)
    return tuple(
        Layer(
            name=f"{layer.title} (in part)" if layer.status is LayerStatus.DEGRADED else layer.title,
            active=layer.status is not LayerStatus.ABSENT,
            detail=layer.detail,
        )
        for layer in layers
    )


def _private(snapshot: Snapshot) -> Iterable[tuple[str, str]]:
    home, environment = snapshot.effective.home, snapshot.effective.environment
    if home is not None:
        kept = "kept for this folder's notebooks" if home.kind is HomeKind.PROJECT else "goes away with this kernel"
        yield "Home", f"{home.path}, private, {kept}"
    withheld = counted(len(environment.withheld), "environment variable")
    yield "Env", f"{withheld} withheld, {len(environment.passed)} passed: %policy env lists their names"


def _card(device: gpus.Device) -> Card:
    return Card(title=f"{device.label}: {device.name}", facts=(*device.facts, device.state), given=device.given)


def _remarks(snapshot: Snapshot) -> Iterable[Remark]:
    effective = snapshot.effective
    for item in effective.unenforced:
        if item.wide_open:
            yield Remark(label=f"Wide open: {item.what}", subject="", text=_sentence(item.why))
    rights = {rule.path: " ".join(rule.rights) for rule in effective.rules}
    for promotion in effective.promotions:
        yield Remark(
            label="Promoted",
            subject=promotion.path,
            text=f"The policy lists it read-only; the {label(promotion.origin)} made it read-write. "
            f"{_sentence(promotion.reason)} Landlock rights there: {rights.get(promotion.path) or 'none'}.",
        )
    for conflict in effective.conflicts:
        yield Remark(
            label="Kept read-only",
            subject=conflict.path,
            text=f"The {label(conflict.origin)} wanted it read-write; the policy lists it read-only, "
            f"and that holds. {_sentence(conflict.reason)}",
        )
    for skipped in effective.skipped:
        if skipped.origin in ASKED_FOR:
            yield Remark(label="Not granted", subject=skipped.path, text=_sentence(skipped.why))
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


def _sentence(text: str) -> str:
    """Return a reason, which may be a phrase, as a sentence."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")


def _time(stamp: str) -> str:
    """Return an ISO 8601 time in UTC for reading; anything else as it stands."""
    day, _, clock = stamp.partition("T")
    return f"{day} {clock[:8]} UTC" if clock.endswith(("+00:00", "Z")) else stamp
