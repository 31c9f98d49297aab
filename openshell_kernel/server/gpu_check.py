"""Whether CUDA works in a confined kernel, for scripts: start one as the server would and let it check its GPUs.

The kernel is a new one with a new home, in an empty folder: what lies beside notebooks, or in the home of their
kernels, has no way to answer in its place. Of the policy and the GPUs is told what this side planned and the launcher
reported, not what the kernel says.
"""

from __future__ import annotations

import copy
import json
import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_client.manager import KernelManager
from jupyter_core.application import JupyterApp

from openshell_kernel.errors import LaunchError, OpenShellError
from openshell_kernel.policy.effective import GpuRequest, HomeKind
from openshell_kernel.server.kernelspecs import PROVISIONER
from openshell_kernel.server.provisioner import OpenShellProvisioner

if TYPE_CHECKING:
    from traitlets.config import Config

    from openshell_kernel.policy.effective import EffectivePolicy

_READY_SECONDS = 60.0
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
    with tempfile.TemporaryDirectory() as empty:
        # Who runs as another user has to get there.
        os.chmod(empty, 0o755)  # noqa: S103 - it is empty
        try:
            manager = KernelManager(kernel_name=kernel, config=_configuration(policy))
            _check_nobody_else(manager)
            manager.start_kernel(cwd=empty, policy_folder=folder)
        except OpenShellError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever else a client of Jupyter meets there
            raise LaunchError(
                f"the kernel {kernel!r} was not started: {error}; see `jupyter kernelspec list`"
            ) from None
        try:
            return _result(manager)
        finally:
            manager.shutdown_kernel(now=True)


def _check_nobody_else(manager: KernelManager) -> None:
    metadata = manager.kernel_spec.metadata if manager.kernel_spec else {}
    chosen = metadata.get("kernel_provisioner", {}).get("provisioner_name")
    if chosen != PROVISIONER:
        raise LaunchError(
            f"the kernel {manager.kernel_name!r} has no policy: give --kernel the name of an OpenShell GPU kernel"
        )


def _result(manager: KernelManager) -> Result:
    outcome = manager.provisioner.outcome if isinstance(manager.provisioner, OpenShellProvisioner) else None
    if outcome is None:
        raise LaunchError(f"the kernel {manager.kernel_name!r} was not started by OpenShell's provisioner")
    effective, report = outcome
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


def _configuration(policy: str | None) -> Config:
    """Return the configuration of Jupyter's server, in which the operator's settings stand, with what is changed."""
    application = JupyterApp(config_file_name="jupyter_server_config")
    application.load_config_file()
    config = copy.deepcopy(application.config)
    config.OpenShellProvisioner.home = HomeKind.EPHEMERAL.value
    if policy is not None:
        config.OpenShellProvisioner.policy = policy
    return config


def _ask(manager: KernelManager) -> tuple[dict[str, Any], ...]:
    """Return the steps of the kernel's check."""
    printed: list[str] = []
    complained: list[str] = []

    def collect(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            (printed if content["name"] == "stdout" else complained).append(content["text"])

    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=_READY_SECONDS)
        client.execute_interactive(_CELL, output_hook=collect, timeout=_CHECK_SECONDS)
        text = "".join(printed)
        if "{" not in text:
            complaint = " ".join("".join(complained).split())
            raise LaunchError(
                f"the kernel printed no result{complaint and f', but {complaint!r}'}; try {_CELL} in a notebook"
            )
        # What a driver library prints comes before.
        steps = json.loads(text[text.index("{") :])["steps"]
        return tuple({name: step[name] for name in _STEP} for step in steps)
    except (RuntimeError, TimeoutError, ValueError, KeyError, TypeError) as error:
        raise LaunchError(f"the kernel gave no answer: {error}; try {_CELL} in a notebook") from None
    finally:
        client.stop_channels()
