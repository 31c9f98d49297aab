"""How the refusal kernel is confined: by the launcher, with less than any kernel gets."""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import TYPE_CHECKING

from openshell_kernel.policy import baseline
from openshell_kernel.sandbox.plan import LaunchPlan, PlanRule
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
_LONGEST_REASON = 32768  # characters; an environment variable holds 128 KiB


def stub_plan(last: Planned, *, reason: str, language: str, connection_file: str, sockets: str | None) -> Planned:
    """Return the plan of the kernel that stands in for one that could not be restarted.

    `last` is the plan with which the kernel last ran: what protects the machine from it stays as it was. But it runs as
    the server's user, who reaches the server's Python, and the sockets whomever they were handed over to.

    Raises:
        LaunchError: the server's Python does not run.
    """
    plan = last.plan._replace(
        argv=(sys.executable, *_PROGRAM, connection_file),
        cwd="/",
        environment=_environment(last.launcher_environment, os.getpid(), "restarted", reason, language),
        rules=(
            *_rules(last.launcher_environment, connection_file),
            *(PlanRule(path=path, rights=SOCKET_RIGHTS, required=True) for path in (sockets,) if path),
        ),
        require_landlock=False,
        require_seccomp=False,
        proc="leave",
        identity=None,
        keep_capabilities=("dac_override",) if last.plan.identity else last.plan.keep_capabilities,
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
        *(PlanRule(path=path, rights=("make_sock",), required=True) for path in (sockets,) if path),
    )
    filtered = seccomp_filter.load(required=False)
    return LaunchPlan(
        argv=(sys.executable, *_PROGRAM, connection_file),
        cwd="/",
        environment=_environment(environment, os.getppid(), "started", reason, "python"),
        rules=rules,
        require_landlock=False,
        require_seccomp=False,
        seccomp=filtered.program,
        seccomp_detail=filtered.detail,
        keep_capabilities=capabilities.keep(rules),
        record={},
    )


def _rules(environment: Mapping[str, str], connection_file: str) -> tuple[PlanRule, ...]:
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
        *(PlanRule(path=need.path, rights=need.rights, required=False) for need in needs),
        PlanRule(path=connection_file, rights=("read_file",), required=True),
    )


def _environment(environment: Mapping[str, str], parent: int, what: str, reason: str, language: str) -> dict[str, str]:
    return {
        **{name: value for name, value in environment.items() if name == "LD_LIBRARY_PATH"},
        "JPY_PARENT_PID": str(parent),
        WHAT_VARIABLE: what,
        REASON_VARIABLE: reason.replace("\0", "")[:_LONGEST_REASON],
        LANGUAGE_VARIABLE: language,
    }
