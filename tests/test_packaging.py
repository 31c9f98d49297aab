"""What pip installs is all that a user needs, and what pip removes."""

import importlib.metadata
import json
import struct
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager

SPEC = Path(KernelSpecManager().get_kernel_spec("openshell-gpu").resource_dir)


def test_the_kernelspec_is_a_file_of_the_distribution():
    files = {path.locate().resolve() for path in importlib.metadata.files("openshell-kernel")}
    for name in ("kernel.json", "logo-svg.svg", "logo-64x64.png", "logo-32x32.png"):
        assert (SPEC / name).resolve() in files


def test_the_kernelspec_runs_the_launcher_isolated_and_names_the_provisioner():
    spec = json.loads((SPEC / "kernel.json").read_text())
    assert spec["argv"][:4] == ["python", "-I", "-m", "openshell_kernel.sandbox.launcher"]
    name = spec["metadata"]["kernel_provisioner"]["provisioner_name"]
    (entry,) = importlib.metadata.entry_points(group="jupyter_client.kernel_provisioners", name=name)
    assert entry.load().__name__ == "OpenShellProvisioner"


def test_the_logos_have_the_sizes_of_their_names():
    for size in (32, 64):
        header = (SPEC / f"logo-{size}x{size}.png").read_bytes()[:24]
        assert struct.unpack(">II", header[16:24]) == (size, size)
