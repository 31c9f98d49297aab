"""What NVIDIA's libraries of each series did, outside of a sandbox and in confined kernels: each is asked once."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from fakes import nvml as fake

from driver import libraries, machine

EXPECTED = "OPENSHELL_EXPECT_DRIVER_LIBRARIES"
HERE = Path(__file__).parent
REQUIRED = "gpu: {request: required}"
POLICIES = {  # what is listed read-only besides, and what stands beneath `jupyter`
    "promoted": ("", REQUIRED),
    "read-only": ("", f"{REQUIRED}, baseline_conflicts: {{allow_promotion: []}}"),
    "no GPU": ("", "gpu: {request: none}"),
    "no unified memory": (", /dev/nvidia-uvm", REQUIRED),
}


def lacking(reason):
    """Skip, or fail where this machine is expected to have everything."""
    if os.environ.get(EXPECTED) == "1":
        pytest.fail(f"{EXPECTED} is 1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def _able(landlock_abi):
    """This machine can show NVIDIA's libraries a driver that is not there."""
    if os.geteuid() != 0:
        lacking("device nodes and mount namespaces need root")
    if machine.MAJOR in machine.registered():
        pytest.skip("NVIDIA's kernel driver itself is here: see tests/gpu")
    if shutil.which("cc") is None:
        lacking("there is no C compiler (cc) to build the stand-in for NVIDIA's kernel driver with")


@pytest.fixture(scope="session", params=libraries.SERIES)
def series(request):
    """The beginning of the driver's version."""
    return request.param


@pytest.fixture(scope="session")
def told(series, _able):
    """What attempts.py tells of this series."""
    try:
        unpacked = libraries.fetched(series)
    except libraries.UnavailableError as error:
        lacking(str(error))
    # Policies of sandboxes that may write /tmp are common, and so no policy may lie there.
    home = Path(tempfile.mkdtemp(prefix="openshell-driver-", dir="/var/tmp"))
    try:
        return _tried(home, unpacked)
    finally:
        shutil.rmtree(home)


def _tried(home, unpacked):
    for name in ("notebooks", "t"):
        (home / name).mkdir()
    (cuda,) = unpacked.glob("usr/lib/*/nvidia/current/libcuda.so.*.*")
    smi = unpacked / "usr" / "lib" / "nvidia" / "current" / "nvidia-smi"
    version = cuda.name.removeprefix("libcuda.so.")
    stand_in = fake.build(home / "driver", HERE / "stand_in.c", "driver.so", f'-DVERSION="{version}"') / "driver.so"
    readable = f"/usr, /etc, /proc, {unpacked}, {stand_in}"
    policies = [_policy(home, name, readable) for name in POLICIES]
    words = (cuda.parent, stand_in, HERE / "attempts.py", home / "notebooks", smi, *policies)
    done = subprocess.run(
        [sys.executable, "-m", "driver.machine", *map(str, words)],
        env={**_environment(), "HOME": str(home), "TMPDIR": str(home / "t")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {"version": version, **json.loads(done.stdout)}


def _policy(home, name, readable):
    listed, settings = POLICIES[name]
    path = home / f"{name}.yaml"
    path.write_text(
        f"version: 1\nfilesystem_policy: {{include_workdir: true, read_only: [{readable}{listed}]}}\n"
        f"jupyter: {{{settings}}}\n"
    )
    return path


def _environment():
    """Return this environment without what leads Jupyter and this package elsewhere."""
    leading = ("JUPYTER", "IPYTHON", "XDG_", "OPENSHELL_SANDBOX", "CUDA_", "NVIDIA_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(leading)}
    return {**kept, "PYTHONPATH": str(HERE.parent)}
