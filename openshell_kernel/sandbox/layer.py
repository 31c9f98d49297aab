"""What a protection beside Landlock's rules covers on this machine: recorded at launch, shown by `%policy show`."""

from __future__ import annotations

from typing import NamedTuple


class Layer(NamedTuple):
    """One kind of protection, whether it is in force, and what it covers or why it is not."""

    name: str
    active: bool
    detail: str
