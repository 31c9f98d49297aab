"""Paths that a sandbox must not be given by accident: where they are, for this user on this machine.

They hold configuration that unconfined programs obey, credentials, or code that they import. What to make of them says
`policy.protected_paths`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_core import paths as jupyter_paths
from traitlets.config import Application

from openshell_kernel.base.links import walk
from openshell_kernel.base.paths import is_within
from openshell_kernel.policy import sources
from openshell_kernel.policy.effective import Access, Origin
from openshell_kernel.policy.protected_paths import (
    CREDENTIALS,
    ProtectedPath,
    why_not_read,
    why_not_secret,
    why_not_write,
)
from openshell_kernel.server.dirs.private_dir import private_dirs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from openshell_kernel.policy.effective import Rule
    from openshell_kernel.server.planning.interpreter import Interpreter

__all__ = [
    "ProtectedPath",
    "exact",
    "exposures",
    "protected",
    "why_not_exact",
    "why_not_read",
    "why_not_secret",
    "why_not_write",
]

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
_SETTINGS = ("jupyter*_config.py", "jupyter*_config.json", "jupyter*_config.d/*.json")
_KEYS = re.compile(rb"^[^#\n]*(token|password|secret)", re.IGNORECASE | re.MULTILINE)
_LOG = "a log of Jupyter's server, which may contain its token (let it log to a file elsewhere)"
_ENVIRONMENT = ("pyvenv.cfg", "conda-meta")  # what tells a virtual environment, and one of conda
_SHOWN = 4


def _commands() -> Iterator[list[str]]:
    """Yield the commands of all kernelspecs, those that others of the same name hide among them."""
    for folder in (*jupyter_paths.jupyter_path("kernels"), os.path.join(_ipython(), "kernels")):
        for file in Path(folder).glob("*/kernel.json"):
            # A damaged one starts nothing.
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                yield [str(word) for word in json.loads(file.read_bytes())["argv"]]


def protected(
    interpreters: Iterable[Interpreter],
    own: Iterable[str],
    *,
    home: str,
    locks: Iterable[str] = (),
    logs: Iterable[str] = (),
    environ: Mapping[str, str] = os.environ,
    kernels: Callable[[], Iterable[str]] = private_dirs,
    commands: Callable[[], Iterable[Sequence[str]]] = _commands,
) -> tuple[ProtectedPath, ...]:
    """Return the places to protect for this user.

    `own` are paths of this package's: policy files, its folders. Who can read one of `locks` can hold it; `logs` are
    of Jupyter's servers. `environ` is the server's environment. `kernels` finds the private folders of kernels,
    `commands` the commands of all kernelspecs.
    """
    interpreters = tuple(interpreters)
    return (
        *(_place(os.path.join(home, name), "settings or credentials of your account") for name in _ACCOUNT),
        *(_place(os.path.join(home, name), "credentials of your account", secret=True) for name in CREDENTIALS),
        _place(jupyter_paths.jupyter_runtime_dir(), "keys of Jupyter's servers and kernels", secret=True),
        *(_place(path, "keys of this Jupyter server", secret=True) for path in _keys(environ) if path),
        *(_place(path, "Jupyter's or IPython's files") for path in _jupyter()),
        *(_place(path, "settings of Jupyter with a token or password", secret=True) for path in _settings()),
        *(ProtectedPath(path=path, what="openshell_kernel's own files") for path in sources.ways(own)),
        *(_place(path, "a lock that can stop the starts of other kernels", secret=True) for path in locks),
        *(_place(path, _LOG, secret=True) for path in logs),
        *(_place(path, "keys, sockets and files of a kernel", secret=True) for path in kernels()),
        *(
            _place(path, "the Python environment that runs your kernels", beneath=beneath, environment=True)
            for interpreter in interpreters
            for beneath, paths in (
                (True, interpreter.prefixes),
                (False, (*interpreter.import_path, *interpreter.editable, *interpreter.customize)),
            )
            for path in paths
        ),
        *_links(path for python in interpreters for path in (python.executable, *python.prefixes)),
        *_programs(commands()),
        *(
            _place(path, "the user's Python packages, by PYTHONUSERBASE")
            for path in (environ.get("PYTHONUSERBASE", ""),)
            if os.path.isabs(path)
        ),
        *(
            _place(path, what, beneath=False)
            for name, separators, what in (
                ("PATH", ":", "a folder of PATH, from which programs are run"),
                ("PYTHONPATH", ":", "a folder of PYTHONPATH, from which Python imports"),
                # ld.so(8) takes both.
                ("LD_LIBRARY_PATH", "[:;]", "a folder of LD_LIBRARY_PATH, from which programs load libraries"),
            )
            for path in re.split(separators, environ.get(name, ""))
            if os.path.isabs(path)
        ),
    )


def why_not_exact(folder: str, real: str, *, root: str | None, home: str) -> str:
    """Return why a folder must not be granted under this name; empty when no symbolic link leads there.

    `real` is where the name leads. A sandbox that may write a folder above can exchange this one for a link, and the
    next kernel here would be given what it leads to. Links above the server's root folder, or the home directory, are
    the operator's.
    """
    if real == exact(folder, root=root, home=home):
        return ""
    return f"a symlink leads from {os.path.abspath(folder)} to {real}"


def exact(folder: str, *, root: str | None, home: str) -> str:
    """Return where a name leads if there is no symbolic link but the operator's, above the root folder or the home."""
    named = os.path.abspath(folder)
    base = next((top for top in (root, home) if top and is_within(named, os.path.abspath(top))), "/")
    return os.path.normpath(os.path.join(os.path.realpath(base), os.path.relpath(named, os.path.abspath(base))))


