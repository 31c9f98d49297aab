"""The folders of the package are trust zones, and imports between them go downhill only.

Two looks, because each misses what the other sees: an import inside a function does not run when its module is
imported, and a dependency's own imports stand in none of our files.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import openshell_kernel

PACKAGE = Path(openshell_kernel.__file__).parent
NAME = "openshell_kernel"

# What each zone may import of this package.
ZONES = {
    "": (),
    "base": ("base",),
    "errors": ("base",),
    "policy": ("base", "errors", "policy"),
    "gpu": ("base", "errors", "gpu"),
    "sandbox": ("base", "errors", "sandbox"),
    "kernel": ("base", "errors", "kernel", "policy.effective", "policy.explain"),
    "server": ("base", "errors", "server", "policy", "gpu", "sandbox.plan"),
    "hub": ("base", "errors", "hub", "policy", "server"),
    "cli": ("base", "errors", "cli", "policy", "server"),
}
# What each zone may import of other projects; the zones that stand next to Jupyter's server are free.
PROJECTS = {
    "": (),
    "base": (),
    "errors": (),
    "policy": ("pydantic", "pydantic_core", "ruamel", "typing_extensions"),
    "gpu": ("pynvml",),
    "sandbox": ("landlock",),
    "kernel": ("IPython", "ipykernel", "ruamel"),
}
JUPYTER = ("IPython", "ipykernel", "jupyter_client", "jupyter_core", "jupyter_server", "traitlets", "zmq")


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPoint:
    """A module with which a process, or a colleague zone's use of this one, begins."""

    module: str
    never: tuple[str, ...]

    def __str__(self) -> str:
        return self.module


ENTRY_POINTS = (
    EntryPoint(module="sandbox.launcher", never=(*JUPYTER, "pydantic", "ruamel", "pynvml")),
    EntryPoint(module="kernel.magics", never=("pydantic", "ruamel", "pynvml", "landlock")),
    EntryPoint(module="server.provisioner", never=("pynvml", "landlock", "pyseccomp")),
    EntryPoint(module="server.standalone", never=("pynvml", "landlock", "pyseccomp")),
    EntryPoint(module="policy.enrichment", never=(*JUPYTER, "pynvml", "landlock")),
    EntryPoint(module="server.stub.kernel", never=("IPython", "ipykernel", "pydantic", "ruamel", "pynvml", "landlock")),
    EntryPoint(module="gpu.nvml", never=(*JUPYTER, "pynvml", "landlock")),
)


@pytest.mark.parametrize("entry", ENTRY_POINTS, ids=str)
def test_an_entry_point_loads_only_what_its_zone_may_use(entry: EntryPoint):
    loaded = modules_loaded_by(f"{NAME}.{entry.module}")
    ours = [name for name in loaded if name.partition(".")[0] == NAME]
    assert [name for name in ours if not may_load(zone_of(entry.module), name)] == []
    assert sorted({name.partition(".")[0] for name in loaded} & set(entry.never)) == []


def test_the_launcher_loads_the_standard_library_the_binding_and_its_own_zone():
    """Whatever else it loaded would be code of other projects that runs before the kernel is confined."""
    loaded = modules_loaded_by(f"{NAME}.sandbox.launcher", "landlock")
    foreign = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    assert sorted(foreign) == ["landlock", NAME]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_line_of_a_zone_imports_uphill(path: Path):
    """Also inside functions, and for the sake of types only."""
    zone = zone_of(module_name(path).partition(".")[2])
    ours = [name for name in imports(path) if name.partition(".")[0] == NAME]
    others = {name.partition(".")[0] for name in imports(path)} - {NAME} - sys.stdlib_module_names
    assert [name for name in ours if not may_import(zone, name)] == []
    assert zone not in PROJECTS or sorted(others - set(PROJECTS[zone])) == []


@pytest.mark.parametrize(
    ("project", "importer"),
    [
        ("landlock", "sandbox/landlock.py"),
        ("pynvml", "gpu/nvml.py"),
        ("pyseccomp", "server/planning/seccomp_filter.py"),
    ],
)
def test_a_project_that_reaches_the_operating_system_has_one_importer(project: str, importer: str):
    importers = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if project in {name.partition(".")[0] for name in imports(path)}
    ]
    assert importers == [importer]


def modules_loaded_by(*modules: str) -> list[str]:
    """Import modules in a fresh interpreter; return what that loaded beyond what every interpreter loads."""
    code = (
        "import sys, json, importlib; before = set(sys.modules)\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    child = subprocess.run(
        [sys.executable, "-I", "-c", code, *modules], capture_output=True, text=True, timeout=60, check=False
    )
    assert child.returncode == 0, child.stderr
    return list(json.loads(child.stdout))


def zone_of(module: str) -> str:
    """Return the zone of a module that is named without the package's name."""
    # Hubs' configuration files may still name the hub's former place.
    zone = "hub" if module == "server.hub" else module.partition(".")[0]
    assert zone in ZONES, f"{module} belongs to no zone; add its directions here and to the design"
    return zone


def may_import(zone: str, name: str) -> bool:
    """Say whether a zone may name a module of this package; all may name the package itself, which is empty."""
    inner = name.partition(".")[2]
    return not inner or any(inner == allowed or inner.startswith(allowed + ".") for allowed in ZONES[zone])


def may_load(zone: str, name: str) -> bool:
    """Say whether a module may be loaded: what may be imported, and the packages that hold it."""
    inner = name.partition(".")[2]
    return may_import(zone, name) or any(allowed.startswith(inner + ".") for allowed in ZONES[zone])


def imports(path: Path) -> list[str]:
    """Return the full name of every module that a file imports anywhere, however it does."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = base_of(node, path)
            found += [f"{base}.{alias.name}" if is_module(f"{base}.{alias.name}") else base for alias in node.names]
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "__import__"}:
            name = node.args[0]
            assert isinstance(name, ast.Constant), (
                f"{path}:{node.lineno}: an import by a computed name cannot be checked"
            )
            found.append(name.value)
    return found


def called(call: ast.Call) -> str:
    """Return the last part of a called function's name."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def base_of(node: ast.ImportFrom, path: Path) -> str:
    """Return the absolute name of what stands behind `from`."""
    if not node.level:
        return node.module or ""
    package = (module_name(path) + (".x" if path.name == "__init__.py" else "")).split(".")
    return ".".join([*package[: -node.level], *filter(None, [node.module])])


def module_name(path: Path) -> str:
    """Return a file's full module name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join([NAME, *parts[: -1 if parts[-1] == "__init__" else None]])


def is_module(name: str) -> bool:
    """Say whether a name is a module or package of ours."""
    parts = name.split(".")
    path = PACKAGE.joinpath(*parts[1:])
    return parts[0] == NAME and (path.with_suffix(".py").is_file() or (path / "__init__.py").is_file())
