"""What is asked of one start, as one value that all stages of planning read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from openshell_kernel.gpu.claims import Claim
    from openshell_kernel.server.dirs.private_dir import PrivateDir
    from openshell_kernel.server.planning.loading import LoadedPolicy
    from openshell_kernel.server.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How Jupyter and the kernel talk: the connection file that Jupyter made, and whether they encrypt."""

    file: str
    encrypted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRequest:
    """A kernel, or another program, that is to run confined.

    Attributes:
        loaded: the policy, the working directory and the server's root folder.
        settings: what the operator decides.
        trusted: the `trusted_environment`, for children that are not confined.
        command: the kernelspec's argv as Jupyter formatted it, or the program and its arguments.
        python: the Python that works inside; None for the program itself, where that is one. It is run outside to ask
            for its folders, so it must be trusted.
        environment: what the program would be given without a sandbox.
        kernelspec_environment: the names that stand in the `env` of kernel.json.
        mounts: whether the start may have mounts of its own, which a process that runs already cannot.
        private: the folder that is this kernel's alone.
        connection: how the kernel talks to Jupyter; None for a program that does not.
        logs: the files that Jupyter's servers log to.
        claim: what the kernel held of the GPUs before it was restarted.
        tell: is told why the start takes long.
    """

    loaded: LoadedPolicy
    settings: Settings
    trusted: dict[str, str]
    command: tuple[str, ...]
    python: str | None = None
    environment: dict[str, str]
    kernelspec_environment: frozenset[str] = frozenset()
    private: PrivateDir
    mounts: bool = True
    connection: Connection | None = None
    logs: tuple[str, ...] = ()
    claim: Claim | None = None
    tell: Callable[[str], None] | None = None
