"""Closed sets of words, written in JSON and YAML as they are."""

from __future__ import annotations

from enum import Enum


class StrEnum(str, Enum):
    """The standard library's, which Python 3.10 lacks: a member is its value, also where it is formatted."""

    __str__ = str.__str__
