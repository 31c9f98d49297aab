"""NVML, the driver's management library: asked in a process of its own, `python -I -m openshell_kernel.gpu.nvml`.

A call into the driver can hang for ever, crash, or leave open descriptors of devices, none of which may happen to
Jupyter's server. The only importer of `pynvml`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from openshell_kernel.base import wire
from openshell_kernel.base.hardware import Gpu, Hardware, MigDevice, Status
from openshell_kernel.gpu.restraint import restrain

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

# nvmlReturn_t of nvml.h
_INVALID_ARGUMENT, _NOT_SUPPORTED, _NO_PERMISSION, _NOT_FOUND = 2, 3, 4, 6
_DRIVER_NOT_LOADED, _LIBRARY_NOT_FOUND, _FUNCTION_NOT_FOUND, _VERSION_MISMATCH = 9, 12, 13, 18

_FAILURES = {
    _LIBRARY_NOT_FOUND: (
        Status.NO_LIBRARY,
        (
            "no NVIDIA driver library (libnvidia-ml.so.1) was found: install the NVIDIA driver, "
            "or start the container with the NVIDIA runtime"
        ),
    ),
    _DRIVER_NOT_LOADED: (
        Status.NO_DRIVER,
        (
            "the NVIDIA driver library is installed, but no driver is loaded, or its nodes in /dev are "
            "missing: run `modprobe nvidia` and `nvidia-modprobe -u -c 0`, or start the container with a GPU"
        ),
    ),
    _VERSION_MISMATCH: (
        Status.VERSION_MISMATCH,
        (
            "the NVIDIA driver library and the loaded driver have different versions, for example after an "
            "update: restart the machine, or give the container the host's version of the library"
        ),
    ),
    _NO_PERMISSION: (
        Status.NO_PERMISSION,
        (
            "the NVIDIA driver refuses this user: allow this user to read and write /dev/nvidiactl and "
            "/dev/nvidia*, and to reach /run/nvidia-persistenced"
        ),
    ),
}
_MIG_ENABLED = 1  # NVML_DEVICE_MIG_ENABLE
_FEATURE_DISABLED = 0  # NVML_FEATURE_DISABLED
_SLOW = 3.0  # seconds
_PCI_ADDRESS = re.compile(r"([0-9a-f]+)(:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])")


def ask() -> Hardware:
    """Ask NVML in this process and return what it says; what the file system shows is left out."""
    try:
        import pynvml  # noqa: PLC0415 - only in the child process: importing it does not load the driver, using it does
    except ImportError as error:
        return Hardware(
            status=Status.ERROR, detail=f"the module pynvml is missing ({error}): run `pip install nvidia-ml-py`"
        )
    return _Conversation(pynvml).ask()


def pci_address(bus_id: str) -> str | None:
    """Return NVML's bus id ("00000000:65:00.0") as sysfs writes it ("0000:65:00.0")."""
    match = _PCI_ADDRESS.fullmatch(bus_id.lower())
    return f"{int(match[1], 16):04x}{match[2]}" if match else None


