"""The program that becomes IPython's kernel. Until the first cell runs it imports only what is installed.

Run inside the sandbox, in the place of `python -m ipykernel_launcher`, as

    python -s .../openshell_kernel/kernel/start.py [--packages=[FOLDER]] -f CONNECTION_FILE ...

`-m` would let a file in the notebook's folder run, and IPython would run what an earlier notebook left in its home: a
new kernel would then answer `%policy` as whoever wrote that file likes. A script that is named by its path lets nothing
in from the folder, and `-s` nothing from the home.

It is run by the Python of the kernel's own environment, of any release and without this package in it: so it imports
nothing of ours.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and sys.path[:1] == [os.path.dirname(os.path.realpath(__file__))]:
    # Python has imported no more than it always does, and puts a script's folder before everything else.
    del sys.path[0]

import contextlib
import site
import tempfile
import threading
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

NAME = "openshell_kernel.kernel.start"
PACKAGES = "--packages="
"""Begins the option that lets cells import the packages of the user; their folder outside of the home follows."""

# Without the packages of the home; any value has this effect, and this one is told from an operator's.
_ALONE, _OURS = "PYTHONNOUSERSITE", "until the first cell"

_here = threading.local()


class Installed(PathFinder):
    """Finds modules in the folders `tops` and beneath, and once `everywhere` is set wherever Python's path leads."""

    tops: tuple[str, ...] = ()
    workdir = ""
    everywhere = False

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module; called by Python's import."""
        if cls.everywhere and not getattr(_here, "installed_only", False):
            return super().find_spec(fullname, path, target)
        spec = super().find_spec(fullname, cls._installed() if path is None else path, target)
        if spec is not None and spec.loader is None and spec.submodule_search_locations is not None:
            # A package without a file of its own, such as ruamel: Python would look for its parts everywhere again.
            spec.submodule_search_locations = list(spec.submodule_search_locations)
        return spec

    @classmethod
    def _installed(cls) -> list[str]:
        # Not just `tops`: packages that bring others along, as debugpy does, add the folders of these. Completion adds
        # the notebook's folder, which may lie in one of them.
        beneath = tuple(f"{top}/" for top in cls.tops)
        return [path for path in sys.path if path in cls.tops or (path.startswith(beneath) and path != cls.workdir)]


@contextlib.contextmanager
def installed_only() -> Iterator[None]:
    """Import, in this thread, only what is installed: whatever lies beside the notebook answers for nobody."""
    before = getattr(_here, "installed_only", False)
    _here.installed_only = True
    try:
        yield
    finally:
        _here.installed_only = before


def main(arguments: Sequence[str]) -> None:
    """Become the kernel."""
    # For what the kernel itself starts, such as the debugger's adapter: that is Python without our `-s`.
    os.environ.setdefault(_ALONE, _OURS)
    # For `%policy`, which must not get a second one.
    sys.modules[NAME] = sys.modules[__name__]
    packages = [word[len(PACKAGES) :] for word in arguments if word.startswith(PACKAGES)]
    for folder in filter(None, packages):
        _insert(_added_by_site(folder))
    Installed.tops, Installed.workdir = tuple(path for path in sys.path if os.path.isabs(path)), os.getcwd()
    sys.meta_path[:] = [Installed if finder is PathFinder else finder for finder in sys.meta_path]
    if packages:
        _insert(_packages_of_the_home())

    from ipykernel import kernelapp  # noqa: PLC0415 - not before it is known from where

    options = [word for word in arguments if not word.startswith(PACKAGES)]
    # As without this program: programs look there whether they run in a notebook.
    launcher = os.path.join(os.path.dirname(os.path.dirname(kernelapp.__file__)), "ipykernel_launcher.py")
    sys.argv = [launcher, *options]
    app = kernelapp.IPKernelApp.instance()
    app.initialize([*options, *_profile()])
    if app.shell is not None:
        _open_at_first_cell(app.shell)
    app.start()


def _open_at_first_cell(shell: Any) -> None:  # noqa: ANN401 - IPython has no types that mypy may follow
    def open_up() -> None:
        # The debugger is started by a request of the kernel's own.
        if shell.get_parent().get("header", {}).get("session") == shell.kernel.session.session:
            return
        Installed.everywhere = True
        if os.environ.get(_ALONE) == _OURS:
            del os.environ[_ALONE]
        shell.events.unregister("pre_execute", open_up)

    shell.events.register("pre_execute", open_up)


def _added_by_site(folder: str) -> list[str]:
    """Return what Python's `site` adds to the path for a folder of packages, its `.pth` files included."""
    before = list(sys.path)
    site.addsitedir(folder)
    added = [path for path in sys.path if path not in before]
    sys.path[:] = before
    return added


def _packages_of_the_home() -> list[str]:
    """Return where `pip install --user` puts packages, and what the `.pth` files there name.

    The code in such files is not run: an earlier notebook could have written it.
    """
    folder = site.getusersitepackages()
    found = [folder]
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(folder)):
            if name.endswith(".pth"):
                found += _named_in(os.path.join(folder, name))
    return [path for path in found if os.path.isdir(path)]


def _named_in(file: str) -> list[str]:
    with contextlib.suppress(OSError, ValueError), open(file, encoding="utf-8") as stream:
        lines = (line.strip() for line in stream)
        paths = [line for line in lines if line and not line.startswith(("#", "import ", "import\t"))]
        return [os.path.join(os.path.dirname(file), path) for path in paths]
    return []


def _insert(folders: Sequence[str]) -> None:
    """Put folders into Python's path where it has the packages of the user: before the system's."""
    systems = site.getsitepackages([sys.base_prefix, sys.base_exec_prefix])
    place = next((number for number, path in enumerate(sys.path) if path in systems), len(sys.path))
    sys.path[place:place] = [path for path in folders if path not in sys.path]


def _profile() -> list[str]:
    """Return the options that give IPython a new profile: it runs the settings and the startup files of one.

    The history and what `%store` keeps stay in the home: they are data until somebody asks for them.
    """
    new = tempfile.mkdtemp(prefix="ipython-", dir=os.environ.get("XDG_RUNTIME_DIR"))
    kept = os.path.join(os.environ.get("IPYTHONDIR") or os.path.expanduser("~/.ipython"), "profile_default")
    try:
        os.makedirs(os.path.join(kept, "db", "autorestore"), exist_ok=True)
        os.mkdir(os.path.join(new, "db"))
        os.symlink(os.path.join(kept, "db", "autorestore"), os.path.join(new, "db", "autorestore"))
    except OSError:
        return [f"--ProfileDir.location={new}"]
    return [f"--ProfileDir.location={new}", f"--HistoryManager.hist_file={kept}/history.sqlite"]


if __name__ == "__main__":
    main(sys.argv[1:])
