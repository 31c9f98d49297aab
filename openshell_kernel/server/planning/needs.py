"""The runtime baseline of one kernel: what Python needs wherever it is installed, and the working directory."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.base.links import planted_link
from openshell_kernel.base.paths import is_within
from openshell_kernel.policy import baseline
from openshell_kernel.policy.effective import Access, Home
from openshell_kernel.policy.runtime import Runtime
from openshell_kernel.server.planning import protected_paths
from openshell_kernel.server.planning.command import START
from openshell_kernel.server.planning.environment import CERTIFICATES
from openshell_kernel.server.planning.python_environments import beside
from openshell_kernel.server.process import arguments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from openshell_kernel.policy.baseline import Need
    from openshell_kernel.policy.runtime import Beside
    from openshell_kernel.server.dirs.private_dir import PrivateDir
    from openshell_kernel.server.planning.folders import Folders
    from openshell_kernel.server.planning.gathering import Gathered
    from openshell_kernel.server.planning.interpreter import Interpreter
    from openshell_kernel.server.planning.loading import LoadedPolicy
    from openshell_kernel.server.planning.program import Program
    from openshell_kernel.server.planning.protection import Protection
    from openshell_kernel.server.planning.python_environments import Kept
    from openshell_kernel.server.planning.request import KernelRequest

_OWN_FOLDER = "keep the notebook in a folder of its own"
_WORKDIR_REMEDY = f"{_OWN_FOLDER}, or list this one in filesystem_policy.read_write"
_LINKED = "a notebook may have made the link"
SOCKET_RIGHTS = ("read_dir", "make_sock", "remove_file")


def runtime(
    request: KernelRequest, gathered: Gathered, folders: Folders, program: Program, protection: Protection
) -> Runtime:
    """Collect what the kernel needs. Where its program is no Python, only that is granted."""
    loaded, home, selection = request.loaded, gathered.home, gathered.selection
    python, user_site = gathered.python, folders.user_site or ""
    prefixes = () if python is None else _outermost(python.prefixes, home)
    judge = functools.partial(_judged, protected=protection.paths, home=home)
    tops = (loaded.root or loaded.workdir, home)
    code, refused_code = judge(_imports(python, user_site))
    libraries, refused_libraries = judge(_libraries(python, program.environment.values), tops=tops)
    certificates, refused_certificates = judge(_certificates(program.environment.values), tops=tops)
    workdir = _workdir(loaded, protection, home=home)
    return Runtime(
        needs=(
            *_own(folders),
            *_program(gathered, program, protection.kept, prefixes),
            *(baseline.reading(path, "the Python that runs the kernel") for path in prefixes),
            *(baseline.reading(path, reason) for path, reason in (*code.items(), *libraries.items())),
            *(baseline.data(path, reason) for path, reason in certificates.items()),
            # Others own these folders and can put links in their places.
            *(baseline.data(folder, "who holds which GPU: %policy gpus shows it") for folder in selection.records),
            *baseline.SYSTEM,
        ),
        workdir=loaded.workdir,
        workdir_parts=workdir.parts,
        kept=tuple(path for path in protection.kept.paths if is_within(path, loaded.workdir)),
        workdir_refusal=workdir.refusal,
        identity_applied=gathered.identity is not None,
        environment=program.environment.record,
        home=Home(kind=folders.home.kind, path=folders.home.path),
        exact=frozenset((*code, *libraries, *certificates, *selection.records)),
        refused=(*refused_code, *refused_libraries, *refused_certificates),
        notices=(*folders.notices, *loaded.notices, *arguments.exposures(), *workdir.notices),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Workdir:
    """What is given of the working directory: all of it, unless `refusal` says why not, or the parts that are safe."""

    refusal: str = ""
    parts: Beside | None = None
    notices: tuple[str, ...] = ()


def _workdir(loaded: LoadedPolicy, protection: Protection, *, home: str) -> _Workdir:
    folder, kept = loaded.workdir, protection.kept
    if loaded.workdir_link:
        return _Workdir(refusal=f"{loaded.workdir_link}; {_WORKDIR_REMEDY}")
    refusal = protected_paths.why_not_write(folder, protection.paths, home=home, kept=kept.paths)
    parts = _beside(folder, protection.paths, home=home) if refusal else None
    if parts is not None:
        return _Workdir(parts=parts, notices=(_no_new_files(folder, parts, kept.problem),))
    # Nobody is told to list what is not safe to grant.
    return _Workdir(refusal=f"{refusal}; {_OWN_FOLDER}" if refusal else "")


def _beside(workdir: str, protected: tuple[protected_paths.ProtectedPath, ...], *, home: str) -> Beside | None:
    parts = beside(workdir, protected)
    if parts is None or protected_paths.why_not_write(workdir, protected, home=home, kept=parts.kept):
        return None
    return parts


def _no_new_files(workdir: str, parts: Beside, problem: str) -> str:
    links = [path for path in parts.kept if os.path.islink(path)]
    why = f"{links[0]} is a symbolic link, which no mount can keep in its place" if links else problem
    return (
        f"in {workdir} itself no files can be made, renamed or removed, and {', '.join(parts.kept)} is read-only, "
        f"because it runs your kernels and {why}; what else was there when the kernel started can be changed, and "
        "files made in the folders there: keep the environment elsewhere, or the notebooks in a folder of their own"
    )


def _judged(
    named: Iterable[tuple[str, str]],
    *,
    protected: Iterable[protected_paths.ProtectedPath],
    home: str,
    tops: tuple[str, ...] = (),
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return what may be read of paths that are named somewhere, with the reasons, and of what may not with notices.

    A path that was meant for code may be a symbolic link by now, which another notebook has put there. So it is where
    the name leads that is judged, and that is what is granted. Beneath `tops`, where notebooks are, what stands in a
    variable must be named without any link, and elsewhere without one that a sandbox may have made.
    """
    granted: dict[str, str] = {}
    notices = []
    for path, reason in named:
        real = os.path.realpath(path)
        unsafe = protected_paths.why_not_read(real, home=home) or protected_paths.why_not_secret(real, protected)
        refusal = unsafe or _why_not_detour(path, real, tops)
        if refusal:
            where = real if real == path else f"{real}, to which {path} leads,"
            # Nobody is told to grant secrets.
            remedy = "name a folder without secrets" if unsafe else "if it is meant, list it in read_only"
            notices.append((real, f"{where} is not granted ({reason}): {refusal}; {remedy}"))
        else:
            granted.setdefault(real, reason)
    return granted, notices


