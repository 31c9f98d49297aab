"""The runtime baseline of one kernel: what Python needs wherever it is installed, and the working directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from openshell_kernel.policy import baseline
from openshell_kernel.policy.effective import Access, Home
from openshell_kernel.policy.enrichment import Runtime
from openshell_kernel.server import places
from openshell_kernel.server.environment import CERTIFICATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from openshell_kernel.policy.baseline import Need
    from openshell_kernel.server.environment import Composed
    from openshell_kernel.server.home import HomeFolder
    from openshell_kernel.server.interpreter import Interpreter
    from openshell_kernel.server.private import PrivateFolder

_WORKDIR_REMEDY = "keep the notebook in a folder of its own, or list this one in filesystem_policy.read_write"
SOCKET_RIGHTS = ("read_dir", "make_sock", "remove_file")


def runtime(
    interpreter: Interpreter | None,
    *,
    executable: str,
    environment: Composed,
    workdir: str,
    linked: str,
    protected: Iterable[places.Place],
    connection_file: str,
    private: PrivateFolder,
    own_home: HomeFolder,
    user_site: str,
    home: str,
    identity_applied: bool = False,
    records: Iterable[str] = (),
    notices: tuple[str, ...] = (),
) -> Runtime:
    """Collect what the kernel needs.

    `interpreter` is None when the kernel is not a Python; then only its executable is granted. `own_home` is the
    kernel's private home, `home` the user's; `user_site` is empty where Python does not import the user's packages.
    `records` are the folders that tell who holds which GPU.
    """
    values = environment.values
    prefixes = () if interpreter is None else _outermost(interpreter.prefixes, home)
    code, refused_code = _judged(_imports(interpreter, values, user_site), protected, home)
    certificates, refused_certificates = _judged(
        (
            (path, f"certificate authorities: {name} names it")
            for name in CERTIFICATES
            for path in _entries(values, name)
        ),
        protected,
        home,
    )
    refusal = linked or places.refuse_writing(workdir, protected, home=home)
    return Runtime(
        needs=(
            *_own(connection_file, private, own_home.path),
            baseline.reading(executable, "the kernel's program", required=True),
            *(baseline.reading(path, "the Python that runs the kernel") for path in prefixes),
            *(baseline.reading(path, reason) for path, reason in code.items()),
            *(baseline.data(path, reason) for path, reason in certificates.items()),
            *(baseline.data(folder, "who holds which GPU: %policy gpus shows it") for folder in records),
            *baseline.SYSTEM,
        ),
        workdir=workdir,
        workdir_refusal=f"{refusal}; {_WORKDIR_REMEDY}" if refusal else "",
        identity_applied=identity_applied,
        environment=environment.record,
        home=Home(kind=own_home.kind, path=own_home.path),
        straight=frozenset((*code, *certificates)),
        notices=(*own_home.notices, *notices, *refused_code, *refused_certificates),
    )


def _judged(
    named: Iterable[tuple[str, str]], protected: Iterable[places.Place], home: str
) -> tuple[dict[str, str], list[str]]:
    """Return what may be read of paths that are named somewhere, with the reasons, and notices of what may not.

    A path that was meant for code may be a symbolic link by now, which another notebook has put there, to secrets. So
    it is where the name leads that is judged, and that is what is granted.
    """
    granted: dict[str, str] = {}
    notices = []
    for path, reason in named:
        real = os.path.realpath(path)
        refusal = places.refuse_reading(real, home=home) or places.refuse_secret(real, protected)
        if refusal:
            where = real if real == path else f"{real}, to which {path} leads,"
            notices.append(f"{where} is not granted ({reason}): {refusal}; if it is meant, list it in read_only")
        else:
            granted.setdefault(real, reason)
    return granted, notices


def _connection(connection_file: str, private: PrivateFolder) -> Need:
    reason = "this kernel's own connection file"
    if places.holds(str(private.path), connection_file):
        rights = ("read_file", "write_file", "truncate")
        return baseline.writing(connection_file, f"{reason}, a copy", rights, required=True)
    return baseline.Need(
        path=connection_file, access=Access.READ_ONLY, rights=("read_file",), reason=reason, required=True
    )


def _own(connection_file: str, private: PrivateFolder, own_home: str) -> tuple[Need, ...]:
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
        if not places.refuse_reading(path, home=home) and not any(places.holds(folder, path) for folder in found):
            found.append(path)
    return found


def _imports(interpreter: Interpreter | None, environment: Mapping[str, str], user_site: str) -> list[tuple[str, str]]:
    """Return where code is loaded from outside the Python's own folders, and who says so."""
    named = [(path, "LD_LIBRARY_PATH names it") for path in _entries(environment, "LD_LIBRARY_PATH")]
    if interpreter is None:
        return named
    imports = [
        *((path, "Python imports from here") for path in interpreter.import_path),
        *((path, "a package is installed here in editable mode") for path in interpreter.editable),
        *((path, "PYTHONPATH names it") for path in _entries(environment, "PYTHONPATH")),
        *((path, "packages of the user") for path in (user_site,) if path),
    ]
    covered = list(interpreter.prefixes)
    for path, reason in imports:
        if not any(places.holds(folder, path) for folder in covered):
            covered.append(path)
            named.append((path, reason))
    return named


def _entries(environment: Mapping[str, str], name: str) -> list[str]:
    return [path for path in environment.get(name, "").split(os.pathsep) if os.path.isabs(path)]
