"""The runtime baseline of one kernel: what Python needs wherever it is installed, and the working directory."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from openshell_kernel.base.links import planted_link
from openshell_kernel.base.paths import is_within
from openshell_kernel.policy import baseline
from openshell_kernel.policy.effective import Access, Home
from openshell_kernel.policy.enrichment import Runtime
from openshell_kernel.server.planning import protected_paths
from openshell_kernel.server.planning.environment import CERTIFICATES
from openshell_kernel.server.planning.python_environments import Kept, beside

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from openshell_kernel.policy.baseline import Need
    from openshell_kernel.policy.enrichment import Beside
    from openshell_kernel.server.dirs.home import HomeFolder
    from openshell_kernel.server.dirs.private_dir import PrivateDir
    from openshell_kernel.server.planning.environment import Composed
    from openshell_kernel.server.planning.interpreter import Interpreter

_OWN_FOLDER = "keep the notebook in a folder of its own"
_WORKDIR_REMEDY = f"{_OWN_FOLDER}, or list this one in filesystem_policy.read_write"
_LINKED = "a notebook may have made the link"
SOCKET_RIGHTS = ("read_dir", "make_sock", "remove_file")


def runtime(
    interpreter: Interpreter | None,
    *,
    executable: str,
    script: str = "",
    environment: Composed,
    workdir: str,
    linked: str,
    root: str | None,
    protected: Iterable[protected_paths.ProtectedPath],
    connection_file: str,
    private: PrivateDir,
    own_home: HomeFolder,
    user_site: str,
    home: str,
    identity_applied: bool = False,
    records: Iterable[str] = (),
    kept: Kept | None = None,
    notices: tuple[str, ...] = (),
) -> Runtime:
    """Collect what the kernel needs.

    `interpreter` is None when the kernel is not a Python; then only its executable is granted. `script` is what it
    runs, where that is ours. `own_home` is the kernel's private home, `home` the user's; `user_site` is empty where
    Python does not import the user's packages.
    `linked` says which symbolic link leads to the working directory, if one does; `root` is the server's root folder.
    `records` are the folders that tell who holds which GPU; others own them and can put links in their places. `kept`
    is what stays as it is in the folders that the kernel may write.
    """
    values = environment.values
    prefixes = () if interpreter is None else _outermost(interpreter.prefixes, home)
    judge = functools.partial(_judged, protected=protected, home=home)
    code, refused_code = judge(_imports(interpreter, user_site))
    tops = (root or workdir, home)
    libraries, refused_libraries = judge(_libraries(interpreter, values), tops=tops)
    certificates, refused_certificates = judge(_certificates(values), tops=tops)
    records = tuple(records)
    protected, kept = tuple(protected), kept or Kept()
    refusal = linked or protected_paths.why_not_write(workdir, protected, home=home, kept=kept.paths)
    parts = None if linked or not refusal else _beside(workdir, protected, home=home)
    # Nobody is told to list what is not safe to grant.
    remedy = _WORKDIR_REMEDY if linked else _OWN_FOLDER
    return Runtime(
        needs=(
            *_own(connection_file, private, own_home.path),
            # In an environment that is kept, its link to another Python can be followed: nobody exchanges it.
            baseline.reading(
                os.path.realpath(executable) if kept.holds(executable) else executable,
                "the kernel's program",
                required=True,
            ),
            *(_script(path) for path in (script,) if path and not any(is_within(path, top) for top in prefixes)),
            *(baseline.reading(path, "the Python that runs the kernel") for path in prefixes),
            *(baseline.reading(path, reason) for path, reason in (*code.items(), *libraries.items())),
            *(baseline.data(path, reason) for path, reason in certificates.items()),
            *(baseline.data(folder, "who holds which GPU: %policy gpus shows it") for folder in records),
            *baseline.SYSTEM,
        ),
        workdir=workdir,
        workdir_parts=parts,
        kept=tuple(path for path in kept.paths if is_within(path, workdir)),
        workdir_refusal=f"{refusal}; {remedy}" if refusal and not parts else "",
        identity_applied=identity_applied,
        environment=environment.record,
        home=Home(kind=own_home.kind, path=own_home.path),
        straight=frozenset((*code, *libraries, *certificates, *records)),
        refused=(*refused_code, *refused_libraries, *refused_certificates),
        notices=(
            *own_home.notices,
            *notices,
            *([_no_new_files(workdir, parts, kept.problem)] if parts else []),
        ),
    )


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
            return _LINKED if protected_paths.why_not_link(path, real, root=top, home=top) else ""
    # What installers have written into Python's own settings often leads through links of its user's making.
    return _LINKED if tops and real != path and planted_link(path) else ""


def _script(path: str) -> Need:
    reason = "the program that starts IPython's kernel"
    return baseline.Need(path=path, access=Access.READ_ONLY, rights=("read_file",), reason=reason, required=True)


def _connection(connection_file: str, private: PrivateDir) -> Need:
    reason = "this kernel's own connection file"
    if is_within(connection_file, str(private.path)):
        rights = ("read_file", "write_file", "truncate")
        return baseline.writing(connection_file, f"{reason}, a copy", rights, required=True)
    return baseline.Need(
        path=connection_file, access=Access.READ_ONLY, rights=("read_file",), reason=reason, required=True
    )


def _own(connection_file: str, private: PrivateDir, own_home: str) -> tuple[Need, ...]:
    return (
        _connection(connection_file, private),
        baseline.writing(str(private.sockets), "this kernel's own sockets to Jupyter", SOCKET_RIGHTS, required=True),
        baseline.writing(str(private.temporary), "a private temporary folder, TMPDIR", required=True),
        baseline.writing(str(private.runtime), "a private folder for sockets, XDG_RUNTIME_DIR", required=True),
        baseline.writing(own_home, "a private home: settings, caches, histories, pip install --user", required=True),
    )


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
