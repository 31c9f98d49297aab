"""From the text of a YAML scalar to what JSON can say: the core schema of YAML 1.2, and no more."""

from __future__ import annotations

import math
import re

_MAX_NUMBER = 2**64
_MAX_NUMBER_CHARACTERS = 64  # Python refuses to read thousands of digits, and so should a reader

CORE = "tag:yaml.org,2002:"
"""What the tags of the core schema begin with."""

_SCALARS = {
    "null": re.compile(r"null|Null|NULL|~|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    "float": re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
}
"""https://yaml.org/spec/1.2.2/#1032-tag-resolution"""

_SURROGATE = re.compile("[\ud800-\udfff]")


class ScalarError(Exception):
    """A scalar says nothing that JSON can say; the problem and the remedy are for its author."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def scalar(text: str, tag: str | None, *, plain: bool) -> str | float | None:
    """Return the value of a scalar with this tag, if any; `plain` tells that it stands without quotes.

    Raises:
        ScalarError: the tag is not supported or does not fit, or the text cannot be in JSON.
    """
    if _SURROGATE.search(text):
        text = _join_surrogates(text)
    if tag in ("!", CORE + "str") or (tag is None and not plain):
        return text
    found = next((kind for kind, pattern in _SCALARS.items() if pattern.fullmatch(text)), "str")
    if tag is None or tag == CORE + found:
        return _convert(text, found)
    if tag == CORE + "float" and found == "int":
        return _convert(text, "float")
    if tag.removeprefix(CORE) in _SCALARS:
        raise ScalarError(f"not a value of the tag {tag}", "remove the tag or correct the value")
    raise ScalarError(f"the tag {tag} is not supported here", "remove it")


def _join_surrogates(text: str) -> str:
    # JSON, which YAML includes, writes what lies beyond U+FFFF as two escapes.
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        problem = "contains half a surrogate pair, which is not a character"
        raise ScalarError(problem, "write the character itself") from None


def _convert(text: str, kind: str) -> str | float | None:
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "str":
        return text
    number: float = math.inf
    if len(text) <= _MAX_NUMBER_CHARACTERS:
        if kind == "float":
            number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        else:
            number = int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if not math.isfinite(number) or (kind == "int" and abs(number) >= _MAX_NUMBER):
        raise ScalarError("not a number that JSON can hold", "write a smaller number, or put it in quotes")
    return number
