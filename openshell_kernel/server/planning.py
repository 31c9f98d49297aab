"""From a policy to a launch plan: load, discover, enrich. Shared by the provisioner and the standalone planner."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openshell_kernel.errors import ConfigurationError, PolicyError
from openshell_kernel.gpu import nvml
from openshell_kernel.policy import loading, sources
from openshell_kernel.policy.effective import GpuDevice, Hardware, Origin
from openshell_kernel.policy.enrichment import enrich
from openshell_kernel.sandbox.plan import LaunchPlan, PlanRule
from openshell_kernel.server import interpreter, places
from openshell_kernel.server.runtime import runtime

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from openshell_kernel.gpu.inventory import Inventory
    from openshell_kernel.policy.effective import EffectivePolicy, Rule
    from openshell_kernel.policy.model import Policy
    from openshell_kernel.server.interpreter import Interpreter
    from openshell_kernel.server.private import PrivateFolder

LAUNCHER = ("-I", "-m", "openshell_kernel.sandbox.launcher")
_EXTENSION = "--IPKernelApp.extra_extensions=openshell_kernel.kernel.magics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """What the operator decides; see the traits of the provisioner for the meanings."""

    policy: str | None = None
    require_landlock: bool = True
    discovery_timeout: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPolicy:
    """A policy and where it was found."""

    policy: Policy
    source: sources.Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A launch plan, the effective policy that it carries out, and the environment of the launcher itself."""

    plan: LaunchPlan
    effective: EffectivePolicy
    launcher_environment: dict[str, str]


def load_policy(operator: Operator) -> LoadedPolicy:
    """Find and load the policy, anew at every start.

    Raises:
        PolicyError: the first source that exists cannot be used.
    """
    source = sources.find(configured=operator.policy, environ=os.environ)
    return LoadedPolicy(policy=loading.load(source.path), source=source)


async def make_plan(
    loaded: LoadedPolicy,
    operator: Operator,
    *,
    command: Sequence[str],
    environment: dict[str, str],
    workdir: str,
    connection_file: str,
    private: PrivateFolder,
) -> Planned:
    """Discover the GPUs, enrich the policy and say what the launcher must do.

    `command` is the kernelspec's argv as Jupyter formatted it; `environment` is the kernel's, complete but for what
    this package adds.

    Raises:
        PolicyError: the sandbox could write the policy that it is started from.
        ConfigurationError: the kernel's program is not found.
        LaunchError: the kernel's Python does not run.
    """
    argv = kernel_command(command)
    executable = _executable(argv[0], environment)
    home = str(Path.home())
    # Both ask child processes, at the same time.
    trusted = interpreter.scrubbed(os.environ, [workdir, *_asked_writable(loaded.policy)])
    asking = asyncio.get_running_loop().run_in_executor(None, _inspect, executable, trusted)
    inventory = await nvml.discover(timeout=operator.discovery_timeout, environ=trusted)
    python, server_python = await asking
    own = (str(loaded.source.path), str(private.path))
    pythons = [server_python, *([python] if python else [])]
    effective = enrich(
        loaded.policy,
        _hardware(inventory),
        runtime(
            python,
            executable=executable,
            environment=environment,
            workdir=workdir,
            protected=places.protected(pythons, own, home=home),
            connection_file=connection_file,
            private=private,
            home=home,
        ),
        source=loaded.source.describe(),
    )
    writable = [rule.path for rule in effective.rules if "write_file" in rule.rights]
    _refuse_own_code(
        loaded.source, pythons, [rule for rule in effective.rules if rule.origin is not Origin.RUNTIME_BASELINE]
    )
    sources.refuse_writable_source(loaded.source, writable)
    record: dict[str, Any] = {
        "effective": effective.to_json(),
        "kernel": {
            "started": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
            "python": executable,
            "workdir": workdir,
        },
    }
    plan = LaunchPlan(
        argv=(executable, *argv[1:]),
        cwd=workdir,
        environment={**environment, **private.environment()},
        rules=tuple(
            PlanRule(path=r.path, rights=r.rights, required=r.required, exact=r.origin is Origin.WORKDIR)
            for r in effective.rules
        ),
        require_landlock=operator.require_landlock or loaded.policy.compatibility == "hard_requirement",
        record=record,
    )
    return Planned(plan=plan, effective=effective, launcher_environment=trusted)


def kernel_command(command: Sequence[str]) -> list[str]:
    """Return the command that runs inside the sandbox.

    The kernelspec's own command is the launcher, which becomes ipykernel; any other command runs as it is, so that
    other kernelspecs can choose this provisioner too. IPython kernels load `%policy`.
    """
    head, rest = list(command[:4]), list(command[4:])
    if tuple(head[1:]) == LAUNCHER:
        if rest[:1] == ["--kernelspec"]:
            rest = rest[2:]
        return [head[0], "-m", "ipykernel_launcher", *rest, _EXTENSION]
    if "ipykernel_launcher" in command[:4]:
        return [*command, _EXTENSION]
    return list(command)


def _executable(name: str, environment: dict[str, str]) -> str:
    found = name if os.path.isabs(name) else shutil.which(name, path=environment.get("PATH"))
    if found is None or not os.path.isabs(found):
        raise ConfigurationError(f"{name}: the kernel's program is not found; give its full path in kernel.json's argv")
    return found


def _refuse_own_code(source: sources.Source, pythons: Iterable[Interpreter], rules: Iterable[Rule]) -> None:
    """Make sure that no sandbox is given the Python that starts the next one."""
    code = {os.path.realpath(path) for python in pythons for path in (*python.prefixes, *python.import_path)}
    for rule in rules:
        held = [
            path for path in code if "write_file" in rule.rights and places.holds(os.path.realpath(rule.path), path)
        ]
        if held:
            raise PolicyError(
                f"{source.describe()}: the sandbox may write {rule.path} ({rule.origin.value}), which holds {min(held)}, "
                "from which the kernels' Python is run: it could change the code that confines it; take narrower paths"
            )


def _hardware(inventory: Inventory) -> Hardware:
    """Return what discovery found as the policy zone, which knows no hardware, records it."""
    return Hardware(
        status=inventory.status.value,
        detail=inventory.detail,
        present=inventory.present,
        driver_version=inventory.driver_version,
        cuda_version=inventory.cuda_version,
        gpus=tuple(GpuDevice(**dataclasses.asdict(gpu)) for gpu in inventory.gpus),
        nodes=inventory.nodes,
    )


def _asked_writable(policy: Policy) -> tuple[str, ...]:
    return policy.filesystem_policy.read_write if policy.filesystem_policy else ()


def _inspect(executable: str, environ: dict[str, str]) -> tuple[Interpreter | None, Interpreter]:
    """Return the kernel's Python, if it is one, and the server's."""
    is_python = os.path.basename(executable).startswith("python")
    return (
        interpreter.inspect(executable, environ) if is_python else None,
        interpreter.inspect(sys.executable, environ),
    )
