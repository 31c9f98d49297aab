"""How the stub kernel is confined: by the launcher, with less than any kernel gets."""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import TYPE_CHECKING

from openshell_kernel.base.rules import Access, Origin, Rule
from openshell_kernel.policy import baseline
from openshell_kernel.sandbox.layers.capabilities import Capabilities
from openshell_kernel.sandbox.layers.contract import NoParameters
from openshell_kernel.sandbox.layers.identity import Identity
from openshell_kernel.sandbox.layers.landlock import Landlock
from openshell_kernel.sandbox.layers.processes import Processes
from openshell_kernel.sandbox.layers.seccomp import Seccomp
from openshell_kernel.sandbox.layers.table import LAYERS
from openshell_kernel.sandbox.layers.tunables import Tunables
from openshell_kernel.sandbox.plan import LaunchPlan
from openshell_kernel.sandbox.report import LANDLOCK
from openshell_kernel.server.planning import capabilities, interpreter, seccomp_filter
from openshell_kernel.server.planning.needs import SOCKET_RIGHTS
from openshell_kernel.server.stub.kernel import LANGUAGE_VARIABLE, REASON_VARIABLE, WHAT_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openshell_kernel.server.planning.pipeline import Planned

_PROGRAM = ("-I", "-m", "openshell_kernel.server.stub.kernel")
_LIBRARIES = frozenset(
    ("/usr", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom")
)
# It runs none of the notebook's code, and is given nothing of /proc.
_PROC_AS_IT_IS = {Processes.name: Processes.takes(), Tunables.name: Tunables.takes()}
_LONGEST_REASON = 32768  # characters; an environment variable holds 128 KiB


def stub_plan(last: Planned, *, reason: str, language: str, connection_file: str, sockets: str | None) -> Planned:
    """Return the plan of the kernel that stands in for one that could not be restarted.

    `last` is the plan with which the kernel last ran: what protects the machine from it stays as it was. But it runs as
    the server's user, who reaches the server's Python, and the sockets whomever they were handed over to.

    Raises:
        LaunchError: the server's Python does not run.
    """
    rules = (
        *_rules(last.launcher_environment, connection_file),
        *(_needed(path, SOCKET_RIGHTS) for path in (sockets,) if path),
    )
    layers = {name: parameters for name, parameters in last.plan.layers.items() if name != Identity.name}
    if Identity.name in last.plan.layers:
        layers[Capabilities.name] = Capabilities.takes(keep=("dac_override",))
    plan = last.plan._replace(
        argv=(sys.executable, *_PROGRAM, connection_file),
        cwd="/",
        environment=_environment(last.launcher_environment, os.getpid(), "restarted", reason, language),
        layers={**layers, **_PROC_AS_IT_IS, LANDLOCK: Landlock.takes(rules=rules)},
        required=(),
        record={},
    )
    return dataclasses.replace(last, plan=plan)


def first_stub_plan(
    environment: Mapping[str, str], *, reason: str, connection_file: str, sockets: str | None
) -> LaunchPlan:
    """Return the plan of the kernel that stands in for one that could not be started, and with which this process ends.

    `environment` is that of the launcher. The kernel ends with the present process's parent. `sockets` is the folder
    that it makes its sockets in, which is the client's: it may do nothing else there.

    Raises:
        LaunchError: the present process's Python does not run.
    """
    rules = (
        *_rules(environment, connection_file),
        *(_needed(path, ("make_sock",)) for path in (sockets,) if path),
    )
    filtered = seccomp_filter.load()
    layers = {name: layer.takes() for name, layer in LAYERS.items() if layer.takes is NoParameters}
    return LaunchPlan(
        argv=(sys.executable, *_PROGRAM, connection_file),
        cwd="/",
        environment=_environment(environment, os.getppid(), "started", reason, "python"),
        layers={
            **layers,
            **_PROC_AS_IT_IS,
            LANDLOCK: Landlock.takes(rules=rules),
            Capabilities.name: Capabilities.takes(keep=capabilities.keep(rules)),
            Seccomp.name: Seccomp.takes(program=filtered.program, detail=filtered.detail),
        },
        required=(),
        record={},
    )


def _rules(environment: Mapping[str, str], connection_file: str) -> tuple[Rule, ...]:
    """Return what lets Python run this one program, and nothing else.

    Nothing but the connection file is required of the machine, because what it lacks may be what the person has to be
    told, and the program runs no code of the notebook's.
    """
    python = interpreter.inspect(sys.executable, environment)
    readable = dict.fromkeys((*python.prefixes, *python.import_path, *python.editable, *python.customize))
    needs = [
        *(baseline.reading(path, "the Python of the server") for path in readable if os.path.exists(path)),
        *(need for need in baseline.SYSTEM if need.path in _LIBRARIES and os.path.exists(need.path)),
    ]
    return (
        *(_rule(need.path, need.rights, need.reason) for need in needs),
        _needed(connection_file, ("read_file",)),
    )


def _needed(path: str, rights: tuple[str, ...]) -> Rule:
    return _rule(path, rights, "the connection to Jupyter")._replace(required=True)


def _rule(path: str, rights: tuple[str, ...], reason: str) -> Rule:
    access = Access.READ_WRITE if "make_sock" in rights else Access.READ_ONLY
    return Rule(path=path, access=access, rights=rights, origin=Origin.RUNTIME_BASELINE, reason=reason)


def _environment(environment: Mapping[str, str], parent: int, what: str, reason: str, language: str) -> dict[str, str]:
    return {
        **{name: value for name, value in environment.items() if name == "LD_LIBRARY_PATH"},
        "JPY_PARENT_PID": str(parent),
        WHAT_VARIABLE: what,
        REASON_VARIABLE: reason.replace("\0", "")[:_LONGEST_REASON],
        LANGUAGE_VARIABLE: language,
    }
