"""What a protection beside Landlock's rules covers on this machine: recorded at launch, shown by `%policy show`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One kind of protection, whether it is in force, and what it covers or why it is not."""

    name: str
    active: bool
    detail: str
