"""Numbers and reasons in words."""

from __future__ import annotations

_PER_UNIT = 1024


def counted(number: int, noun: str) -> str:
    """Return "1 GPU", "2 GPUs"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def size(number: int) -> str:
    """Return a number of bytes in the largest unit that leaves a number above 1."""
    value = float(number)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < _PER_UNIT:
            return f"{value:.4g} {unit}"
        value /= _PER_UNIT
    return f"{value:.4g} TiB"


def sentence(text: str) -> str:
    """Return a reason, which may be a phrase, as a sentence."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")
