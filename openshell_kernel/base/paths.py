"""Paths as names: whether one lies in another. No look at the file system, and no links are followed."""

from __future__ import annotations


def is_within(path: str, folder: str) -> bool:
    """Return whether a path is a folder itself, or lies in it at any depth, by its name."""
    return path == folder or is_beneath(path, folder)


def is_beneath(path: str, folder: str) -> bool:
    """Return whether a path lies in a folder at any depth, by its name, and is not the folder itself."""
    return path != folder and path.startswith(folder.rstrip("/") + "/")
