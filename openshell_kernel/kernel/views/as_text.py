"""Snapshot and verdicts as plain text, for terminals and for readers that show no HTML."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from openshell_kernel.base.text import printable
from openshell_kernel.kernel import gpus
from openshell_kernel.kernel.views.view import DISCLAIMER, Fold, Remark, Row, Section, View, build, label
from openshell_kernel.policy.effective import Access

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openshell_kernel.base.claims import Holder
    from openshell_kernel.kernel.gpu_check import Step
    from openshell_kernel.kernel.snapshot import Snapshot
    from openshell_kernel.policy.explain import Remedy, Verdict

_WIDTH = 100
_PATH_COLUMN = 36
BUILT_IN = "(built-in policy)"
"""How the source of a policy ends that is a file of this package, and not to be edited."""


def render(snapshot: Snapshot) -> str:
    """Return what `%policy show` says in a terminal."""
    return "\n".join(_lines(build(snapshot))) + "\n"


def render_why(snapshot: Snapshot, verdicts: tuple[Verdict, ...], notes: tuple[str, ...] = ()) -> str:
    """Return what `%policy why` says; `notes` are about the path that was asked for."""
    first = verdicts[0]
    lines = [line for note in notes for line in (*_wrapped(note), "")]
    if not snapshot.report.enforced:
        lines += _wrapped(
            f"NOT enforced: {snapshot.report.reason or 'the reason was not recorded'} "
            "Only ordinary file permissions restrict this kernel. The policy would say:"
        )
        lines.append("")
    target = f" -> {printable(first.real)}" if first.real != first.path else ""
    lines.append(f"{printable(first.path)}{target}: {first.kind.value if first.kind else 'does not exist'}")
    for verdict in verdicts:
        lines += _verdict(verdict)
    lines += _remedies(verdicts, snapshot.effective.source)
    lines += _private_home(snapshot, first.path)
    lines += [
        "",
        *_wrapped("Landlock's rules, as recorded at launch. Ordinary file permissions apply as well."),
    ]
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
                "A pattern such as AWS_* passes no name that looks like that of a secret: write such a name in full. "
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
        "What was given is as recorded at launch. Who holds what is of now, as kernels of this machine record it, but "
        "for users whose first record is younger than this kernel; `jupyter openshell gpus` outside shows all."
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


def _private_home(snapshot: Snapshot, path: str) -> Iterable[str]:
    home = snapshot.effective.home
    if home and (path == home.path or path.startswith(home.path + "/")):
        yield ""
        yield from _wrapped(
            "This lies in the kernel's private home, to which ~ leads here. For a file of your account write its "
            "full path instead of ~."
        )


def _verdict(verdict: Verdict) -> Iterable[str]:
    allowed = "allowed" if verdict.allowed else "refused"
    yield f"  {verdict.action.value:<10} {allowed}   {verdict.meaning}"
    rule = verdict.rule
    if rule and verdict.allowed:
        path = printable(rule.resolved or rule.path)
        text = f"by {path} ({_access(rule.access)}, {label(rule.origin)}): {rule.reason}"
    elif rule:
        path = printable(rule.resolved or rule.path)
        text = f"{path} ({_access(rule.access)}, {label(rule.origin)}) covers it, and does not grant this"
    else:
        text = "no rule covers it"
    yield from _wrapped(text, "             ")
    for note in verdict.notes:
        yield from _wrapped(note, "             ")


def _remedies(verdicts: tuple[Verdict, ...], source: str) -> Iterable[str]:
    """Reading and executing have the same remedy, or none for the same reason, which is given once."""
    actions: dict[Remedy | str, list[str]] = {}
    for verdict in verdicts:
        actions.setdefault(verdict.remedy or verdict.withheld, []).append(verdict.action.value)
    actions.pop("", None)
    for remedy, names in actions.items():
        yield ""
        yield from _remedy(remedy, " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names))
    if any(verdict.remedy for verdict in verdicts):
        yield ""
        yield from _wrapped(_where(source))


def _remedy(remedy: Remedy | str, names: str) -> Iterable[str]:
    if isinstance(remedy, str):
        yield from _wrapped(f"No line is proposed to allow {names}: {remedy}.")
        return
    yield f"To allow {names}, add to the policy:"
    yield from (f"    {line}" for line in remedy.yaml.splitlines())
    for sentence in filter(None, (remedy.advice, remedy.opens)):
        yield from _wrapped(sentence)


def _where(source: str) -> str:
    if source.endswith(BUILT_IN):
        return (
            "This kernel has the built-in policy. Make one of your own of it, outside of the sandbox: put what "
            "`%policy show --yaml` prints, with this added, into ~/.config/openshell/policy.yaml and restart."
        )
    return f"The policy is {source}. Change it outside of the sandbox, and restart the kernel."


def _lines(view: View) -> Iterable[str]:
    yield from _wrapped(f"OpenShell policy, as recorded at launch, {view.started}")
    yield from _wrapped(f"{view.status}: {view.explanation}")
    for layer in view.layers:
        yield from _wrapped(f"[{'x' if layer.active else ' '}] {layer.name}: {layer.detail}", "  ")
    yield ""
    for name, value in (*view.facts, ("GPUs", view.gpu_summary)):
        yield f"{name:<8} {printable(value)}"
    for card in view.gpus:
        yield printable(f"{'':8} {', '.join((card.title, *card.facts))}")
    yield from _remarks("Remarks", view.remarks)
    for section in view.sections:
        yield from _section(section)
    yield from _remarks("Not enforced", view.unenforced)
    yield from _remarks("Not applied", view.skipped)
    yield ""
    yield from _wrapped(DISCLAIMER)


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


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        printable(" ".join(text.split())),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _access(access: Access) -> str:
    return "read-only" if access is Access.READ_ONLY else "read-write"
