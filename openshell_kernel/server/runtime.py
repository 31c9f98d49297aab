"""The runtime baseline of one kernel: what Python needs wherever it is installed, and the working directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from openshell_kernel.policy import baseline
from openshell_kernel.policy.effective import Access
from openshell_kernel.policy.enrichment import Runtime
from openshell_kernel.server import places

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from openshell_kernel.policy.baseline import Need
    from openshell_kernel.server.interpreter import Interpreter
    from openshell_kernel.server.private import PrivateFolder

_WORKDIR_REMEDY = "keep the notebook in a folder of its own, or list this one in filesystem_policy.read_write"
_SOCKET_RIGHTS = ("read_dir", "make_sock", "remove_file")


def runtime(
    interpreter: Interpreter | None,
    *,
    executable: str,
    environment: Mapping[str, str],
    workdir: str,
    protected: Iterable[places.Place],
    connection_file: str,
    private: PrivateFolder,
    home: str,
) -> Runtime:
    """Collect what the kernel needs.

    `interpreter` is None when the kernel is not a Python; then only its executable is granted.
    """
    imports = () if interpreter is None else _imports(interpreter, environment)
    libraries = [(path, "LD_LIBRARY_PATH names it") for path in _entries(environment, "LD_LIBRARY_PATH")]
    granted = [
        baseline.reading(path, reason)
        for path, reason in (*imports, *libraries)
        if not places.refuse_reading(path, home=home)
    ]
    refusal = places.refuse_writing(workdir, protected, home=home)
    return Runtime(
        needs=(
            *_own(connection_file, private),
            baseline.reading(executable, "the kernel's program", required=True),
            *granted,
            *baseline.SYSTEM,
        ),
        workdir=workdir,
        workdir_refusal=f"{refusal}; {_WORKDIR_REMEDY}" if refusal else "",
    )


def _own(connection_file: str, private: PrivateFolder) -> tuple[Need, ...]:
    return (
        baseline.Need(
            path=connection_file,
            access=Access.READ_ONLY,
            rights=("read_file",),
            reason="this kernel's own connection file",
            required=True,
        ),
        baseline.writing(str(private.sockets), "this kernel's own sockets to Jupyter", _SOCKET_RIGHTS, required=True),
        baseline.writing(str(private.temporary), "a private temporary folder, TMPDIR", required=True),
        baseline.writing(
            str(private.state), "a private folder for caches and the files of IPython and matplotlib", required=True
        ),
    )


def _imports(interpreter: Interpreter, environment: Mapping[str, str]) -> list[tuple[str, str]]:
    named = [
        *((path, "the Python that runs the kernel") for path in interpreter.prefixes),
        *((path, "Python imports from here") for path in interpreter.import_path),
        *((path, "a package is installed here in editable mode") for path in interpreter.editable),
        *((path, "PYTHONPATH names it") for path in _entries(environment, "PYTHONPATH")),
    ]
    if "PYTHONNOUSERSITE" not in environment:
        named.append((interpreter.user_site, "packages of the user"))
    covered: list[tuple[str, str]] = []
    for path, reason in named:
        if not any(places.holds(folder, path) for folder, _ in covered):
            covered.append((path, reason))
    return covered


def _entries(environment: Mapping[str, str], name: str) -> list[str]:
    return [path for path in environment.get(name, "").split(os.pathsep) if os.path.isabs(path)]