class _Conversation:
    """Calls to NVML, and what went wrong in those that the answer can do without."""

    def __init__(self, nvml: Any) -> None:  # noqa: ANN401 - pynvml has no types
        self._nvml = nvml
        self._hidden = 0
        self._troubles: dict[str, str] = {}

    def ask(self) -> Hardware:
        nvml, started = self._nvml, time.monotonic()
        try:
            nvml.nvmlInit()
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            return self._failure(error)
        driver = self._try("the driver's version", nvml.nvmlSystemGetDriverVersion)
        cuda = self._try("CUDA's version", nvml.nvmlSystemGetCudaDriverVersion_v2)
        gpus = tuple(gpu for gpu in map(self._gpu, range(count)) if gpu)
        took = time.monotonic() - started
        return Hardware(
            status=Status.INCOMPLETE if self._troubles else Status.OK,
            detail=self._detail(gpus) + self._slowness(took, count),
            driver_version=driver,
            cuda_version=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
            gpus=gpus,
        )

    def _gpu(self, index: int) -> Gpu | None:
        nvml, subject = self._nvml, f"GPU {index}"
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
        except nvml.NVMLError as error:
            # NVML counts GPUs that this user may not use; they are not the user's hardware.
            if error.value == _NO_PERMISSION:
                self._hidden += 1
                return None
            self._troubles[subject] = str(error)
            # No such index: the GPU went away after it was counted. Otherwise it is there and does not answer.
            gone = error.value in (_INVALID_ARGUMENT, _NOT_FOUND)
            return None if gone else Gpu(index=index, fault=str(error))
        mig = self._try(subject, lambda: nvml.nvmlDeviceGetMigMode(handle)[0])
        gpu = Gpu(
            index=index,
            **self._facts(subject, handle),
            minor=self._try(subject, lambda: nvml.nvmlDeviceGetMinorNumber(handle)),
            pci_address=self._try(subject, lambda: pci_address(nvml.nvmlDeviceGetPciInfo(handle).busId)),
            mig=mig == _MIG_ENABLED,
            mig_devices=tuple(
                self._mig_device(subject, number, device) for number, device in self._mig_handles(handle)
            ),
        )
        return dataclasses.replace(gpu, fault=self._troubles.get(subject))

    def _mig_handles(self, handle: Any) -> list[tuple[int, Any]]:  # noqa: ANN401 - pynvml has no types
        """Return a GPU's MIG devices with their indices, which have gaps where instances were removed."""
        nvml = self._nvml
        found = []
        try:
            if nvml.nvmlDeviceGetMigMode(handle)[0] != _MIG_ENABLED:
                return []
            most = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
        except nvml.NVMLError:
            return []
        for index in range(most):
            with contextlib.suppress(nvml.NVMLError):
                found.append((index, nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)))
        return found

    def _mig_device(self, subject: str, index: int, handle: Any) -> MigDevice:  # noqa: ANN401 - pynvml has no types
        nvml = self._nvml
        return MigDevice(
            index=index,
            **self._facts(subject, handle),
            gpu_instance=self._try(subject, lambda: nvml.nvmlDeviceGetGpuInstanceId(handle)),
            compute_instance=self._try(subject, lambda: nvml.nvmlDeviceGetComputeInstanceId(handle)),
        )

    def _facts(self, subject: str, handle: Any) -> dict[str, Any]:  # noqa: ANN401 - pynvml has no types
        """Return what is asked in the same way of GPUs and of MIG devices."""
        nvml = self._nvml
        return {
            "uuid": self._try(subject, lambda: nvml.nvmlDeviceGetUUID(handle)),
            "name": self._try(subject, lambda: nvml.nvmlDeviceGetName(handle)),
            "memory": self._try(subject, lambda: nvml.nvmlDeviceGetMemoryInfo(handle).total),
            "used": self._try(subject, lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used) or 0,
            "busy": self._try(subject, lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu) or 0,
        }

    def _try(self, subject: str, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except self._nvml.NVMLError as error:
            # Older drivers lack functions, and some GPUs have nothing to say: integrated ones on their memory.
            if error.value not in (_NOT_SUPPORTED, _FUNCTION_NOT_FOUND, _NO_PERMISSION):
                self._troubles.setdefault(subject, str(error))
        except UnicodeDecodeError:
            self._troubles.setdefault(subject, "a text that is not UTF-8")
        return None

    def _slowness(self, took: float, count: int) -> str:
        """Say why a driver was slow, where it was: without persistence mode each first user starts the GPUs anew."""
        if took < _SLOW or not any(map(self._starts_anew, range(count))):
            return ""
        return (
            f"; the driver took {took:.0f} s to answer, because persistence mode is off: run `nvidia-smi -pm "
            "1`, or nvidia-persistenced"
        )

    def _starts_anew(self, index: int) -> bool:
        nvml = self._nvml
        try:
            return bool(nvml.nvmlDeviceGetPersistenceMode(nvml.nvmlDeviceGetHandleByIndex(index)) == _FEATURE_DISABLED)
        except nvml.NVMLError:
            return False

    def _failure(self, error: Any) -> Hardware:  # noqa: ANN401 - pynvml has no types
        unknown = (Status.ERROR, f"NVML failed ({error}): see what nvidia-smi and Linux's log (dmesg) say")
        status, detail = _FAILURES.get(error.value, unknown)
        return Hardware(status=status, detail=detail)

    def _detail(self, gpus: tuple[Gpu, ...]) -> str:
        if self._troubles:
            troubles = ", ".join(f"{subject}: {trouble}" for subject, trouble in self._troubles.items())
            return (
                f"NVML did not answer everything ({troubles}): see Linux's log (dmesg); a lost GPU needs a reset "
                "or a restart of the machine"
            )
        if self._hidden:
            return f"{len(gpus)} of {len(gpus) + self._hidden} GPUs are open to this user"
        if not gpus:
            return "the NVIDIA driver is loaded but has no GPU: give the machine or container one"
        return "1 GPU" if len(gpus) == 1 else f"{len(gpus)} GPUs"


def main(seconds: str) -> None:
    """Print the answer as JSON, and change nothing; be killed after so many seconds, whatever the driver does."""
    # Nobody else would end a hanging call if the server died meanwhile.
    signal.setitimer(signal.ITIMER_REAL, float(seconds))
    restrain()
    # Driver libraries print warnings: those must not get into the answer.
    answer = os.dup(1)
    os.dup2(2, 1)
    with open(answer, "w", encoding="ascii") as file:
        json.dump(wire.encode(ask()), file)
    # Not through the driver library's destructors: all has been said.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
