"""What runs inside the sandbox: the command and its environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.server.planning import gpus
from openshell_kernel.server.planning.command import kernel_command
from openshell_kernel.server.planning.environment import compose, redirections
from openshell_kernel.server.planning.search_path import search_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openshell_kernel.policy.effective import Rule
    from openshell_kernel.server.planning.environment import Composed
    from openshell_kernel.server.planning.folders import Folders
    from openshell_kernel.server.planning.gathering import Gathered
    from openshell_kernel.server.planning.request import KernelRequest

_PATH = "PATH"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The command, which begins with a full path, and the environment before the rules are known."""

    argv: tuple[str, ...]
    environment: Composed


def compose_program(request: KernelRequest, gathered: Gathered, folders: Folders) -> Program:
    """Return what runs, with what it is given of the server's environment and what leads it into its own folders."""
    private = folders.private
    return Program(
        argv=(gathered.executable, *_arguments(request, folders)),
        environment=compose(
            {_PATH: os.defpath, **request.environment},
            kernelspec=request.kernelspec_environment,
            redirected=redirections(folders.home.path, temporary=str(private.temporary), runtime=str(private.runtime)),
            selected=gpus.variables(gathered.selection, nowhere=f"{private.runtime}/no-mps"),
            policy=request.loaded.policy.environment,
            settings=request.settings.environment,
        ),
    )


def fitted_environment(request: KernelRequest, program: Program, rules: Iterable[Rule]) -> dict[str, str]:
    """Return an environment whose PATH fits the sandbox; one that the policy or the operator sets stays as it is."""
    values = program.environment.values
    if _PATH in {**request.loaded.policy.environment.setting, **request.settings.environment.setting}:
        return values
    return {**values, _PATH: search_path(values[_PATH], rules, first=os.path.dirname(program.argv[0]))}


def _arguments(request: KernelRequest, folders: Folders) -> list[str]:
    """Return the arguments, with the connection file that the kernel reads in the place of Jupyter's own."""
    if request.connection is None or folders.connection_file is None:
        return list(request.command[1:])
    words = kernel_command(request.command, folders.user_site)[1:]
    return [folders.connection_file if word == request.connection.file else word for word in words]
