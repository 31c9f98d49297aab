"""How the refusal kernel is confined: by the launcher, with less than any kernel gets."""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import TYPE_CHECKING

from openshell_kernel.policy import baseline
from openshell_kernel.sandbox.plan import PlanRule
from openshell_kernel.server import interpreter
from openshell_kernel.server.refusal import LANGUAGE_VARIABLE, REASON_VARIABLE
from openshell_kernel.server.runtime import SOCKET_RIGHTS

if TYPE_CHECKING:
    from openshell_kernel.server.planning import Planned

_PROGRAM = ("-I", "-m", "openshell_kernel.server.refusal")
_LIBRARIES = frozenset(
    ("/usr", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom")
)
_LONGEST_REASON = 32768  # characters; an environment variable holds 128 KiB


def refusal_plan(last: Planned, *, reason: str, language: str, connection_file: str, sockets: str | None) -> Planned:
    """Return the plan of the kernel that stands in for one that could not be restarted.

    `last` is the plan with which the kernel last ran: what protects the machine from it stays as it was. But it runs as
    the server's user, who reaches the server's Python, and the sockets whomever they were handed over to. The rules are
    as few as let Python run. Nothing but these is required of the machine, because what it lacks may be what the person
    has to be told, and the program runs no code of the notebook's.

    Raises:
        LaunchError: the server's Python does not run.
    """
    python = interpreter.inspect(sys.executable, last.launcher_environment)
    readable = dict.fromkeys((*python.prefixes, *python.import_path, *python.editable, *python.customize))
    needs = [
        *(baseline.reading(path, "the Python of the server") for path in readable if os.path.exists(path)),
        *(need for need in baseline.SYSTEM if need.path in _LIBRARIES and os.path.exists(need.path)),
    ]
    plan = last.plan._replace(
        argv=(sys.executable, *_PROGRAM, connection_file),
        cwd="/",
        environment={
            **{name: value for name, value in last.launcher_environment.items() if name == "LD_LIBRARY_PATH"},
            "JPY_PARENT_PID": str(os.getpid()),
            REASON_VARIABLE: reason.replace("\0", "")[:_LONGEST_REASON],
            LANGUAGE_VARIABLE: language,
        },
        rules=(
            *(PlanRule(path=need.path, rights=need.rights, required=False) for need in needs),
            PlanRule(path=connection_file, rights=("read_file",), required=True),
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
