"""Jupyter's side of the connection to a kernel: through the kernel's private folder, encrypted where both can."""

from __future__ import annotations

import importlib.metadata
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_core.paths import jupyter_runtime_dir

if TYPE_CHECKING:
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import KernelManager

    from openshell_kernel.server.dirs.private_dir import PrivateDir

_ENCRYPTING_IPYKERNEL = (7, 3)


class Transport(str, Enum):
    """What Jupyter and a kernel talk over: Unix sockets in a folder, or ports of the loopback interface."""

    IPC = "ipc"
    TCP = "tcp"


def lead_through(
    private: PrivateDir, manager: KernelManager, spec: KernelSpec, *, kernel_id: str, transport: str
) -> None:
    """Have a manager connect to its kernel by Unix sockets in the private folder, if that is the transport.

    The folder's name, and so the sockets', stays the same across restarts.
    """
    if not manager.connection_file:
        folder = Path(jupyter_runtime_dir())
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        manager.connection_file = str(folder / f"kernel-{kernel_id}.json")
    manager.connection_file = str(Path(manager.connection_file).absolute())
    if transport == Transport.IPC:
        manager.transport = Transport.IPC.value
        manager.cache_ports = False
        manager.ip = private.socket_prefix
    if _encrypts(spec) and getattr(manager, "transport_encryption", None) == "disabled":
        # Without it any process that finds the sockets can listen to what the kernel prints.
        manager.transport_encryption = "auto"


def sockets(manager: KernelManager, *, transport: str) -> list[str]:
    """Return the sockets that a kernel makes when it listens; none where they are no files."""
    return [f"{manager.ip}-{port}" for port in manager.ports] if transport == Transport.IPC else []


def is_encrypted(manager: KernelManager) -> bool:
    """Return whether a manager has keys of encryption for its kernel."""
    return manager.get_connection_info().get("curve_publickey") is not None


def _encrypts(spec: KernelSpec) -> bool:
    """Return whether the kernel can speak CurveZMQ: ours can, since ipykernel 7.3."""
    if "supported_encryption" not in spec.metadata:
        return False
    major, minor = importlib.metadata.version("ipykernel").split(".")[:2]
    return (int(major), int(minor)) >= _ENCRYPTING_IPYKERNEL
