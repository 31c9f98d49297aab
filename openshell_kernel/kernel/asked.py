"""What somebody means who asks `%policy why` about a path: as notebooks write paths, and as people do."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass

from IPython.core.error import UsageError

_PATTERN = re.compile(r"[*?[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An absolute path, and sentences about how it was found."""

    path: str
    notes: tuple[str, ...] = ()


def asked(argument: str, *, home: str) -> Asked:
    """Return which path is meant. `home` is the account's home directory, which `~` does not lead to in a kernel.

    Raises:
        UsageError: it is not one path.
    """
    word = _word(argument)
    path = os.path.abspath(os.path.expanduser(word))
    if os.path.lexists(path):
        return Asked(path=path)
    if word.partition("/")[0] == "~" and home:
        here, path = os.path.expanduser("~"), os.path.normpath(home + word[1:])
        note = (
            f"In this kernel ~ is the private home {here}, which has no such file. This is about your own home "
            f"directory, {home}."
        )
        return _without_pattern(path, note)
    return _without_pattern(path)


def _word(argument: str) -> str:
    try:
        words = shlex.split(argument)
    except ValueError as error:
        raise UsageError(f"%policy why: {str(error).lower()} in {argument.strip()!r}") from None
    if not words:
        raise UsageError("%policy why needs a path, as in: %policy why /srv/data")
    if len(words) > 1:
        raise UsageError(f'%policy why takes one path; quote a path with spaces: %policy why "{argument.strip()}"')
    if "\0" in words[0]:
        raise UsageError("%policy why: a path cannot contain a null character")
    return words[0]


def _without_pattern(path: str, *notes: str) -> Asked:
    """Take a pattern for the folder in which it stands: a policy lists paths and no patterns."""
    pattern = _PATTERN.search(path)
    if pattern is None or os.path.lexists(path):
        return Asked(path=path, notes=notes)
    note = f"A policy lists no patterns. This is about the folder in which {path} would be searched."
    return Asked(path=os.path.dirname(path[: pattern.start()]) or "/", notes=(*notes, note))
