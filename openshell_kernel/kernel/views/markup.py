"""HTML that cannot be forgotten to be escaped: whatever is not `Html` is text."""

from __future__ import annotations

import html

from openshell_kernel.base.text import printable


class Html(str):
    """A string that is HTML already: made by `tag` and `join`, and from our own constant style sheet."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str) -> Html:
    """Return an element, its attributes and all children but `Html` escaped; `class_` stands for `class`."""
    # Where style sheets are stripped (untrusted notebooks, code forges), a space keeps neighbours apart.
    gap = " " if name == "span" else ""
    rendered = "".join(f' {key.rstrip("_")}="{_escape(value)}"' for key, value in attributes.items() if value)
    return Html(f"{gap}<{name}{rendered}>{join(*children)}</{name}>")


def join(*children: str) -> Html:
    """Return the children one after the other, those that are not `Html` escaped."""
    return Html("".join(child if isinstance(child, Html) else _escape(child) for child in children))


def _escape(text: str) -> str:
    return html.escape(printable(text), quote=True)
