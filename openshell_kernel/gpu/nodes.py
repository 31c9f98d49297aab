"""NVIDIA's device nodes, and a cheap way to notice that the hardware or its driver changed."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_NODE = re.compile(r"(dxg|nvidia(?:ctl|-uvm|-uvm-tools|-modeset)?)([0-9]*)")
_NUMBERED = "nvidia"


def _is_machine(root: str | os.PathLike[str]) -> bool:
    return os.path.realpath(root) == "/"


def device_nodes(
    root: str | os.PathLike[str] = "/", *, is_machine: Callable[[str | os.PathLike[str]], bool] = _is_machine
) -> tuple[str, ...]:
    """Return the paths, without `root`, of the NVIDIA device nodes that exist, in natural order.

    Beneath `/` only character devices count. Any other root is a copy of a machine's tree, where regular files stand
    for devices, because only root can make a device.
    """
    kinds = {stat.S_IFCHR} if is_machine(root) else {stat.S_IFCHR, stat.S_IFREG}
    found = []
    for name in _entries(root, "dev"):
        match = _NODE.fullmatch(name)
        # The GPUs' own nodes have a number, and no other has.
        if match and bool(match[2]) == (match[1] == _NUMBERED):
            status = _status(root, f"dev/{name}")
            if status and stat.S_IFMT(status.st_mode) in kinds:
                found.append((match[1], int(match[2] or 0), f"/dev/{name}"))
    return tuple(path for _, _, path in sorted(found))


def signature(root: str | os.PathLike[str] = "/") -> tuple[object, ...]:
    """Return a value that changes when nodes, their permissions, the driver or its set of GPUs change.

    It asks the kernel only, never a GPU: it cannot hang and does not wake one.
    """
    nodes = []
    for path in device_nodes(root):
        status = _status(root, path[1:])
        nodes.append((path, status and (status.st_dev, status.st_ino, status.st_ctime_ns)))
    # A module that was loaded again is a new folder of sysfs.
    module = _status(root, "sys/module/nvidia")
    return (*nodes, module and module.st_ino, *sorted(_entries(root, "proc/driver/nvidia/gpus")))


def _entries(root: str | os.PathLike[str], folder: str) -> list[str]:
    try:
        return os.listdir(os.path.join(root, folder))
    except OSError:
        return []


def _status(root: str | os.PathLike[str], path: str) -> os.stat_result | None:
    try:
        return os.stat(os.path.join(root, path))
    except OSError:
        return None