def _why_not_detour(path: str, real: str, tops: tuple[str, ...]) -> str:
    for top in tops:
        if is_within(os.path.abspath(path), os.path.abspath(top)):
            return _LINKED if protected_paths.why_not_exact(path, real, root=top, home=top) else ""
    # What installers have written into Python's own settings often leads through links of its user's making.
    return _LINKED if tops and real != path and planted_link(path) else ""


def _program(gathered: Gathered, program: Program, kept: Kept, prefixes: Iterable[str]) -> Iterator[Need]:
    path = gathered.executable
    # In an environment that is kept, its link to another Python can be followed: nobody exchanges it.
    yield baseline.reading(os.path.realpath(path) if kept.holds(path) else path, "the kernel's program", required=True)
    if START in program.argv and not any(is_within(START, top) for top in prefixes):
        yield _file(START, "the program that starts IPython's kernel")


def _own(folders: Folders) -> Iterator[Need]:
    private = folders.private
    if folders.connection_file is not None:
        yield _connection(folders.connection_file, private)
        yield baseline.writing(
            str(private.sockets), "this kernel's own sockets to Jupyter", SOCKET_RIGHTS, required=True
        )
    yield baseline.writing(str(private.temporary), "a private temporary folder, TMPDIR", required=True)
    yield baseline.writing(str(private.runtime), "a private folder for sockets, XDG_RUNTIME_DIR", required=True)
    yield baseline.writing(
        folders.home.path, "a private home: settings, caches, histories, pip install --user", required=True
    )


def _connection(connection_file: str, private: PrivateDir) -> Need:
    reason = "this kernel's own connection file"
    if not is_within(connection_file, str(private.path)):
        return _file(connection_file, reason)
    rights = ("read_file", "write_file", "truncate")
    return baseline.writing(connection_file, f"{reason}, a copy", rights, required=True)


def _file(path: str, reason: str) -> Need:
    return baseline.Need(path=path, access=Access.READ_ONLY, rights=("read_file",), reason=reason, required=True)


def _outermost(prefixes: Iterable[str], home: str) -> list[str]:
    """Return the folders of a Python that hold the others."""
    found: list[str] = []
    for path in prefixes:
        if not protected_paths.why_not_read(path, home=home) and not any(is_within(path, folder) for folder in found):
            found.append(path)
    return found


def _imports(interpreter: Interpreter | None, user_site: str) -> list[tuple[str, str]]:
    """Return where a Python's own settings let it import from, outside its own folders, and who says so."""
    if interpreter is None:
        return []
    return _outside(
        interpreter,
        *((path, "Python imports from here") for path in interpreter.import_path),
        *((path, "a package is installed here in editable mode") for path in interpreter.editable),
        *((path, "sitecustomize: every Python that starts imports it") for path in interpreter.customize),
        *((path, "packages of the user") for path in (user_site,) if path),
    )


def _libraries(interpreter: Interpreter | None, environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return where variables let code be loaded from, and which ones."""
    named = [(path, "LD_LIBRARY_PATH names it") for path in _entries(environment, "LD_LIBRARY_PATH")]
    if interpreter is None:
        return named
    imports = ((path, "PYTHONPATH names it") for path in _entries(environment, "PYTHONPATH"))
    return [*named, *_outside(interpreter, *imports)]


def _certificates(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    return [
        (path, f"certificate authorities: {name} names it")
        for name in CERTIFICATES
        for path in _entries(environment, name)
    ]


def _outside(interpreter: Interpreter, *imports: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the paths that no other of them, and no folder of the interpreter's, holds."""
    covered = list(interpreter.prefixes)
    found = []
    for path, reason in imports:
        if not any(is_within(path, folder) for folder in covered):
            covered.append(path)
            found.append((path, reason))
    return found


def _entries(environment: Mapping[str, str], name: str) -> list[str]:
    return [path for path in environment.get(name, "").split(os.pathsep) if os.path.isabs(path)]
