"""What pip installs is all that a user needs, and what pip removes."""

import importlib.metadata
import json
import struct
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager

ROOT = Path(__file__).parents[1]
PROGRAM = Path(__file__).with_name("typed_program.py")
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


def test_the_configuration_that_closes_the_folder_is_a_part_of_the_distribution():
    files = [path.locate().resolve() for path in importlib.metadata.files("openshell-kernel")]
    for name in ("jupyter_config.py", "jupyter_server_config.d/openshell_kernel.json"):
        assert [path for path in files if path.match(f"etc/jupyter/{name}")]


def pip(*words):
    subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *words], check=True, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture
def environment(wheel, tmp_path):
    """A fresh environment with the wheel, where the dependencies are those of this environment."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    pip("--python", str(environment / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel))
    dependencies_of(environment).write_text(sysconfig.get_path("purelib") + "\n")
    return environment


def dependencies_of(environment):
    return Path(sysconfig.get_path("purelib", vars={"base": str(environment)})) / "dependencies.pth"


@pytest.mark.slow
def test_a_wheel_brings_the_kernelspec_into_an_environment_and_takes_it_away_again(environment):
    python = environment / "bin" / "python"
    spec = environment / "share" / "jupyter" / "kernels" / "openshell-gpu"
    assert sorted(path.name for path in spec.iterdir()) == sorted(path.name for path in SPEC.iterdir())
    listed = json.loads(run(python, "-m", "jupyter_client.kernelspecapp", "list", "--json"))["kernelspecs"]
    assert Path(listed["openshell-gpu"]["resource_dir"]).resolve() == spec.resolve()
    code = "import openshell_kernel.server.provisioner as module; print(module.__file__)"
    assert Path(run(python, "-I", "-c", code).strip()).is_relative_to(environment)
    assert "usage: jupyter openshell" in run(environment / "bin" / "jupyter-openshell", "--help")
    dependencies_of(environment).unlink()

    pip("--python", str(python), "uninstall", "--yes", "openshell-kernel")
    assert not spec.exists()
    assert not [path for path in environment.rglob("*openshell*") if path.name != "__pycache__"]


@pytest.mark.slow
def test_a_wheel_brings_its_types_to_strict_programs(environment, tmp_path):
    def mypy(program):
        options = ["--strict", "--config-file=", "--python-executable", str(environment / "bin" / "python")]
        command = [sys.executable, "-m", "mypy", *options, "--cache-dir", str(tmp_path / "cache"), str(program)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    done = mypy(PROGRAM)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import openshell_kernel\nopenshell_kernel.load_policy(1)\nopenshell_kernel.nonsense\n")
    assert [line.split("[")[-1] for line in mypy(wrong).stdout.splitlines()[:-1]] == ["arg-type]", "attr-defined]"]


@pytest.mark.slow
def test_a_wheel_brings_the_schema_beside_the_policy_that_names_it(environment):
    path = Path(run(environment / "bin" / "jupyter-openshell", "check", "--schema").strip())
    assert path.is_relative_to(environment)
    assert json.loads(path.read_text())["$schema"]
    named = (path.parent / "default.yaml").read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).samefile(path)


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def test_the_logos_have_the_sizes_of_their_names():
    for size in (32, 64):
        header = (SPEC / f"logo-{size}x{size}.png").read_bytes()[:24]
        assert struct.unpack(">II", header[16:24]) == (size, size)
