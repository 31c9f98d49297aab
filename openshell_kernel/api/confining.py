"""The calling process itself, confined for ever."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from openshell_kernel.api import planning
from openshell_kernel.base.paths import is_within
from openshell_kernel.errors import ConfinementError
from openshell_kernel.gpu import discovery
from openshell_kernel.sandbox.enforcing import context, enforce
from openshell_kernel.sandbox.layers.capabilities import Capabilities
from openshell_kernel.sandbox.layers.core_dumps import CoreDumps
from openshell_kernel.sandbox.layers.identity import Identity
from openshell_kernel.sandbox.layers.landlock import Landlock
from openshell_kernel.sandbox.layers.no_new_privs import NoNewPrivs
from openshell_kernel.sandbox.layers.seccomp import Seccomp
from openshell_kernel.sandbox.layers.table import LAYERS
from openshell_kernel.sandbox.layers.tunables import Tunables, granting, proc_mounts
from openshell_kernel.server.dirs.private_dir import PrivateDir
from openshell_kernel.server.planning.pipeline import make_plan
from openshell_kernel.server.process import janitor
from openshell_kernel.server.process.ending import Ending

if TYPE_CHECKING:
    from openshell_kernel.api.planning import AnyPolicy
    from openshell_kernel.sandbox.plan import LaunchPlan
    from openshell_kernel.sandbox.report import Report
    from openshell_kernel.server.planning.pipeline import Planned

_APPLIED = frozenset(layer.name for layer in (Identity, Capabilities, CoreDumps, NoNewPrivs, Landlock, Seccomp))
"""What can be done to a process that runs already. The others need mounts, a session or a keeper from the start."""

_NOT_HERE = "a running process cannot be given it; start a program with run"
_THREAD_SECONDS = 5.0
_PAUSE = 0.005


def confine(policy: AnyPolicy | None = None) -> Report:
    """Confine the calling process, and all that it starts from now on. Nothing takes that back.

    >>> import openshell_kernel
    >>> report = openshell_kernel.confine("policy.yaml")
    >>> report.enforced
    True
    >>> open("/etc/shadow")
    Traceback (most recent call last):
    ...
    PermissionError: [Errno 13] Permission denied: '/etc/shadow'
    >>> [layer.name for layer in report.layers if layer.status.value == "absent"]
    ['processes', 'terminal', 'keeper']

    What this process may do with files, signals, capabilities and system calls is restricted as for a kernel, with what
    its Python imports from and the working directory, where that is safe. HOME, TMPDIR and the variables for caches
    lead into private folders from now on. What it has open stays open, and what it has in memory, secrets of its
    environment too, stays there; what it started before is not confined. For all layers, start a program with `run`.

    Call it early: libraries start threads, and Landlock would confine only one.

    Args:
        policy: a policy, or the path of its file; by default the one that counts for notebooks in this folder.

    Returns:
        What was achieved. Layers that a running process cannot be given are listed as absent, with what stays open.

    Raises:
        PolicyError: the policy cannot be used. This and the next leave the process as it was.
        ConfinementError: there are other threads, or a layer that is required cannot be applied. Once a layer is in
            force, the message says so: the process should end.
    """
    _check_single_threaded()
    private = PrivateDir()
    with contextlib.ExitStack() as undo:
        undo.callback(private.remove)
        request = planning.request(
            [sys.executable], policy, cwd=None, environment=os.environ, private=private, mounts=False
        )
        planned = planning.wait_for(make_plan(request))
        if planned.claim is not None:
            undo.callback(planned.claim.release)
        _check_controls(planned.plan)
        _wait_for_threads()
        _check_single_threaded()
        _leave_janitors(planned, private)
        undo.pop_all()
    report = _enforce(planned.plan)
    _lead_to_private_folders(planned.plan, private)
    return report


def _check_single_threaded() -> None:
    count = len(os.listdir("/proc/self/task"))
    if count != 1:
        raise ConfinementError(
            f"{count} threads run in this process, and Landlock would confine only one; call confine before "
            "threads start, which NumPy and other libraries do on import, or start a program with run"
        )


def _check_controls(plan: LaunchPlan) -> None:
    """Make sure that root is not left the controls of the machine in /proc, which mounts keep from a kernel."""
    identity = plan.layers.get(Identity.name)
    stays_root = os.geteuid() == 0 and (identity is None or identity.uid == 0)
    found = granting(plan.rules, proc_mounts())
    if stays_root and found:
        raise ConfinementError(
            f"{found[0].path}: root may write the controls of the whole machine there, and a running process gets "
            "no mounts that make them read-only; list /proc in read_only, with jupyter: {gpu: "
            "{request: none}} if there are GPUs, or start a program with run, or call confine as an "
            "ordinary user"
        )


def _wait_for_threads() -> None:
    """Wait for those that planning has started: they end by themselves, and so does what asks the driver."""
    discovery.end()
    deadline = time.monotonic() + _THREAD_SECONDS
    while len(os.listdir("/proc/self/task")) != 1 and time.monotonic() < deadline:
        time.sleep(_PAUSE)


def _leave_janitors(planned: Planned, private: PrivateDir) -> None:
    """Leave processes behind that remove the private folder, and free the GPUs, when this one has ended.

    They are nobody's children, so that this process has none that it did not start.
    """
    hearing, speaking = os.pipe()
    ending = Ending(os.pidfd_open(os.getpid()), hearing, planned.effective.selection.own_nodes)
    claim = planned.claim
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        # `speaking` stays open as long as this process and its forks live.
        return
    try:
        os.close(speaking)
        janitor.start(ending, planned.launcher_environment, keep=private.descriptor(), path=str(private.path))
        if claim is not None:
            janitor.start(ending, planned.launcher_environment, keep=claim.descriptor(), path=claim.path)
    finally:
        os._exit(0)


def _enforce(plan: LaunchPlan) -> Report:
    """Apply what can be applied here, and report the rest as absent, in the order of the table.

    Raises:
        ConfinementError: a layer cannot be applied. Others may be in force, and the message says so.
    """
    identity = plan.layers.get(Identity.name)
    here = {name: parameters for name, parameters in plan.layers.items() if name in _APPLIED}
    # It makes no mounts, and looks whether the controls could be written: `_check_controls` has seen to the rules.
    here[Tunables.name] = plan.layers[Tunables.name]._replace(protect=False)
    try:
        done = enforce(
            here,
            tuple(name for name in plan.required if name in here),
            context(
                program=plan.argv[0],
                cwd=plan.cwd,
                temporary=plan.environment.get("TMPDIR"),
                ending=None,
                uid=None if identity is None else identity.uid,
                rules=plan.rules,
            ),
        )
    except (ConfinementError, OSError) as error:
        raise ConfinementError(f"{error}. Part of the sandbox may be in force already: end this process") from None
    reports = (done.layer(name) or LAYERS[name].absent(_NOT_HERE) for name in LAYERS if name in plan.layers)
    return done._replace(layers=tuple(reports))


def _lead_to_private_folders(plan: LaunchPlan, private: PrivateDir) -> None:
    home = plan.environment["HOME"]
    for name, value in plan.environment.items():
        if is_within(value, str(private.path)) or is_within(value, home):
            os.environ[name] = value
    # Python has looked where temporary files are to be when this process was not confined yet.
    tempfile.tempdir = None
