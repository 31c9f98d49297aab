"""Whether CUDA works in a confined kernel, for scripts: start one as the server would and let it check its GPUs.

The kernel is a new one with a new home, in an empty folder: what lies beside notebooks, or in the home of their
kernels, has no way to answer in its place. Of the policy and the GPUs is told what this side planned and the launcher
reported, not what the kernel says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openshell_kernel.errors import LaunchError
from openshell_kernel.policy.effective import GpuRequest
from openshell_kernel.server.fresh_kernel import fresh_kernel, outcome, printed

if TYPE_CHECKING:
    from jupyter_client.manager import KernelManager

    from openshell_kernel.policy.effective import EffectivePolicy

# The check itself gives up after two minutes, and tells why.
_CHECK_SECONDS = 180.0
_CELL = "%policy gpus --check --json"
_STEP = ("step", "ok", "detail", "hint")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What is known of a kernel, and what it found out.

    `policy`, `sandbox` and `gpus` are a line each: the policy's source, what enforces it and which GPUs were given.
    `given` tells whether any was, and `steps` are what the kernel tried.
    """

    policy: str
    sandbox: str
    gpus: str
    given: bool
    ok: bool
    steps: tuple[dict[str, Any], ...]


def check(*, kernel: str, folder: str, policy: str | None = None) -> Result:
    """Start a kernel with the policy of a folder's notebooks, let it check its GPUs, and end it.

    `policy` replaces what the server's configuration names; what the kernelspec names counts all the same.

    Raises:
        OpenShellError: the kernel did not start; the message is the one that Jupyter's users see.
    """
    with fresh_kernel(kernel=kernel, folder=folder, policy=policy) as manager:
        return _result(manager)


def _result(manager: KernelManager) -> Result:
    effective, report = outcome(manager)
    steps = _ask(manager) if effective.selection.granted else ()
    return Result(
        policy=effective.source,
        sandbox=f"enforced, Landlock ABI {report.abi}" if report.enforced else f"NOT ENFORCED: {report.reason}",
        gpus=_gpus(effective),
        given=effective.selection.granted,
        ok=bool(steps) and all(step["ok"] is True for step in steps),
        steps=steps,
    )


def _gpus(effective: EffectivePolicy) -> str:
    hardware, selection = effective.hardware, effective.selection
    if not selection.granted:
        return (
            "none: the policy says request: none"
            if selection.request is GpuRequest.NONE
            else f"none: {hardware.detail}"
        )
    return f"{', '.join(selection.devices) or 'all'} of {len(hardware.gpus)}: {hardware.detail}"


def _ask(manager: KernelManager) -> tuple[dict[str, Any], ...]:
    """Return the steps of the kernel's check."""
    text = printed(manager, _CELL, name=_CELL, seconds=_CHECK_SECONDS)
    try:
        return tuple({name: step[name] for name in _STEP} for step in json.loads(text)["steps"])
    except (ValueError, KeyError, TypeError) as error:
        raise LaunchError(f"the kernel gave no answer: {error}; try {_CELL} in a notebook") from None
