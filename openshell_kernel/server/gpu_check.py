"""Whether CUDA works in a confined kernel, for scripts: start one as the server would and let it check its GPUs.

Its home is a new one: what earlier notebooks of the folder left in theirs runs when a kernel starts, and could answer.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_client.manager import KernelManager
from jupyter_core.application import JupyterApp

from openshell_kernel.errors import LaunchError, OpenShellError

if TYPE_CHECKING:
    from traitlets.config import Config

_READY_SECONDS = 60.0
# The check itself gives up after two minutes, and tells why.
_CHECK_SECONDS = 180.0
_CELL = "%policy gpus --check --json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a kernel found out: its policy's source, the GPUs in a line, whether it was given any, and the steps."""

    policy: str
    gpus: str
    given: bool
    ok: bool
    steps: tuple[dict[str, Any], ...]


def check(*, kernel: str, folder: str, policy: str | None = None) -> Result:
    """Start a kernel in a folder, let it check its GPUs, and end it.

    `policy` replaces what the server's configuration names; what the kernelspec names counts all the same.

    Raises:
        OpenShellError: the kernel did not start; the message is the one that Jupyter's users see.
    """
    try:
        manager = KernelManager(kernel_name=kernel, config=_configuration(policy))
        manager.start_kernel(cwd=folder)
    except OpenShellError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever else a client of Jupyter meets there
        raise LaunchError(f"the kernel {kernel!r} was not started: {error}; see `jupyter kernelspec list`") from None
    try:
        return _ask(manager)
    finally:
        manager.shutdown_kernel(now=True)


def _configuration(policy: str | None) -> Config:
    """Return the configuration of Jupyter's server, in which the operator's settings stand, with what is changed."""
    application = JupyterApp(config_file_name="jupyter_server_config")
    application.load_config_file()
    config = copy.deepcopy(application.config)
    config.OpenShellProvisioner.home = "ephemeral"
    if policy is not None:
        config.OpenShellProvisioner.policy = policy
    return config


def _ask(manager: KernelManager) -> Result:
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
                f"the kernel printed no result{complaint and f', but {complaint!r}'}; see that --kernel names "
                f"an OpenShell GPU kernel, or try {_CELL} in a notebook"
            )
        # What a driver library prints comes before.
        data = json.loads(text[text.index("{") :])
        return Result(**{**data, "steps": tuple(data["steps"])})
    except (RuntimeError, TimeoutError, ValueError, KeyError, TypeError) as error:
        raise LaunchError(f"the kernel gave no answer: {error}; try {_CELL} in a notebook") from None
    finally:
        client.stop_channels()
