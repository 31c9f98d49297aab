"""Windows on a screen: the X server's sockets and how OpenGL and EGL find the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openshell_kernel.gpu.tree import Tree

_PATHS = ("/tmp/.X11-unix", "/etc/X11", "/etc/egl", "/etc/glvnd")  # noqa: S108 - X11 names it


def paths(tree: Tree) -> tuple[str, ...]:
    """Return what is there of it. The driver's /dev/nvidia-modeset is one of its control nodes."""
    return tuple(path for path in _PATHS if tree.exists(path))
