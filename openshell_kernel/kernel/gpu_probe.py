"""The program that tries the GPUs of its own sandbox: `python -I -m openshell_kernel.kernel.gpu_probe DEVICES NODES`.

A process of its own, because CUDA stays in a process once it is there, and can crash or hang. DEVICES is the number of
devices that CUDA should see, or `-` where it is not known; NODES are device nodes. It prints one JSON object for each
step, as it goes.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import sys
import threading
from typing import TYPE_CHECKING

from openshell_kernel.kernel.cuda import LIBRARY, Cuda, CudaError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NVML = "libnvidia-ml.so.1"
_LIBRARY = (
    "the driver's libraries are missing or not readable. Outside, see `ldconfig -p | grep libcuda`. Inside, "
    "list their folder in read_only, and in LD_LIBRARY_PATH unless it is the system's"
)
_CRASH = "see Linux's log (dmesg) outside; a GPU that fails needs a reset or a restart of the machine"
_MANUAL = "see %policy gpus for what was given, and jupyter.gpu in the policy for what was asked for"
_NVML_HINTS = {
    4: "NVML needs reading and writing of /dev/nvidiactl and /run/nvidia-persistenced",
    9: "no driver is loaded: run modprobe nvidia outside",
    18: "library and driver differ in their versions: restart the machine",
}
_CUDA_HINTS = {
    2: "the GPU's memory is full: kernels that share it, or other programs, use it; see nvidia-smi outside",
    34: "libcuda.so.1 is the toolkit's stub, which programs are linked with: remove its folder from LD_LIBRARY_PATH",
    100: f"no GPU's device node is granted, or CUDA_VISIBLE_DEVICES names none: {_MANUAL}",
    304: (
        "CUDA could not write /proc/<pid>/task/<tid>/comm, or not open /dev/nvidia-uvm-tools: make /proc "
        "read-write (list it in read_write, or remove it from jupyter.baseline_conflicts)"
    ),
    221: (
        "libnvidia-ptxjitcompiler.so.1, another library of the driver, is missing or not readable: put it "
        "beside libcuda.so.1"
    ),
    801: "on a Jetson, make /sys/devices/soc0 and /sys/module/tegra_fuse readable",
    802: "the machine's NVSwitches are not ready: see whether nvidia-fabricmanager runs outside",
    803: "library and driver differ in their versions: restart the machine",
    46: "another process uses this GPU exclusively: see nvidia-smi -q -d COMPUTE outside",
    999: "/dev/nvidia-uvm is missing or not granted: run nvidia-modprobe -u -c 0 outside, and look at %policy why "
    "/dev/nvidia-uvm",
    3: "/dev/nvidia-uvm is missing or not granted: run nvidia-modprobe -u -c 0 outside",
}

_GPU_ERRORS = range(700, 721)  # the program ran, and the GPU reported an error


def main(argv: Sequence[str]) -> int:
    """Try everything; later steps do not depend on earlier ones unless they must."""
    # Driver libraries print warnings: those must not get between the steps.
    sys.stdout = open(os.dup(1), "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    os.dup2(2, 1)
    expected = None if argv[0] == "-" else int(argv[0])
    _try("NVML starts", _nvml)
    _try("a thread's name is written in /proc", _comm)
    for node in argv[1:]:
        _try(f"{node} opens", lambda node=node: _open(node))  # type: ignore[misc]
    cuda = _try(f"{LIBRARY} loads", Cuda)
    if not isinstance(cuda, Cuda) or not _try("cuInit", cuda.start, shown=lambda _: f"CUDA {cuda.version()}"):
        return 1
    number = _try("CUDA counts the GPUs", lambda: str(cuda.count()), shown=str)
    if expected is not None and number not in (False, str(expected)):
        _say("CUDA sees what was given", ok=False, detail=f"{number} instead of {expected}", hint=_CUDA_HINTS[100])
    for index in range(int(str(number)) if number else 0):
        _try(f"GPU {index} adds two vectors", lambda index=index: _add(cuda, index), shown=str)  # type: ignore[misc]
    return 0


def _try(step: str, function: Callable[[], object], *, shown: Callable[[object], str] = lambda _: "") -> object:
    """Do one step and say how it went; return what it gave, True instead of None, False after an error."""
    try:
        result = function()
        _say(step, ok=True, detail=shown(result))
    except _StepError as error:
        _say(step, ok=False, detail=str(error), hint=error.hint)
        return False
    except CudaError as error:
        likely = _CRASH if error.code in _GPU_ERRORS else _MANUAL
        _say(step, ok=False, detail=str(error), hint=_CUDA_HINTS.get(error.code, likely))
        return False
    except OSError as error:
        refused = error.errno in (errno.EACCES, errno.EPERM)
        hint = f"no rule of the policy grants it, or its mode refuses this user: {_MANUAL}" if refused else _MANUAL
        # What cannot be loaded has no number.
        _say(step, ok=False, detail=str(error), hint=hint if error.errno else _LIBRARY)
        return False
    except ValueError as error:
        _say(step, ok=False, detail=str(error), hint=_CRASH)
        return False
    except AttributeError as error:
        _say(
            step,
            ok=False,
            detail=str(error),
            hint="the driver's library is too old, or of another driver: update the driver",
        )
        return False
    return True if result is None else result


class _StepError(Exception):
    def __init__(self, text: str, hint: str) -> None:
        super().__init__(text)
        self.hint = hint


def _say(step: str, *, ok: bool, detail: str = "", hint: str = "") -> None:
    sys.stdout.write(json.dumps({"step": step, "ok": ok, "detail": detail, "hint": hint}) + "\n")
    sys.stdout.flush()


def _nvml() -> None:
    code = ctypes.CDLL(_NVML).nvmlInitWithFlags(0)
    if code != 0:
        raise _StepError(f"nvmlInit returned {code}", _NVML_HINTS.get(code, _MANUAL))


def _comm() -> None:
    try:
        with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w", encoding="ascii") as stream:
            stream.write("gpu-probe")
    except OSError as error:
        raise _StepError(str(error), _CUDA_HINTS[304]) from None


def _open(node: str) -> None:
    os.close(os.open(node, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))


def _add(cuda: Cuda, index: int) -> str:
    name = cuda.name(index)
    cuda.add_vectors(index)
    return name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
