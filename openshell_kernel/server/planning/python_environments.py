"""Python environments in folders that a notebook may write, as `project/.venv`: they stay as they are.

Where this machine allows mounts of the kernel's own, an environment is read-only and the whole folder around it
writable. Elsewhere the folder itself is read-only, and what lies in it beside the environment is writable.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.base.paths import is_within
from openshell_kernel.base.threads import run_in_thread
from openshell_kernel.policy.runtime import Beside
from openshell_kernel.server.planning import protected_paths

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from openshell_kernel.policy.model import Policy

_PROBE = (sys.executable, "-I", "-m", "openshell_kernel.sandbox.layers.read_only")
_SECONDS = 30.0
_MOST_ENTRIES = 500  # each is a rule of its own
_possible: set[tuple[str, ...]] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is made read-only by mounts, the folders to pin for it, and why it cannot be where that was needed."""

    paths: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()
    problem: str = ""

    def holds(self, path: str) -> bool:
        """Return whether a path lies in what is made read-only."""
        return any(is_within(path, kept) for kept in self.paths)


async def keep(
    policy: Policy, workdir: str, protected: Iterable[protected_paths.ProtectedPath], environ: Mapping[str, str]
) -> Kept:
    """Find the environments in the folders that a policy makes writable, and whether they can be kept by mounts.

    `environ` is the `trusted_environment`.
    """
    tops = _tops(policy, workdir)
    mountable = [place.path for place in protected if place.environment and not os.path.islink(place.path)]
    inside = {path for path in mountable for top in tops if path != top and is_within(path, top)}
    inside = {path for path in inside if os.path.exists(path)}
    paths = tuple(_outermost({*inside, *(path for beside in inside for path in _neighbours(beside))}))
    if not paths:
        return Kept()
    problem = await run_in_thread(_why_not, paths, environ)
    return Kept(problem=problem) if problem else Kept(paths=paths, pinned=tuple(sorted(set(_between(tops, paths)))))


def beside(folder: str, protected: Iterable[protected_paths.ProtectedPath]) -> Beside | None:
    """Return what may be granted of a folder instead of the whole, so that no environment in it can be exchanged.

    None where there is no environment in it, or so much else that each thing cannot have a rule of its own.
    """
    kept = {place.path for place in protected if place.environment and place.path != folder}
    kept = {path for path in kept if is_within(path, folder) and os.path.lexists(path)}
    if not kept:
        return None
    found = Beside(kept=tuple(_outermost(kept)), folders=(), entries=())
    found = _add(found, folder)
    return None if len(found.entries) > _MOST_ENTRIES else found


def _add(found: Beside, folder: str) -> Beside:
    inner, entries = [], []
    with os.scandir(folder) as listed:
        for entry in sorted(listed, key=lambda entry: entry.name):
            if any(is_within(kept, entry.path) for kept in found.kept):
                inner += [entry.path] if entry.path not in found.kept else []
            elif entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False):
                entries.append(entry.path)
    found = Beside(kept=found.kept, folders=(*found.folders, folder), entries=(*found.entries, *entries))
    for path in inner:
        found = _add(found, path)
    return found


def _neighbours(path: str) -> Iterator[str]:
    """Yield the environments in the same folder: installers make hard links, so a file of one may be another's too."""
    with os.scandir(os.path.dirname(path)) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and protected_paths.is_environment(entry.path):
                yield entry.path


def _tops(policy: Policy, workdir: str) -> list[str]:
    listed = policy.filesystem_policy.read_write if policy.filesystem_policy else ()
    return [*([workdir] if policy.include_workdir else []), *map(os.path.realpath, listed)]


def _between(tops: Collection[str], paths: Iterable[str]) -> Iterator[str]:
    """Yield the folders above each path, up to the topmost that is writable, which lies in none that is."""
    for path in paths:
        top = min((top for top in tops if is_within(path, top)), key=len)
        folder = os.path.dirname(path)
        while folder != top:
            yield folder
            folder = os.path.dirname(folder)


def _outermost(paths: Iterable[str]) -> list[str]:
    found: list[str] = []
    for path in sorted(paths):
        if not any(is_within(path, folder) for folder in found):
            found.append(path)
    return found


def _why_not(paths: tuple[str, ...], environ: Mapping[str, str]) -> str:
    """Return why these cannot be made read-only by mounts on this machine, as a process tells that tries it."""
    if paths in _possible:
        return ""
    try:
        done = subprocess.run(
            [*_PROBE, *paths], cwd="/", env=environ, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if done.returncode == 0:
        _possible.add(paths)
        return ""
    return done.stdout.strip() or f"the attempt ended with exit status {done.returncode}"
