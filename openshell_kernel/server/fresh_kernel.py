"""A kernel that is started to be asked one thing: as the server would, with a new home, in an empty folder.

What lies beside notebooks, or in the home of their kernels, has no way to answer in its place.
"""

from __future__ import annotations

import contextlib
import copy
import os
import tempfile
from typing import TYPE_CHECKING, Any

from jupyter_client.manager import KernelManager
from jupyter_core.application import JupyterApp

from openshell_kernel.errors import LaunchError, OpenShellError
from openshell_kernel.server.kernelspecs import PROVISIONER
from openshell_kernel.server.provisioner import OpenShellProvisioner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traitlets.config import Config

    from openshell_kernel.policy.effective import EffectivePolicy
    from openshell_kernel.sandbox.report import Report

_READY_SECONDS = 60.0


@contextlib.contextmanager
def fresh_kernel(*, kernel: str, folder: str, policy: str | None = None) -> Iterator[KernelManager]:
    """Start a kernel with the policy of a folder's notebooks, and end it in the end.

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
            yield manager
        finally:
            manager.shutdown_kernel(now=True)


def outcome(manager: KernelManager) -> tuple[EffectivePolicy, Report]:
    """Return what this side planned, and what the launcher reported.

    Raises:
        LaunchError: the kernel is none of ours.
    """
    found = manager.provisioner.outcome if isinstance(manager.provisioner, OpenShellProvisioner) else None
    if found is None:
        raise LaunchError(f"the kernel {manager.kernel_name!r} was not started by OpenShell's provisioner")
    return found


def printed(manager: KernelManager, cell: str, *, name: str, seconds: float) -> str:
    """Run a cell that prints an object as JSON, and return what was printed from there on.

    `name` is what people could try themselves in a notebook.

    Raises:
        LaunchError: the kernel printed none, or not in time.
    """
    told: list[str] = []
    complained: list[str] = []

    def collect(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            (told if content["name"] == "stdout" else complained).append(content["text"])

    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=_READY_SECONDS)
        client.execute_interactive(cell, output_hook=collect, timeout=seconds)
    except (RuntimeError, TimeoutError) as error:
        raise LaunchError(f"the kernel gave no answer: {error}; try {name} in a notebook") from None
    finally:
        client.stop_channels()
    text = "".join(told)
    if "{" not in text:
        complaint = " ".join("".join(complained).split())
        raise LaunchError(
            f"the kernel printed no result{complaint and f', but {complaint!r}'}; try {name} in a notebook"
        )
    # What a driver library prints comes before.
    return text[text.index("{") :]


def _check_nobody_else(manager: KernelManager) -> None:
    metadata = manager.kernel_spec.metadata if manager.kernel_spec else {}
    chosen = metadata.get("kernel_provisioner", {}).get("provisioner_name")
    if chosen != PROVISIONER:
        raise LaunchError(
            f"the kernel {manager.kernel_name!r} has no policy: give --kernel the name of an OpenShell GPU kernel"
        )


def _configuration(policy: str | None) -> Config:
    """Return the configuration of Jupyter's server, in which the operator's settings stand, with what is changed."""
    application = JupyterApp(config_file_name="jupyter_server_config")
    application.load_config_file()
    config = copy.deepcopy(application.config)
    config.OpenShellProvisioner.home = "ephemeral"
    if policy is not None:
        config.OpenShellProvisioner.policy = policy
    return config
