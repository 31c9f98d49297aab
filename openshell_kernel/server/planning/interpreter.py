"""Which folders a Python interpreter needs: its prefixes, its `sys.path` and its editable installs.

The interpreter is asked in a child process, isolated from the environment, because the server's own `sys.path` holds
what Jupyter and its extensions put there, and because a kernel may run in another environment than the server.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.base.paths import is_within
from openshell_kernel.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SECONDS = 30.0
# Editable installs of setuptools are not on sys.path: a finder in sys.meta_path maps packages to their sources.
_QUESTION = """
import json, os, site, sys
editable = []
for finder in sys.meta_path:
    module = sys.modules.get(getattr(finder, "__module__", None) or "")
    for names in (getattr(module, "MAPPING", None), getattr(module, "NAMESPACES", None)):
        if isinstance(names, dict):
            for value in names.values():
                editable += [value] if isinstance(value, str) else value
customize = getattr(sys.modules.get("sitecustomize"), "__file__", None)
print(json.dumps({
    "version": sys.version.split()[0],
    "prefixes": [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix],
    "import_path": [p for p in sys.path if p],
    "editable": [p for p in editable if isinstance(p, str)],
    "customize": [os.path.realpath(customize)] if customize else [],
    "user_site": site.getusersitepackages() if sys.base_prefix in site.PREFIXES else "",
}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python and the absolute paths that its imports come from.

    `customize` is where `sitecustomize` really is: Debian's lies in /etc. `user_site` is empty in a virtual environment
    that does not import the packages of the user.
    """

    executable: str
    version: str
    prefixes: tuple[str, ...]
    import_path: tuple[str, ...]
    editable: tuple[str, ...]
    customize: tuple[str, ...]
    user_site: str


_known: dict[tuple[str, str | None], tuple[object, Interpreter]] = {}


def inspect(executable: str, environ: Mapping[str, str]) -> Interpreter:
    """Ask an interpreter for its folders; asked again only when one of them has changed since.

    `environ` is the child's environment: see `scrubbed`.

    Raises:
        LaunchError: it does not run, or does not answer as Python.
    """
    # Where a user's own packages are depends on the home.
    key = (executable, environ.get("HOME"))
    remembered = _known.get(key)
    if remembered is not None and remembered[0] == _fingerprint(remembered[1]):
        return remembered[1]
    interpreter = _ask(executable, environ)
    _known[key] = (_fingerprint(interpreter), interpreter)
    return interpreter


def _ask(executable: str, environ: Mapping[str, str]) -> Interpreter:
    try:
        answer = subprocess.run(
            [executable, "-I", "-c", _QUESTION],
            cwd="/",
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=True,
        )
        data = json.loads(answer.stdout)
        return Interpreter(
            executable=executable,
            version=data["version"],
            prefixes=_absolute(data["prefixes"]),
            import_path=_absolute(data["import_path"]),
            editable=_absolute(data["editable"]),
            customize=_absolute(data["customize"]),
            user_site=data["user_site"],
        )
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        raise LaunchError(
            f"{executable}: the kernel's Python does not run: {error}. Check argv in the kernel's kernel.json."
        ) from None


def scrubbed(environ: Mapping[str, str], writable: Iterable[str]) -> dict[str, str]:
    """Return the few variables that a trusted child process needs, and nothing that could make it run other code.

    An empty or relative entry of LD_LIBRARY_PATH means the working directory: it is left out. So is one in a folder
    that a sandbox may write: a library put there would be loaded before there is a sandbox.
    """
    folders = [os.path.realpath(path) for path in writable]
    kept = {name: environ[name] for name in ("PATH", "LANG", "LC_ALL", "LC_CTYPE") if name in environ}
    # ld.so(8) takes both separators.
    libraries = [entry for entry in re.split("[:;]", environ.get("LD_LIBRARY_PATH", "")) if os.path.isabs(entry)]
    libraries = [
        entry for entry in libraries if not any(is_within(os.path.realpath(entry), folder) for folder in folders)
    ]
    return {**kept, "LD_LIBRARY_PATH": ":".join(libraries)} if libraries else kept


def _absolute(paths: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for path in paths if os.path.isabs(path)))


def _fingerprint(interpreter: Interpreter) -> object:
    """A value that changes when something is installed into one of the interpreter's folders, or it is replaced."""
    return tuple(_modified(path) for path in (interpreter.executable, *interpreter.import_path))


def _modified(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None
