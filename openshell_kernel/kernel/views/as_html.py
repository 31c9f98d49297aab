"""Snapshot as HTML, for notebooks: one self-contained fragment, no script, for light and dark themes."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING

from openshell_kernel.kernel.views.markup import Html, join, tag
from openshell_kernel.kernel.views.view import DISCLAIMER, Card, Fold, Layer, Remark, Row, Section, View, build

if TYPE_CHECKING:
    from openshell_kernel.kernel.snapshot import Snapshot

_LONG_PATH = 200


def render(snapshot: Snapshot) -> str:
    """Return what `%policy show` says in a notebook."""
    view = build(snapshot)
    return tag("style", _style()) + tag(
        "div",
        _head(view),
        tag(
            "div",
            _facts(view),
            *(_remark(remark) for remark in view.remarks),
            *(_section(section) for section in view.sections),
            _unenforced(view.unenforced),
            _skipped(view.skipped),
            tag(
                "div",
                f"{DISCLAIMER} ",
                tag("code", "%policy why PATH"),
                " explains a path, ",
                tag("code", "%policy show --json"),
                " prints everything.",
                class_="foot dim",
            ),
            class_="body",
        ),
        class_="oshk",
    )


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
            tag("span", f"OpenShell policy, as recorded at launch, {view.started}", class_="recorded dim"),
            class_="title",
        ),
        tag("div", *(_layer(layer) for layer in view.layers), class_="layers"),
        class_="head" if view.enforced else "head bad",
    )


def _layer(layer: Layer) -> Html:
    state = "" if layer.active else ": no"
    return tag("span", layer.name, state, class_="layer" if layer.active else "layer off", title=layer.detail)


def _facts(view: View) -> Html:
    cells = [
        tag("div", tag("span", name, class_="dim"), tag("span", value))
        for name, value in (*view.facts, ("GPUs", view.gpu_summary))
    ]
    cards = tag("div", *(_card(card) for card in view.gpus), class_="cards") if view.gpus else ""
    return join(tag("div", *cells, class_="facts"), cards)


def _card(card: Card) -> Html:
    return tag(
        "div",
        tag("b", card.title),
        *(tag("span", fact, class_="fact dim") for fact in card.facts),
        class_="card" if card.given else "card off",
    )


def _remark(remark: Remark) -> Html:
    return tag(
        "div",
        tag("b", remark.label),
        " ",
        tag("code", remark.subject) if remark.subject else "",
        " ",
        remark.text,
        class_="remark notice" if remark.label == "Notice" else "remark",
    )


def _section(section: Section) -> Html:
    return join(
        tag("div", section.title, tag("span", str(section.count), class_="n"), class_="h"),
        _rows(section.rows) if section.rows else "",
        *(_fold(fold) for fold in section.folds),
    )


def _fold(fold: Fold) -> Html:
    return _details(fold.title, len(fold.rows), _rows(fold.rows))


def _details(title: str, count: int, content: Html) -> Html:
    return tag(
        "details",
        tag("summary", title, tag("span", str(count), class_="n")),
        tag("div", content, class_="rows"),
    )


def _rows(rows: tuple[Row, ...]) -> Html:
    return tag("table", tag("tbody", *(_row(row) for row in rows)))


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
    if not remarks:
        return join()
    return tag("div", _details("Not applied", len(remarks), _pairs(remarks, paths=True)), class_="last")


def _pairs(remarks: tuple[Remark, ...], *, paths: bool) -> Html:
    return tag("table", tag("tbody", *(_pair(remark, is_path=paths) for remark in remarks)))


def _pair(remark: Remark, *, is_path: bool) -> Html:
    return tag(
        "tr",
        tag("td", _path(remark.subject) if is_path else remark.subject),
        tag("td", _origin(remark.label) if remark.label else "", tag("span", remark.text, class_="dim")),
    )
