"""The kernel provisioner: through it Jupyter starts, restarts and cleans up after "OpenShell GPU" kernels."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from jupyter_core.paths import jupyter_runtime_dir
from traitlets import Bool, Enum, Float, TraitError, Unicode

from openshell_kernel.errors import ConfigurationError, ConfinementError, LaunchError
from openshell_kernel.server.planning import LAUNCHER, Operator, load_policy, make_plan
from openshell_kernel.server.private import PrivateFolder, remove_tree

if TYPE_CHECKING:
    from jupyter_client.connect import KernelConnectionInfo
    from jupyter_client.manager import KernelManager

    from openshell_kernel.policy.effective import EffectivePolicy
    from openshell_kernel.server.planning import LoadedPolicy, Planned

_REPORT_SECONDS = 60.0
_SOCKET_SECONDS = 10.0
_POLL_SECONDS = 0.005
_STOP_SECONDS = 5.0


class OpenShellProvisioner(LocalProvisioner):
    """Starts a kernel under an OpenShell policy, confined by Landlock before any of its code runs.

    Configure it for one kernelspec, in `metadata.kernel_provisioner.config` of its kernel.json, or for all, as
    `c.OpenShellProvisioner` in Jupyter's configuration files.
    """

    policy = Unicode(
        None,
        allow_none=True,
        help="Absolute path of the policy file. Without it: OPENSHELL_SANDBOX_POLICY, then the user's "
        "openshell/policy.yaml, then /etc/openshell/policy.yaml, then the built-in policy.",
    ).tag(config=True)
    require_landlock = Bool(
        True,
        help="Refuse to start where Landlock is missing. When False, a policy that says best_effort starts WITHOUT "
        "any confinement there, and says so; a policy that says hard_requirement is refused all the same.",
    ).tag(config=True)
    discovery_timeout = Float(
        5.0, help="Seconds that looking for GPUs may take before the kernel starts without their names."
    ).tag(config=True)
    transport = Enum(
        ["ipc", "tcp"],
        "ipc",
        help="How Jupyter talks to the kernel: ipc uses Unix sockets in a private folder, tcp ports of the loopback "
        "interface.",
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - the traits and their values
        """Check the kernelspec's configuration, which the base class would accept in silence.

        Called by Jupyter's KernelProvisionerFactory with the keys of `metadata.kernel_provisioner.config`.

        Raises:
            ConfigurationError: an unknown key or a wrong value.
        """
        known = set(self.class_traits(config=True))
        unknown = sorted(set(kwargs) - known - {"kernel_id", "kernel_spec", "parent"})
        if unknown:
            raise ConfigurationError(
                f"kernel.json, metadata.kernel_provisioner.config: unknown key {unknown[0]!r}; "
                f"the keys are {', '.join(sorted(known - {'log'}))}"
            )
        try:
            super().__init__(**kwargs)
        except TraitError as error:
            raise ConfigurationError(f"kernel.json, metadata.kernel_provisioner.config: {error}") from None
        self.connection_info = {}
        self._loaded: LoadedPolicy | None = None
        self._private: PrivateFolder | None = None
        self._remove_private: weakref.finalize[..., Any] | None = None
        self._running_before = False

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - Jupyter's launch arguments
        """Load the policy and prepare Jupyter's side of the connection.

        Called by KernelManager before every start and restart, on the same instance; what it returns goes to
        `launch_kernel`. A bad policy is refused here, before anything is made.

        Raises:
            PolicyError: the policy cannot be used.
        """
        self._loaded = load_policy(self.operator())
        try:
            self._connect()
            return await super().pre_launch(**kwargs)
        except BaseException:
            self._forget()
            raise

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:  # noqa: ANN401
        """Plan the sandbox, start the launcher and return when the confined kernel listens.

        Called by KernelManager after `pre_launch`. Whatever fails, nothing of it is left behind.

        Raises:
            ConfinementError: the sandbox cannot be built; the message is the launcher's.
            LaunchError: the process died, or did not answer in time.
        """
        try:
            return await self._launch(cmd, **kwargs)
        except BaseException:
            await self._stop()
            self._forget()
            raise

    async def cleanup(self, restart: bool = False) -> None:
        """Remove what the kernel leaves behind. Called by KernelManager after the process has ended."""
        await super().cleanup(restart=restart)
        if not restart:
            self._discard_private()

    def operator(self) -> Operator:
        """Return the traits as the planner takes them."""
        return Operator(
            policy=self.policy, require_landlock=self.require_landlock, discovery_timeout=self.discovery_timeout
        )

    @property
    def _manager(self) -> KernelManager:
        if self.parent is None:
            raise LaunchError("this provisioner has no KernelManager; start the kernel through one")
        return cast("KernelManager", self.parent)

    def _connect(self) -> None:
        """Lead Jupyter's connection through the private folder, which stays the same across restarts."""
        if self._private is None:
            self._private = PrivateFolder()
            # A server that forgets this kernel after a failed restart does not call cleanup.
            self._remove_private = weakref.finalize(self, remove_tree, str(self._private.path))
        manager = self._manager
        if not manager.connection_file:
            folder = Path(jupyter_runtime_dir())
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            manager.connection_file = str(folder / f"kernel-{self.kernel_id}.json")
        manager.connection_file = str(Path(manager.connection_file).absolute())
        if self.transport == "ipc":
            manager.transport = "ipc"
            manager.cache_ports = False
            manager.ip = self._private.socket_prefix

    async def _launch(self, cmd: list[str], *, env: dict[str, str], **kwargs: Any) -> KernelConnectionInfo:  # noqa: ANN401
        if self._loaded is None or self._private is None:
            raise LaunchError("launch_kernel was called without pre_launch; start the kernel through a KernelManager")
        workdir = os.path.realpath(kwargs.pop("cwd", None) or os.getcwd())
        planned = await make_plan(
            self._loaded,
            self.operator(),
            command=cmd,
            # jupyter_client sets it in the environment of the process that it starts, which is the launcher's.
            environment={**env, "JPY_PARENT_PID": str(os.getpid())},
            workdir=workdir,
            connection_file=self._manager.connection_file,
            private=self._private,
        )
        self._log_decisions(planned.effective)
        info = await self._start_launcher(planned, **kwargs)
        self.cwd = workdir
        if self.transport == "ipc":
            await self._listening()
        self._running_before = True
        return info

    async def _start_launcher(self, planned: Planned, **kwargs: Any) -> KernelConnectionInfo:  # noqa: ANN401
        report, report_end = os.pipe()
        try:
            with tempfile.TemporaryFile() as plan_file:
                plan_file.write(planned.plan.to_bytes())
                plan_file.flush()
                arguments = ["--plan-fd", str(plan_file.fileno()), "--report-fd", str(report_end)]
                info = await super().launch_kernel(
                    [sys.executable, *LAUNCHER, *arguments],
                    **{**kwargs, "pass_fds": (plan_file.fileno(), report_end)},
                    env=planned.launcher_environment,
                    cwd="/",
                )
        except BaseException:
            os.close(report)
            raise
        finally:
            os.close(report_end)
        await self._judge(report)
        return info

    async def _judge(self, report: int) -> None:
        """Wait for the launcher's report, which ends when the kernel has been executed or the launcher has died."""
        reading = asyncio.get_running_loop().run_in_executor(None, _read_all, report)
        try:
            text = await asyncio.wait_for(asyncio.shield(reading), _REPORT_SECONDS)
        except asyncio.TimeoutError:
            raise LaunchError(
                f"the launcher did not answer within {_REPORT_SECONDS:.0f} s; a path of the policy may lie on a file "
                "system that hangs"
            ) from None
        try:
            last = json.loads(text.splitlines()[-1])
        except (IndexError, ValueError):
            raise LaunchError(
                f"the launcher died before it reported{self._ending()}; the server's log has its last words"
            ) from None
        if last["status"] != "confined":
            raise ConfinementError(last["error"])
        self._log_confinement(last["confinement"])

    async def _listening(self) -> None:
        """Wait until the kernel has made its sockets: a client that connects earlier loses ZMQ's reconnect interval."""
        paths = [f"{self._manager.ip}-{port}" for port in self._manager.ports]
        deadline = asyncio.get_running_loop().time() + _SOCKET_SECONDS
        while asyncio.get_running_loop().time() < deadline and not all(map(os.path.exists, paths)):
            if await self.poll() is not None:
                raise LaunchError(
                    f"the kernel died before it listened{self._ending()}; the server's log has its last words"
                )
            await asyncio.sleep(_POLL_SECONDS)

    def _ending(self) -> str:
        status = self.process.poll() if self.process else None
        if status is None:
            return ""
        return f" (signal {signal.Signals(-status).name})" if status < 0 else f" (exit status {status})"

    def _log_decisions(self, effective: EffectivePolicy) -> None:
        for promotion in effective.promotions:
            self.log.info(
                "OpenShell: %s is promoted from read-only to read-write (%s): %s",
                promotion.path,
                promotion.origin.value,
                promotion.reason,
            )
        for skipped in effective.skipped:
            self.log.warning("OpenShell: %s is not granted (%s): %s", skipped.path, skipped.origin.value, skipped.why)
        for notice in effective.notices:
            self.log.warning("OpenShell: %s", notice)

    def _log_confinement(self, confinement: dict[str, Any]) -> None:
        if confinement["enforced"]:
            self.log.info("OpenShell: kernel %s is confined by Landlock ABI %s", self.kernel_id, confinement["abi"])
        else:
            self.log.warning("OpenShell: kernel %s is NOT CONFINED: %s", self.kernel_id, confinement["reason"])

    async def _stop(self) -> None:
        await self.kill()
        # A process that sleeps in the operating system does not die at once; it must not hold up the server.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.wait(), _STOP_SECONDS)

    def _forget(self) -> None:
        """Undo a failed start. After a failed restart clients still know the sockets' folder: it stays."""
        self._manager.cleanup_connection_file()
        if not self._running_before:
            self._discard_private()

    def _discard_private(self) -> None:
        if self._remove_private is not None:
            self._remove_private()
        self._private = None


def _read_all(fd: int) -> bytes:
    with open(fd, "rb") as stream:
        return stream.read()
