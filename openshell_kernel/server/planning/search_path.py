"""Where a kernel looks for programs: in its own environment first, and in no folder that it may not read.

A shell that meets a folder out of reach on its PATH reports that, and not that a program is missing; and the server's
PATH leads to the server's own Python, which need not be the kernel's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from openshell_kernel.base.paths import is_within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from openshell_kernel.policy.effective import Rule

_NEEDED = frozenset({"execute", "read_dir"})


def search_path(
    path: str, rules: Iterable[Rule], *, first: str, realpath: Callable[[str], str] = os.path.realpath
) -> str:
    """Return the folders of a PATH in which the rules let programs be found and run, after the folder `first`.

    A folder is judged by where its name leads: `/bin` may be a link into `/usr`.
    """
    readable = [realpath(rule.path) for rule in rules if _NEEDED.issubset(rule.rights)]
    folders = dict.fromkeys((first, *path.split(os.pathsep)))
    return os.pathsep.join(folder for folder in folders if any(is_within(realpath(folder), rule) for rule in readable))
