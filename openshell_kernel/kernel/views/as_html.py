"""Snapshots and verdicts as HTML, for notebooks: one self-contained fragment, no script, for light and dark themes."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING

from openshell_kernel.kernel.views.markup import Html, join, tag
from openshell_kernel.kernel.views.view import DISCLAIMER, Card, Fold, Remark, Row, Section, Tone, View, build
from openshell_kernel.kernel.views.why import explain

if TYPE_CHECKING:
    from openshell_kernel.kernel.snapshot import Snapshot
    from openshell_kernel.kernel.views.layers import Layer
    from openshell_kernel.kernel.views.why import Explanation, Line
    from openshell_kernel.policy.explain import Exposure, Verdict

_LONG_PATH = 200


def render(snapshot: Snapshot, exposed: tuple[Exposure, ...] = (), *, verbose: bool = False) -> str:
    """Return what `%policy show` says in a notebook."""
    view = build(snapshot, exposed)
    return _framed(
        _head(view),
        tag(
            "div",
            _answers(view),
            _layers(view.layers, verbose=verbose),
            *(_remark(remark) for remark in view.remarks),
            *(_section(section) for section in view.sections),
            _unenforced(view.unenforced),
            tag("div", _skipped(view.skipped), _facts(view.facts), class_="last"),
            _foot(),
            class_="body",
        ),
    )


def render_why(snapshot: Snapshot, verdicts: tuple[Verdict, ...], notes: tuple[str, ...] = ()) -> str:
    """Return what `%policy why` says in a notebook."""
    shown = explain(snapshot, verdicts, notes)
    return _framed(
        tag(
            "div",
            *(tag("div", text, class_="door") for text in (shown.warning,) if text),
            tag("div", tag("b", _path(shown.path)), _target(shown), class_="title"),
            class_=f"head {Tone.UNENFORCED.value if shown.warning else 'plain'}",
        ),
        tag(
            "div",
            *(tag("div", note, class_="remark") for note in shown.notes),
            tag("table", tag("tbody", *(_verdict(line) for line in shown.lines)), class_="verdicts"),
            *_remedy(shown),
            tag("div", "By the rules recorded at launch. File permissions apply as well.", class_="foot dim"),
            class_="body",
        ),
    )


def _framed(*children: Html) -> Html:
    return join(tag("style", _style()), tag("div", *children, class_="oshk"))


def _style() -> Html:
    """Return the style sheet; every selector begins with our own class, so that it touches nothing else."""
    sheet = (resources.files("openshell_kernel.kernel.views") / "style.css").read_text(encoding="utf-8")
    return Html(re.sub(r"\s+", " ", sheet))


def _head(view: View) -> Html:
    return tag(
        "div",
        tag(
            "div",
            tag("span", view.status, class_="state"),
            tag("span", view.explanation, class_="why"),
            tag("span", f"recorded at launch, {view.started}", class_="recorded dim"),
            class_="title",
        ),
        tag("div", f"Policy: {view.source}", class_="source dim"),
        *(tag("div", _labelled(item), class_="door") for item in view.exposed),
        _wide_open(view.wide_open),
        class_=f"head {view.tone.value}",
    )


def _wide_open(doors: tuple[Remark, ...]) -> Html:
    """Each is named in the headline; what it means is one click away."""
    if not doors:
        return join()
    return tag(
        "details",
        tag("summary", tag("b", "Wide open: "), " · ".join(door.subject for door in doors)),
        tag("div", _pairs(doors, paths=False), class_="rows"),
        class_="open",
    )


def _answers(view: View) -> Html:
    rows = [
        tag("div", tag("span", answer.question, class_="dim"), tag("span", answer.text, class_="text"))
        for answer in view.answers
    ]
    cards = tag("div", *(_card(card) for card in view.gpus), class_="cards") if view.gpus else ""
    return join(tag("div", *rows, class_="facts answers"), cards)


def _layers(layers: tuple[Layer, ...], *, verbose: bool) -> Html:
    """What each layer does in detail is long, and the same for most kernels: it waits for --verbose."""
    whole = sum(layer.whole for layer in layers)
    heading = tag("div", "Layers", tag("span", f"{whole} of {len(layers)}", class_="n"), class_="h")
    chips = tag("div", *(_layer(layer) for layer in layers if not verbose and layer.whole), class_="layers")
    rows = [
        tag("tr", tag("td", _layer(layer)), tag("td", layer.detail)) for layer in layers if verbose or not layer.whole
    ]
    return join(heading, chips, tag("table", tag("tbody", *rows), class_="rules") if rows else "")


def _layer(layer: Layer) -> Html:
    return tag("span", layer.name, class_=f"layer {layer.status.value}")


def _card(card: Card) -> Html:
    return tag(
        "div",
        tag("b", card.title),
        *(tag("span", fact, class_="fact dim") for fact in card.facts),
        class_="card" if card.given else "card off",
    )


def _remark(remark: Remark) -> Html:
    return tag("div", _labelled(remark), class_="remark")


def _labelled(remark: Remark) -> Html:
    subject = tag("code", remark.subject) if remark.subject else ""
    return join(tag("b", remark.label), " ", subject, " " if subject else "", remark.text)


def _section(section: Section) -> Html:
    return join(
        tag("div", section.title, tag("span", str(section.count), class_="n"), class_="h"),
        _rows(section.rows) if section.rows else "",
        *(_fold(fold) for fold in section.folds),
    )


def _fold(fold: Fold) -> Html:
    return _details(fold.title, str(len(fold.rows)), _rows(fold.rows))


def _details(title: str, count: str, content: Html) -> Html:
    return tag(
        "details",
        tag("summary", title, tag("span", count, class_="n") if count else ""),
        tag("div", content, class_="rows"),
    )


def _rows(rows: tuple[Row, ...]) -> Html:
    return tag("table", tag("tbody", *(_row(row) for row in rows)), class_="rules")


def _row(row: Row) -> Html:
    return tag(
        "tr",
        tag(
            "td",
            _path(row.path),
            tag("span", row.tag, class_="tag") if row.tag else "",
            tag("div", "→ ", _path(row.target), class_="dim") if row.target else "",
        ),
        tag("td", row.may, class_="may", title=f"Landlock rights: {row.rights}"),
        tag("td", _origin(row.origin), tag("span", row.reason, class_="dim")),
    )


def _origin(origin: str) -> Html:
    return tag("span", origin, class_=f"from {origin.partition(' ')[0].lower()}")


def _path(path: str) -> Html:
    """A path of 4096 bytes scrolls in its own cell instead of filling the page."""
    return tag("code", path, class_="clip" if len(path) > _LONG_PATH else "")


def _unenforced(remarks: tuple[Remark, ...]) -> Html:
    """Each is named at a glance; what it means is one click away."""
    if not remarks:
        return join()
    return join(
        tag("div", "Not enforced", tag("span", str(len(remarks)), class_="n"), class_="h"),
        tag(
            "details",
            tag("summary", " · ".join(remark.subject for remark in remarks)),
            tag("div", _pairs(remarks, paths=False), class_="rows"),
        ),
    )


def _skipped(remarks: tuple[Remark, ...]) -> Html:
    return _details("Not applied", str(len(remarks)), _pairs(remarks, paths=True)) if remarks else join()


def _facts(facts: tuple[tuple[str, str], ...]) -> Html:
    rows = [tag("div", tag("span", name, class_="dim"), tag("span", value)) for name, value in facts]
    return _details("Details", "", tag("div", *rows, class_="facts"))


def _foot() -> Html:
    return tag(
        "div",
        f"{DISCLAIMER} ",
        tag("code", "%policy why PATH"),
        " explains a path. ",
        tag("code", "%policy show --verbose"),
        " says what each layer does.",
        class_="foot dim",
    )


def _pairs(remarks: tuple[Remark, ...], *, paths: bool) -> Html:
    return tag("table", tag("tbody", *(_pair(remark, is_path=paths) for remark in remarks)))


def _pair(remark: Remark, *, is_path: bool) -> Html:
    return tag(
        "tr",
        tag("td", _path(remark.subject) if is_path else remark.subject),
        tag("td", _origin(remark.label) if remark.label else "", tag("span", remark.text, class_="dim")),
    )


def _target(shown: Explanation) -> Html:
    link = join("→ ", _path(shown.target), " ") if shown.target else ""
    return tag("span", link, shown.kind, class_="dim")


def _verdict(line: Line) -> Html:
    return tag(
        "tr",
        tag("td", tag("span", line.verb, class_=f"layer {'enforced' if line.allowed else 'absent'}")),
        tag("td", tag("b", "allowed" if line.allowed else "refused"), " ", tag("span", line.text, class_="dim")),
    )


def _remedy(shown: Explanation) -> tuple[Html, ...]:
    block = (tag("div", shown.proposal), tag("pre", *_lines(shown.yaml))) if shown.yaml else ()
    return (*block, *(tag("div", text) for text in shown.advice))


def _lines(text: str) -> tuple[str, ...]:
    return tuple(part for line in text.splitlines() for part in (line, Html("\n")))
