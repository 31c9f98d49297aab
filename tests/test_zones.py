"""The folders of the package are trust zones, and imports between them go downhill only.

Two looks, because each misses what the other sees: an import inside a function does not run when its module is
imported, and a dependency's own imports stand in none of our files.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.imports import Package

import openshell_kernel

PACKAGE = Package(Path(openshell_kernel.__file__).parent)
NAME = PACKAGE.name

# What was achieved, and what live probes found of it.
REPORTS = ("sandbox.report", "sandbox.findings", "sandbox.probes")
# Of the zone that enforces, the server may know all but the programs that run there.
SHARED = (*REPORTS, "sandbox.layers", "sandbox.ruleset", "sandbox.keeper")
# What each zone may import of this package.
ZONES = {
    "": ("api", "errors", "policy", "sandbox.report"),
    "base": ("base",),
    "errors": ("base",),
    "policy": ("base", "errors", "policy"),
    "gpu": ("base", "errors", "gpu"),
    "sandbox": ("base", "errors", "sandbox"),
    "kernel": ("base", "errors", "kernel", "policy.effective", "policy.explain", *REPORTS),
    "server": ("base", "errors", "server", "policy", "gpu", "sandbox.plan", *SHARED),
    "hub": ("base", "errors", "hub", "policy", "server"),
    "api": (
        "base",
        "errors",
        "api",
        "policy",
        "gpu",
        "sandbox.enforcing",
        "sandbox.layers",
        "sandbox.plan",
        "sandbox.report",
        "server",
    ),
    "cli": (
        "",
        "base",
        "errors",
        "cli",
        "api",
        "policy",
        "server",
        *REPORTS,
        "kernel.snapshot",
        "kernel.views",
    ),
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


@pytest.mark.parametrize("path", PACKAGE.files(), ids=lambda path: str(path.relative_to(PACKAGE.folder)))
def test_no_line_of_a_zone_imports_uphill(path: Path):
    """Also inside functions, and for the sake of types only."""
    zone = zone_of(PACKAGE.module(path).partition(".")[2])
    ours = [name for name in PACKAGE.imports(path) if name.partition(".")[0] == NAME]
    others = {name.partition(".")[0] for name in PACKAGE.imports(path)} - {NAME} - sys.stdlib_module_names
    assert [name for name in ours if not may_import(zone, name)] == []
    assert zone not in PROJECTS or sorted(others - set(PROJECTS[zone])) == []


def test_no_modules_import_one_another_in_a_circle():
    assert PACKAGE.circle() == []


@pytest.mark.parametrize(
    ("case", "files"),
    [
        ("at the top", {"a.py": "from house import b", "b.py": "import house.a"}),
        ("inside a function", {"a.py": "from . import b", "b.py": "def f():\n    from house.a import x"}),
        ("for types only", {"a.py": "from house import b", "b.py": "if TYPE_CHECKING:\n    from .a import X"}),
        ("over three rooms", {"a.py": "import house.r.b", "r/b.py": "from .. import c", "c.py": "import house.a"}),
        ("through a folder's own module", {"r/__init__.py": "from . import a", "r/a.py": "from house.r import x"}),
    ],
)
def test_a_circle_is_seen(case, files, tmp_path):
    for name, text in {"__init__.py": "", **files}.items():
        path = tmp_path / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    circle = Package(tmp_path / "house").circle()
    assert circle
    assert circle[0] == circle[-1], case


@pytest.mark.parametrize(
    ("project", "importer"),
    [
        ("landlock", "sandbox/ruleset.py"),
        ("pynvml", "gpu/nvml.py"),
        ("pyseccomp", "server/planning/seccomp_filter.py"),
    ],
)
def test_a_project_that_reaches_the_operating_system_has_one_importer(project: str, importer: str):
    importers = [
        str(path.relative_to(PACKAGE.folder))
        for path in PACKAGE.files()
        if project in {name.partition(".")[0] for name in PACKAGE.imports(path)}
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
    """Say whether a zone may name a module of this package. The package itself is the public API: it leads to others."""
    inner = name.partition(".")[2]
    return any(inner == allowed or inner.startswith(allowed + ".") for allowed in ZONES[zone])


def may_load(zone: str, name: str) -> bool:
    """Say whether a module may be loaded: what may be imported, and the packages that hold it."""
    inner = name.partition(".")[2]
    return not inner or may_import(zone, name) or any(allowed.startswith(inner + ".") for allowed in ZONES[zone])
