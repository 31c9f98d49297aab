"""Kinds of text that cross between processes, each with what it may not hold; `base.wire` checks them.

Every function returns why a value will not do; empty where it will.
"""

from __future__ import annotations

import os
from typing import Annotated

from openshell_kernel.base.rights import GRANTABLE


def why_not_c_text(value: str) -> str:
    """Refuse what the operating system could not be told."""
    return "a NUL stands in it" if "\0" in value else ""


def why_not_absolute(value: str) -> str:
    """Refuse a path that depends on the working directory."""
    return why_not_c_text(value) or ("" if os.path.isabs(value) else "not an absolute path")


def why_not_grantable(value: str) -> str:
    """Refuse a right that Landlock does not have, or that is never granted."""
    return "" if value in GRANTABLE else "not a right that is granted"


Text = Annotated[str, why_not_c_text]
AbsolutePath = Annotated[str, why_not_absolute]
Right = Annotated[str, why_not_grantable]
