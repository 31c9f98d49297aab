"""The folders and the connection file of one kernel, made ready before it starts."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.base.threads import run_in_thread
from openshell_kernel.policy.effective import HomeKind
from openshell_kernel.server.dirs.home import settle, show_packages
from openshell_kernel.server.planning.identity import hand_over, lend_connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openshell_kernel.server.dirs.home import HomeFolder
    from openshell_kernel.server.dirs.private_dir import PrivateDir
    from openshell_kernel.server.planning.gathering import Gathered
    from openshell_kernel.server.planning.interpreter import Interpreter
    from openshell_kernel.server.planning.request import KernelRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """What is this kernel's alone.

    Attributes:
        private: its private folder.
        home: its home.
        user_site: the folder of the user's own packages, which it may import; empty where there is none, and None
            where its Python does not import the user's packages at all.
        connection_file: the one that it reads; None for a program that does not talk to Jupyter.
        notices: what its user should know of these.
    """

    private: PrivateDir
    home: HomeFolder
    user_site: str | None
    connection_file: str | None
    notices: tuple[str, ...]


async def prepare(request: KernelRequest, gathered: Gathered) -> Folders:
    """Make what is missing. It belongs to the user of the server until `give` is called.

    Raises:
        LaunchError: the home is not what it should be, or the connection file cannot be copied.
    """
    loaded, private, identity = request.loaded, request.private, gathered.identity
    if os.geteuid() == 0:
        await run_in_thread(functools.partial(hand_over, private, uid=0, gid=0))
    # A home that is kept lies in a folder of the server's user.
    kind = HomeKind.EPHEMERAL if identity else request.settings.home or loaded.policy.home
    home = settle(kind, workdir=loaded.workdir, link=loaded.workdir_link, private=private)
    user_site = _user_site(gathered.python, request.environment)
    if user_site and (identity or not os.path.isdir(user_site)):
        user_site = ""
    problem = show_packages(home.path, user_site) if user_site else ""
    return Folders(
        private=private,
        home=home,
        user_site=user_site,
        connection_file=None if request.connection is None else lend_connection(request.connection, private, identity),
        notices=(*home.notices, *([problem] if problem else [])),
    )


async def give(folders: Folders, gathered: Gathered) -> None:
    """Give the folders to whom the kernel runs as."""
    identity = gathered.identity
    if identity is not None:
        await run_in_thread(functools.partial(hand_over, folders.private, uid=identity.uid, gid=identity.gid))


def _user_site(python: Interpreter | None, environment: Mapping[str, str]) -> str | None:
    """Return where the user's own packages would be, or None if unconfined programs do not import them."""
    return None if python is None or "PYTHONNOUSERSITE" in environment else python.user_site or None
