"""What is there for a start: the kernel's Python, the GPUs, the filter of system calls, the identity."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from openshell_kernel.base.threads import run_in_thread
from openshell_kernel.gpu import discovery
from openshell_kernel.gpu.claims import Registry
from openshell_kernel.policy.effective import GpuRequest
from openshell_kernel.server.planning import gpus, interpreter, seccomp_filter
from openshell_kernel.server.planning.command import find_program
from openshell_kernel.server.planning.identity import resolve

if TYPE_CHECKING:
    from openshell_kernel.base.hardware import Hardware
    from openshell_kernel.gpu.claims import Claim
    from openshell_kernel.policy.effective import GpuSelection
    from openshell_kernel.sandbox.layers.identity import Parameters as Identity
    from openshell_kernel.server.planning.interpreter import Interpreter
    from openshell_kernel.server.planning.request import KernelRequest
    from openshell_kernel.server.planning.seccomp_filter import Filter


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What was found out for one start.

    Attributes:
        home: the home directory of the server's user.
        identity: whom the kernel runs as; None leaves that as it is.
        executable: the full path of the kernel's program.
        python: the Python that works inside; None where none does.
        server_python: the Python of this process.
        hardware: the GPUs of the machine.
        selection: which of them the kernel is given.
        claim: by which it holds them; whoever has this value sees to the release.
        seccomp: the filter of system calls.
    """

    home: str
    identity: Identity | None
    executable: str
    python: Interpreter | None
    server_python: Interpreter
    hardware: Hardware
    selection: GpuSelection
    claim: Claim | None
    seccomp: Filter

    @property
    def pythons(self) -> tuple[Interpreter, ...]:
        """Both Pythons; one may be the other."""
        return (self.server_python, *([self.python] if self.python else []))


async def gather(request: KernelRequest) -> Gathered:
    """Ask the machine. What asks child processes does so at the same time.

    Raises:
        PolicyError: the policy asks for an identity, or requires GPUs, that are not to be had.
        ConfigurationError: the kernel's program is not found, or there is no place for claims.
        LaunchError: the kernel's Python does not run, or GPUs cannot be claimed.
    """
    policy, settings, home = request.loaded.policy, request.settings, str(Path.home())
    identity = resolve(policy.process, euid=os.geteuid())
    executable = find_program(request.command[0], request.environment)
    (python, server_python), seccomp, hardware = await asyncio.gather(
        run_in_thread(_inspect, _python(request, executable), {**request.trusted, "HOME": home}),
        run_in_thread(seccomp_filter.load),
        _discover(request),
    )
    selection, claim = await gpus.choose(
        policy.gpu,
        hardware,
        Registry(settings.gpu_claims),
        visible=request.environment.get(gpus.VISIBLE),
        current=request.claim,
    )
    return Gathered(
        home=home,
        identity=identity,
        executable=executable,
        python=python,
        server_python=server_python,
        hardware=hardware,
        selection=selection,
        claim=claim,
        seccomp=seccomp,
    )


async def _discover(request: KernelRequest) -> Hardware:
    policy, settings = request.loaded.policy, request.settings
    required = policy.gpu.request is GpuRequest.REQUIRED
    return await discovery.discover(
        timeout=settings.required_discovery_timeout if required else settings.discovery_timeout,
        environ=request.trusted,
        mps_pipes=request.environment.get("CUDA_MPS_PIPE_DIRECTORY"),
        fresh=gpus.needs_a_fresh_look(policy.gpu),
        tell=request.tell,
    )


def _python(request: KernelRequest, executable: str) -> str | None:
    """Return the Python that is to work inside, if one is. It is asked before it is confined."""
    if request.python is not None:
        return request.python
    return executable if os.path.basename(executable).startswith("python") else None


def _inspect(executable: str | None, environ: dict[str, str]) -> tuple[Interpreter | None, Interpreter]:
    """Return the Python inside, if there is one, and the server's."""
    return (
        None if executable is None else interpreter.inspect(executable, environ),
        interpreter.inspect(sys.executable, environ),
    )
