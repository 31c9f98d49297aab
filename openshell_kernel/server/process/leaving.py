"""How a process leaves another behind, before it becomes something else itself."""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import TYPE_CHECKING

from openshell_kernel.base.descriptors import close_all_but

if TYPE_CHECKING:
    from collections.abc import Mapping


def leave(
    command: list[str],
    environment: dict[str, str],
    *,
    keep: tuple[int, ...] = (),
    streams: Mapping[int, int] = MappingProxyType({}),
) -> None:
    """Leave a process behind that runs a program, with these descriptors kept open and these as standard streams.

    It is nobody's child, so that ipykernel, which ends its children at shutdown, does not end it too early.
    """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    # Copies, because one of the three may be wanted as another of them.
    sources = [os.dup(streams.get(fd, nothing)) for fd in (0, 1, 2)]
    for fd, source in enumerate(sources):
        os.dup2(source, fd)
    close_all_but(0, 1, 2, *keep)
    for fd in keep:
        os.set_inheritable(fd, True)
    os.execve(command[0], command, environment)  # noqa: S606 - no shell is wanted
