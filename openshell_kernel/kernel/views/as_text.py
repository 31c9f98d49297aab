"""Snapshots and verdicts as plain text, for terminals and for readers that show no HTML."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from openshell_kernel.base.text import printable
from openshell_kernel.kernel import gpus
from openshell_kernel.kernel.views.view import DISCLAIMER, Fold, Remark, Row, Section, View, build
from openshell_kernel.kernel.views.why import explain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openshell_kernel.base.claims import Holder
    from openshell_kernel.kernel.gpu_check import Step
    from openshell_kernel.kernel.snapshot import Snapshot
    from openshell_kernel.kernel.views.layers import Layer
    from openshell_kernel.policy.explain import Exposure, Verdict

_WIDTH = 100
_PATH_COLUMN = 36


def render(
    snapshot: Snapshot, exposed: tuple[Exposure, ...] = (), *, verbose: bool = False, disclaimer: str = DISCLAIMER
) -> str:
    """Return what `%policy show` says in a terminal. `disclaimer` says what that is worth."""
    lines = _lines(build(snapshot, exposed), verbose=verbose)
    return "\n".join((*lines, "", *_wrapped(disclaimer))) + "\n"


def render_why(snapshot: Snapshot, verdicts: tuple[Verdict, ...], notes: tuple[str, ...] = ()) -> str:
    """Return what `%policy why` says in a terminal; `notes` are about the path that was asked for."""
    shown = explain(snapshot, verdicts, notes)
    target = f" -> {printable(shown.target)}" if shown.target else ""
    lines = [
        *_wrapped(shown.warning),
        *(line for note in shown.notes for line in _wrapped(note)),
        f"{printable(shown.path)}{target}: {shown.kind}. By the rules recorded at launch; file permissions also apply.",
    ]
    for line in shown.lines:
        verdict = "allowed" if line.allowed else "refused"
        lines += _wrapped(f"{line.verb:<5} {verdict}  {line.text}", "  ", hang=" " * 17)
    lines += _wrapped(shown.proposal)
    lines += [f"    {line}" for line in shown.yaml.splitlines()]
    lines += _wrapped(" ".join(shown.advice))
    return "\n".join(lines) + "\n"


def render_env(snapshot: Snapshot) -> str:
    """Return what `%policy env` says: names of variables, never their values."""
    environment = snapshot.effective.environment
    lines = []
    for title, names in (
        ("Withheld: the server has them, this kernel does not", environment.withheld),
        ("Passed from the server", environment.passed),
        ("Added for this kernel: its private home, kernel.json, the policy, the operator", environment.added),
    ):
        lines += [f"{title} ({len(names)})", *_wrapped(", ".join(names) or "none", "    "), ""]
    if environment.withheld:
        lines += [
            "To pass one, add to the policy:",
            "    jupyter:",
            "      environment:",
            "        pass: [NAME]",
            *_wrapped(
                "A pattern such as AWS_* passes no name that looks like a secret's: write such a name in full. "
                "The Jupyter server's own tokens never pass."
            ),
        ]
    return "\n".join(lines).rstrip("\n") + "\n"


def render_gpus(snapshot: Snapshot, holders: tuple[Holder, ...]) -> str:
    """Return what `%policy gpus` says: the machine's GPUs, which were given, and who holds the others."""
    effective = snapshot.effective
    selection = effective.selection
    lines = [f"GPUs  {printable(gpus.summary(effective))}"]
    for device in gpus.devices(effective, holders):
        mark = "*" if device.given else " "
        lines += [
            f"{mark} {device.label:<5} {printable(', '.join((device.name, *device.facts)))}",
            f"        {printable(device.state)}{f'  {printable(device.uuid)}' if device.uuid else ''}",
        ]
    if selection.visible is not None:
        lines.append(f"CUDA_VISIBLE_DEVICES={printable(selection.visible)}")
    lines += [f"Extra {family.name}: {', '.join(map(printable, family.paths))}" for family in selection.extras]
    for notice in selection.notices:
        lines += _wrapped(f"Notice: {notice}")
    given = (
        "What was given was recorded at launch. Who holds what is current, as kernels of this machine record "
        "it. It lacks users whose first record is newer than this kernel: `jupyter openshell gpus` outside "
        "shows all."
    )
    lines += ["", *_wrapped(given)]
    return "\n".join(lines) + "\n"


