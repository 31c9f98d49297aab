"""Places that a sandbox must not be given by accident, and whether a folder is safe to grant without being asked.

A folder is granted automatically only when it holds no configuration that unconfined programs obey, no credentials,
and no code that they import.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_core import paths as jupyter_paths

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openshell_kernel.server.interpreter import Interpreter

_ACCOUNT = (
    ".aws",
    ".azure",
    ".bash_profile",
    ".bashrc",
    ".cache",
    ".config",
    ".docker",
    ".git-credentials",
    ".gitconfig",
    ".gnupg",
    ".huggingface",
    ".ipython",
    ".jupyter",
    ".kaggle",
    ".kube",
    ".local",
    ".mozilla",
    ".netrc",
    ".npmrc",
    ".password-store",
    ".profile",
    ".pypirc",
    ".ssh",
    ".zshrc",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A path that a sandbox must not write, and what it is, in words.

    `beneath` tells whether a folder inside it is out of bounds as well. An import root is different: a folder inside
    is harmless, a folder that holds it could change what unconfined programs import.
    """

    path: str
    what: str
    beneath: bool = True


def protected(interpreters: Iterable[Interpreter], own: Iterable[str], *, home: str) -> tuple[Place, ...]:
    """Return the places to protect for this user. `own` are paths of this package's: policy files, its folders."""
    return (
        *(_place(os.path.join(home, name), "settings or credentials of your account") for name in _ACCOUNT),
        *(_place(path, "Jupyter's or IPython's files") for path in _jupyter()),
        *(_place(path, "openshell_kernel's own files") for path in own),
        *(
            _place(path, "the Python environment that runs your kernels", beneath=beneath)
            for interpreter in interpreters
            for beneath, paths in (
                (True, interpreter.prefixes),
                (False, (*interpreter.import_path, *interpreter.editable)),
            )
            for path in paths
        ),
    )


def refuse_writing(folder: str, places: Iterable[Place], *, home: str) -> str:
    """Return why a folder must not be granted read-write without being asked; empty when it may be."""
    real = os.path.realpath(folder)
    if not os.path.isdir(real):
        return "it is not a folder"
    broad = refuse_reading(folder, home=home)
    if broad:
        return broad
    for place in places:
        if holds(real, place.path):
            return f"it holds {place.path}, {place.what}"
        if place.beneath and holds(place.path, real):
            return f"it lies in {place.path}, {place.what}"
    return ""


def refuse_reading(folder: str, *, home: str) -> str:
    """Return why a folder must not be granted read-only without being asked; empty when it may be."""
    real, real_home = os.path.realpath(folder), os.path.realpath(home)
    if real == "/":
        return "it is the root of the file system"
    if real == real_home:
        return "it is your home directory"
    if holds(real, real_home):
        return f"it holds your home directory, {home}"
    return ""


def holds(folder: str, path: str) -> bool:
    """Return whether a path is a folder itself or lies beneath it, by name."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _place(path: str, what: str, *, beneath: bool = True) -> Place:
    return Place(path=os.path.realpath(path), what=what, beneath=beneath)


def _jupyter() -> Iterable[str]:
    ipython = os.environ.get("IPYTHONDIR") or str(Path("~/.ipython").expanduser())
    return (
        *jupyter_paths.jupyter_config_path(),
        *jupyter_paths.jupyter_path(),
        jupyter_paths.jupyter_runtime_dir(),
        ipython,
    )
