"""Text that others have chosen, made fit to be shown: names of files and folders, contents of policies, output.

They may hold newlines, terminal escapes, marks that reverse the direction of writing, or bytes that are not UTF-8.
"""

from __future__ import annotations

_CONTINUED = "\n    "


def printable(text: str, *, keep: str = "") -> str:
    """Return the text with everything escaped that is not a visible character, a space, or one to `keep`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """Return the text with its lines, all but the first indented, so that none can pass for a line of a log's own."""
    return printable(text, keep="\n").rstrip("\n").replace("\n", _CONTINUED)
