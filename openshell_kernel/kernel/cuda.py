"""CUDA's driver API, as far as a proof needs it: start it, and let a GPU add two vectors.

Through ctypes and the driver's own library: no toolkit and no framework is needed. Source: CUDA Driver API reference.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from pathlib import Path

LIBRARY = "libcuda.so.1"
_PROGRAM = Path(__file__).with_name("vector_add.ptx")
_LENGTH = 1 << 20
_THREADS = 256


class CudaError(Exception):
    """A call failed: the function, CUresult's number and its name."""

    def __init__(self, function: str, code: int, name: str) -> None:
        super().__init__(f"{function} returned {code} ({name})")
        self.code = code


class Cuda:
    """The driver's library in this process.

    Raises:
        OSError: it cannot be loaded.
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL(LIBRARY)

    def start(self) -> None:
        """Call cuInit, which looks at every device; the first call that nvidia-smi does not make.

        Raises:
            CudaError: CUDA cannot be used.
        """
        self._call("cuInit", 0)

    def version(self) -> str:
        """Return the newest CUDA that the driver supports."""
        number = c_int()
        self._call("cuDriverGetVersion", byref(number))
        return f"{number.value // 1000}.{number.value % 1000 // 10}"

    def count(self) -> int:
        """Return how many devices CUDA sees."""
        number = c_int()
        self._call("cuDeviceGetCount", byref(number))
        return number.value

    def name(self, index: int) -> str:
        """Return a device's name."""
        text = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", text, len(text), self._device(index))
        return text.value.decode(errors="replace")

    def add_vectors(self, index: int) -> None:
        """Let a device add two vectors and compare each of the results.

        Raises:
            CudaError: a call failed.
            ValueError: the sums are wrong.
        """
        device = self._device(index)
        context = c_void_p()
        self._call("cuDevicePrimaryCtxRetain", byref(context), device)
        try:
            self._call("cuCtxSetCurrent", context)
            self._add_vectors()
        finally:
            self._call("cuDevicePrimaryCtxRelease_v2", device)

    def _add_vectors(self) -> None:
        module, function = c_void_p(), c_void_p()
        self._call("cuModuleLoadData", byref(module), c_char_p(_PROGRAM.read_bytes()))
        self._call("cuModuleGetFunction", byref(function), module, c_char_p(b"vector_add"))
        vector = c_uint * _LENGTH
        first, second, sums = vector(*range(_LENGTH)), vector(*range(0, 3 * _LENGTH, 3)), vector()
        size = c_size_t(ctypes.sizeof(vector))
        pointers = [c_uint64() for _ in range(3)]
        for pointer in pointers:
            self._call("cuMemAlloc_v2", byref(pointer), size)
        for pointer, values in zip(pointers, (first, second), strict=False):
            self._call("cuMemcpyHtoD_v2", pointer, values, size)
        length = c_uint(_LENGTH)
        arguments = (c_void_p * 4)(*(ctypes.addressof(value) for value in (*pointers, length)))
        blocks = (_LENGTH + _THREADS - 1) // _THREADS
        shape = [c_uint(number) for number in (blocks, 1, 1, _THREADS, 1, 1, 0)]
        self._call("cuLaunchKernel", function, *shape, None, arguments, None)
        self._call("cuCtxSynchronize")
        self._call("cuMemcpyDtoH_v2", sums, pointers[2], size)
        for pointer in pointers:
            self._call("cuMemFree_v2", pointer)
        self._call("cuModuleUnload", module)
        wrong = next((i for i in range(_LENGTH) if sums[i] != 4 * i), None)
        if wrong is not None:
            raise ValueError(f"{first[wrong]} + {second[wrong]} gave {sums[wrong]}")

    def _device(self, index: int) -> c_int:
        device = c_int()
        self._call("cuDeviceGet", byref(device), index)
        return device

    def _call(self, function: str, *arguments: object) -> None:
        code = getattr(self._library, function)(*arguments)
        if code != 0:
            text = c_char_p()
            unknown = self._library.cuGetErrorName(code, byref(text)) != 0
            name = "unknown" if unknown or text.value is None else text.value.decode()
            raise CudaError(function, code, name)