def render_step(step: Step) -> str:
    """Return one step of `%policy gpus --check`."""
    detail = f": {step.detail}" if step.detail else ""
    lines = _wrapped(f"{'ok    ' if step.ok else 'FAILED'} {step.step}{detail}")
    if step.hint:
        lines += _wrapped(step.hint, "       ")
    return "\n".join(lines) + "\n"


def _lines(view: View, *, verbose: bool) -> Iterable[str]:
    yield from _wrapped(f"{view.status}: {view.explanation}")
    yield from _wrapped(f"Policy: {view.source}, as recorded at launch, {view.started}")
    for item in view.exposed:
        yield from _wrapped(f"{item.label} {item.subject}: {item.text}", "! ")
    if view.wide_open:
        yield from _wrapped(f"Wide open: {' · '.join(item.subject for item in view.wide_open)}", "! ")
    yield ""
    for answer in view.answers:
        yield from _wrapped(f"{answer.question:<11} {answer.text}", hang=" " * 12)
    for card in view.gpus:
        yield printable(f"{'':11} {', '.join((card.title, *card.facts))}")
    yield from _layers(view.layers, verbose=verbose)
    yield from _remarks("Wide open", view.wide_open)
    yield from _remarks("Remarks", view.remarks)
    for section in view.sections:
        yield from _section(section)
    yield from _remarks("Not enforced", view.unenforced)
    yield from _remarks("Not applied", view.skipped)
    yield from _heading("Details")
    for name, value in view.facts:
        yield f"  {name:<7} {printable(value)}"


def _layers(layers: tuple[Layer, ...], *, verbose: bool) -> Iterable[str]:
    """What each layer does in detail is long, and the same for most kernels: it waits for --verbose."""
    whole = [layer for layer in layers if layer.whole]
    yield from _heading(f"Layers ({len(whole)} of {len(layers)})")
    if not verbose:
        yield from _wrapped(", ".join(layer.name for layer in whole) or "none", "  ")
    for layer in layers:
        if verbose or not layer.whole:
            yield from _wrapped(f"[{'x' if layer.whole else ' '}] {layer.name}: {layer.detail}", "  ")


def _section(section: Section) -> Iterable[str]:
    yield from _heading(f"{section.title} ({section.count})")
    for row in section.rows:
        yield _rule(row, "  ")
        yield from _wrapped(f"{row.origin}: {row.reason}", "      ")
    for fold in section.folds:
        yield from _fold(fold)


def _fold(fold: Fold) -> Iterable[str]:
    """Rows of one origin come with few reasons: each reason once, then the rows that it holds for."""
    yield f"  {fold.title} ({len(fold.rows)}):"
    reason = ""
    for row in fold.rows:
        if row.reason != reason:
            yield from _wrapped(f"# {row.reason}", "    ")
            reason = row.reason
        yield _rule(row, "    ")


def _rule(row: Row, indent: str) -> str:
    tag = f" ({row.tag})" if row.tag else ""
    target = f" -> {printable(row.target)}" if row.target else ""
    return f"{indent}{printable(row.path) + target + tag:<{_PATH_COLUMN}} {row.may}"


def _remarks(title: str, remarks: tuple[Remark, ...]) -> Iterable[str]:
    if remarks:
        yield from _heading(title)
    for remark in remarks:
        about = " ".join(part for part in (remark.label, printable(remark.subject)) if part)
        yield from _wrapped(f"{about}: {remark.text}", "  ")


def _heading(title: str) -> tuple[str, ...]:
    return ("", title, "-" * len(title))


def _wrapped(text: str, indent: str = "", *, hang: str = "") -> list[str]:
    """Return the lines of a text; `hang` indents all but the first, as `indent` does where it is not given."""
    return textwrap.wrap(
        printable(text.replace("\n", " ").rstrip()),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=hang or indent.replace("!", " "),
        break_long_words=False,
        break_on_hyphens=False,
    )