def is_environment(folder: str) -> bool:
    """Return whether a folder is a virtual environment of Python, or an environment of conda."""
    return any(os.path.exists(os.path.join(folder, sign)) for sign in _ENVIRONMENT)


def exposures(
    rules: Iterable[Rule], places: Iterable[ProtectedPath], *, exists: Callable[[str], bool] = os.path.lexists
) -> Iterator[str]:
    """Yield a sentence for every rule that opens protected places, naming both.

    A policy may do so on purpose, and Landlock cannot take a part of a granted folder away again: it is told. Of a
    baseline it is told what its folders hold, and not that a kernel's own files lie in protected places themselves.
    """
    held, around = _by_folder(places)
    for rule in rules:
        real = os.path.realpath(rule.path)
        listed = rule.origin is Origin.POLICY
        met = held.get(real, [])
        if listed:
            met = [*met, *(place for folder in _folders(os.path.dirname(real)) for place in around.get(folder, []))]
        if rule.access is Access.READ_WRITE:
            # What is not there yet can be made.
            opened = sorted(met, key=lambda place: (not place.secret, not exists(place.path)))
            consequence = "the notebook may change them, and programs outside of the sandbox trust or run what is there"
        else:
            opened = [place for place in met if place.secret and exists(place.path)]
            consequence = "the notebook may read them"
        if opened:
            path = rule.path if real == rule.path else f"{rule.path}, which leads to {real},"
            remedy = "list narrower folders" if listed else "keep them elsewhere"
            yield (
                f"the {rule.origin.value}'s {rule.access.value} {path} exposes {_listed(opened)}: {consequence}; "
                f"{remedy}"
            )


def _by_folder(
    places: Iterable[ProtectedPath],
) -> tuple[dict[str, list[ProtectedPath]], dict[str, list[ProtectedPath]]]:
    """Return the places by each folder that holds them, themselves included, and by themselves where more counts.

    Looked up, because there are many places and many rules, at every start.
    """
    held: dict[str, list[ProtectedPath]] = {}
    around: dict[str, list[ProtectedPath]] = {}
    for place in places:
        for folder in _folders(place.path):
            held.setdefault(folder, []).append(place)
        if place.beneath:
            around.setdefault(place.path, []).append(place)
    return held, around


def _folders(path: str) -> Iterator[str]:
    """Yield a path and every folder above it."""
    yield path
    while path != "/":
        path = os.path.dirname(path)
        yield path


def _listed(places: Iterable[ProtectedPath]) -> str:
    named: dict[str, str] = {}
    for place in places:
        named.setdefault(place.path, place.what)
    shown: dict[str, list[str]] = {}
    for path, what in list(named.items())[:_SHOWN]:
        shown.setdefault(what, []).append(path)
    text = ", ".join(f"{', '.join(paths)} ({what})" for what, paths in shown.items())
    return f"{text} and {len(named) - _SHOWN} more" if len(named) > _SHOWN else text


def _place(
    path: str, what: str, *, beneath: bool = True, secret: bool = False, environment: bool = False
) -> ProtectedPath:
    real = os.path.realpath(path)
    return ProtectedPath(path=real, what=what, beneath=beneath, secret=secret, environment=environment)


def _links(paths: Iterable[str]) -> Iterator[ProtectedPath]:
    """Yield the symbolic links on the way to Pythons: who exchanges one decides what is run under its name."""
    for path in dict.fromkeys(paths):
        # What is not there is run by nobody.
        with contextlib.suppress(OSError):
            way = walk(path)
            os.close(way.fd)
            for place in filter(os.path.islink, way.places):
                yield ProtectedPath(path=place, what="a link to a Python that runs your kernels", environment=True)


def _programs(commands: Iterable[Sequence[str]]) -> Iterator[ProtectedPath]:
    """Yield what kernelspecs run, and the virtual environments around it: other kernels run there unconfined."""
    for path in dict.fromkeys(word for command in commands for word in command if os.path.isabs(word)):
        folder, name = os.path.split(path)
        # Not where the program itself leads: that of a virtual environment is a link to another Python's.
        yield ProtectedPath(path=os.path.join(os.path.realpath(folder), name), what="a program that a kernelspec runs")
        around = os.path.dirname(folder)
        if is_environment(around):
            yield from _links([path, around])
            yield _place(around, "a Python environment that a kernelspec runs", environment=True)


def _ipython() -> str:
    return os.environ.get("IPYTHONDIR") or str(Path("~/.ipython").expanduser())


def _jupyter() -> Iterable[str]:
    return (
        *jupyter_paths.jupyter_config_path(),
        *jupyter_paths.jupyter_path(),
        jupyter_paths.jupyter_runtime_dir(),
        _ipython(),
    )


def _keys(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the files from which this server or gateway has its token, its cookies' secret and its TLS key."""
    server = Application.instance() if Application.initialized() else None
    for name in ("cookie_secret_file", "keyfile"):
        yield getattr(server, name, "")
    yield environ.get("JUPYTER_TOKEN_FILE", "")


def _settings() -> Iterator[str]:
    """Yield the files of Jupyter's settings in which a token or password stands, or something of that name."""
    for folder in jupyter_paths.jupyter_config_path():
        for pattern in _SETTINGS:
            for path in Path(folder).glob(pattern):
                with contextlib.suppress(OSError):
                    if path.is_file() and _KEYS.search(path.read_bytes()):
                        yield str(path)
