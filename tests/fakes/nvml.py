"""Driver libraries that stand in for NVIDIA's: compiled from C, told what to answer by files beside them."""

import shutil
import subprocess
from pathlib import Path

import pytest

NVML = (Path(__file__).with_name("fake_nvml.c"), "libnvidia-ml.so.1")
CUDA = (Path(__file__).with_name("fake_cuda.c"), "libcuda.so.1")


def build(folder: Path, source: Path = NVML[0], name: str = NVML[1], *options: str) -> Path:
    """Compile a library into a folder; return the folder, for LD_LIBRARY_PATH. `configure` it before its use."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc): the fake driver library cannot be built")
    folder.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{name}", "-o"]
    subprocess.run([*command, folder / name, *options, source, "-ldl"], check=True)
    return folder


def build_cuda(folder: Path, *directives: str) -> Path:
    """Compile libcuda.so.1 into a folder and say how it behaves; fake_cuda.c lists the directives."""
    build(folder, *CUDA)
    (folder / "cuda.conf").write_text("".join(f"{line}\n" for line in directives))
    return folder


def configure(folder: Path, *directives: str) -> None:
    """Say what the library in a folder answers, from its next use on; fake_nvml.c lists the directives."""
    (folder / "gpus.conf").write_text("".join(f"{line}\n" for line in directives), errors="surrogateescape")


def gpu(
    minor: int,
    *,
    uuid: str = "",
    name: str = "NVIDIA H100 80GB HBM3",
    memory: int = 80 << 30,
    pci: str = "",
    used: int = 0,
    busy: int = 0,
    mig: bool | None = None,
) -> str:
    """Return the directive for one GPU; the first is NVML's GPU 0, whatever its minor. `mig` None: it has no MIG."""
    uuid = uuid or f"GPU-00000000-0000-0000-0000-{minor:012d}"
    pci = pci or f"00000000:{0x60 + minor:02X}:00.0"
    mode = "" if mig is None else f"mig={mig:d} "
    return f"gpu minor={minor} uuid={uuid} memory={memory} used={used} busy={busy} pci={pci} {mode}name={name}"


def mig_device(gpu_instance: int, compute_instance: int = 0, *, uuid: str = "", name: str = "", busy: int = 0) -> str:
    """Return the directive for one MIG device of the GPU before it."""
    uuid = uuid or f"MIG-00000000-0000-0000-0000-{gpu_instance:08d}{compute_instance:04d}"
    name = name or "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    return f"mig gi={gpu_instance} ci={compute_instance} uuid={uuid} memory={5 << 30} used=0 busy={busy} name={name}"


def calls(folder: Path, function: str) -> int:
    """Return how many times a function of the library in a folder was called."""
    log = folder / "calls.log"
    return log.read_text().splitlines().count(function) if log.exists() else 0
