"""Kinds of values that several blocks have: lists and mappings that may be left empty, words of a closed set."""

import difflib
from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import BeforeValidator

from openshell_kernel.base.enums import StrEnum
from openshell_kernel.policy.blocks.errors import invalid, show
from openshell_kernel.policy.in_json_schema import AsWritten, not_null, or_empty


def word_of(words: type[StrEnum], remedy: str = "") -> BeforeValidator:
    """Take a word of a closed set for what it stands for; `remedy` is what to do about any other."""
    known = [word.value for word in words]

    def check(value: object) -> object:
        if value in known:
            return words(value)
        close = difflib.get_close_matches(str(value), known, n=1, cutoff=0.5)
        meant = f"did you mean {close[0]}?" if close else "write one of them exactly"
        problem = f"must be {', '.join(known[:-1])} or {known[-1]}, not {show(value)}"
        raise invalid(problem, remedy or meant)

    return BeforeValidator(check)


def _check_not_null(value: object) -> object:
    # OpenShell's releases differ in what an empty block means: none (working directory granted) or {} (not).
    if value is None:
        raise invalid("is empty", "remove the key, or write {} for a block without settings")
    return value


def _list(value: object) -> object:
    """Take a list that is left empty for an empty one, and make it immutable."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else value


def _mapping(value: object) -> object:
    return {} if value is None else value


K = TypeVar("K")
T = TypeVar("T")
ListOf = Annotated[tuple[T, ...], BeforeValidator(_list), AsWritten(or_empty)]
MappingOf = Annotated[Mapping[K, T], BeforeValidator(_mapping), AsWritten(or_empty)]
NotNull = Annotated[T | None, BeforeValidator(_check_not_null), AsWritten(not_null)]
