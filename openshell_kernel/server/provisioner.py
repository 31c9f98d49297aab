"""The kernel provisioner: through it Jupyter starts, restarts and cleans up after "OpenShell GPU" kernels."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import importlib.metadata
import json
import os
import signal
import sys
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from jupyter_core.paths import jupyter_runtime_dir
from traitlets import Bool, Dict, Enum, Float, TraitError, Unicode

from openshell_kernel.base import wire
from openshell_kernel.base.threads import run_in_thread
from openshell_kernel.errors import ConfigurationError, ConfinementError, LaunchError, OpenShellError
from openshell_kernel.policy.effective import HomeKind
from openshell_kernel.policy.model import ConflictsPolicy, EnvironmentPolicy
from openshell_kernel.sandbox.report import Report
from openshell_kernel.server.answers import answer, answered
from openshell_kernel.server.dirs.private_dir import PrivateDir, remove_abandoned
from openshell_kernel.server.jupyter_compat import forget_failed_start, root_folder
from openshell_kernel.server.planning.command import LAUNCHER
from openshell_kernel.server.planning.loading import load_policy, trusted_environment
from openshell_kernel.server.planning.pipeline import make_plan
from openshell_kernel.server.planning.request import Connection, KernelRequest
from openshell_kernel.server.process import arguments, janitor, keys, log_lines
from openshell_kernel.server.process.ending import holding, of_child
from openshell_kernel.server.process.launcher_pipes import LauncherPipes
from openshell_kernel.server.process.logs import server_logs
from openshell_kernel.server.process.outcome import log_report
from openshell_kernel.server.process.output import Output
from openshell_kernel.server.settings import FORMER_TRAITS, Settings, checked, requested_gpus, required_layers
from openshell_kernel.server.stub.plan import stub_plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jupyter_client.connect import KernelConnectionInfo
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import KernelManager

    from openshell_kernel.gpu.claims import Claim
    from openshell_kernel.policy.effective import EffectivePolicy
    from openshell_kernel.server.planning.loading import LoadedPolicy
    from openshell_kernel.server.planning.pipeline import Planned
    from openshell_kernel.server.process.ending import Ending

_REPORT_SECONDS = 60.0
_SOCKET_SECONDS = 10.0
_POLL_SECONDS = 0.005
_STOP_SECONDS = 5.0
_GIVEN = frozenset({"kernel_id", "kernel_spec", "parent"})
"""What Jupyter's KernelProvisionerFactory adds to the kernelspec's configuration."""

_CONFIGURATION = "c.OpenShellProvisioner, in Jupyter's configuration"
# Jupyter's launch arguments that the launcher itself is given otherwise.
_OWN = ("cwd", "env")


class OpenShellProvisioner(LocalProvisioner):
    """Starts a kernel under an OpenShell policy, confined by Landlock before any of its code runs.

    Configure it for one kernelspec, in `metadata.kernel_provisioner.config` of its kernel.json, or for all, as
    `c.OpenShellProvisioner` in Jupyter's configuration files.
    """

    policy = Unicode(
        None,
        allow_none=True,
        help="Absolute path of the policy file, for every notebook. Without it: OPENSHELL_SANDBOX_POLICY, then a "
        "trusted openshell-policy.yaml near the notebook, then the user's openshell/policy.yaml, then "
        "/etc/openshell/policy.yaml, then the built-in policy.",
    ).tag(config=True)
    require_policy = Bool(
        False,
        help="Start no kernel without a policy of the operator's: this trait `policy`, OPENSHELL_SANDBOX_POLICY or "
        "/etc/openshell/policy.yaml. The policies of users and near notebooks do not count then, and instead of the "
        "built-in one nothing starts.",
    ).tag(config=True)
    required = Dict(
        help="Which layers of protection a kernel must have: {'seccomp': False} starts one where seccomp cannot be "
        "enforced, and says what stays open; {'processes': True} refuses where it cannot hide other processes. "
        "Landlock, seccomp, and what protects the machine from a kernel of root's are required by default. A policy "
        "that says hard_requirement requires Landlock whatever stands here.",
    ).tag(config=True)
    discovery_timeout = Float(
        5.0,
        help="Seconds that looking for GPUs may take before the kernel starts without their names. The driver is asked "
        "further, and a kernel that starts later has its answer.",
    ).tag(config=True)
    required_discovery_timeout = Float(
        45.0,
        help="The same where the policy requires GPUs, so that the start is refused without an answer. Without "
        "persistence mode a driver takes 5 to 30 seconds.",
    ).tag(config=True)
    environment = Dict(
        help="Environment variables for every kernel, as in the policy's jupyter.environment: {'pass': ['WANDB_*'], "
        "'set': {'HF_HUB_OFFLINE': '1'}}. What is set here beats the policy. The `env` of kernel.json passes as well.",
    ).tag(config=True)
    home = Enum(
        [kind.value for kind in HomeKind],
        None,
        allow_none=True,
        help="Which home every kernel gets, whatever its policy's jupyter.home says: project keeps one for the "
        "notebooks of a folder, ephemeral throws it away with the kernel.",
    ).tag(config=True)
    baseline_conflicts = Dict(
        help="What happens where a policy lists a path read-only that a baseline wants read-write, as in the policy's "
        "jupyter.baseline_conflicts: {'mode': 'reject_unlisted', 'allow_promotion': ['/proc']}. A policy can be "
        "stricter than this and never looser. Where this is empty, the policy alone decides.",
    ).tag(config=True)
    gpus = Dict(
        help="What every kernel asks of GPUs, as in the policy's jupyter.gpu, which does not count then: {'count': 1, "
        "'request': 'required'}. Where this is empty, the server's variable OPENSHELL_SANDBOX_GPUS, which has the same "
        "as JSON, and then the policy decides.",
    ).tag(config=True)
    gpu_claims = Unicode(
        None,
        allow_none=True,
        help="Absolute path of the folder that records which running kernel holds which GPU. By default one that all "
        "users of the machine share, /run/lock or /var/tmp; name one that is mounted into all of them where users' "
        "servers run in containers. It must be writable for everybody, with the sticky bit (mode 1777).",
    ).tag(config=True)
    transport = Enum(
        ["ipc", "tcp"],
        "ipc",
        help="How Jupyter talks to the kernel: ipc uses Unix sockets in a private folder, tcp ports of the loopback "
        "interface.",
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - the traits and their values
        """Check the kernelspec's and Jupyter's configuration: the base class only warns of a key that it does not know.

        Called by Jupyter's KernelProvisionerFactory with the keys of `metadata.kernel_provisioner.config`.

        Raises:
            ConfigurationError: an unknown key or a wrong value.
        """
        own = set(kwargs) - _GIVEN
        place = "kernel.json, metadata.kernel_provisioner.config" if own else _CONFIGURATION
        try:
            self._check(own)
            super().__init__(**kwargs)
            place = _CONFIGURATION
            self._check(self.config.get("OpenShellProvisioner", {}))
        except (ConfigurationError, TraitError) as error:
            forget_failed_start(kwargs.get("parent"), kwargs.get("kernel_id"))
            in_server = root_folder(kwargs.get("parent")) is not None
            raise answer(ConfigurationError(f"{place}: {error}"), in_server=in_server) from None
        log_lines.protect(self.log)
        self.connection_info = {}
        self._loaded: LoadedPolicy | None = None
        self._private: PrivateDir | None = None
        self._output: Output | None = None
        self._claim: Claim | None = None
        self._ending: Ending | None = None
        self._clients: keys.Clients
        self._has_new_key = False
        self._remove_private: weakref.finalize[..., Any] | None = None
        # Why this start has to be refused, if it was found out before the launch.
        self._refusal: Exception | None = None
        # How the kernel was last started: not None means that it ran before, and this is a restart.
        self._last: Planned | None = None
        self._report: Report | None = None

    @answered
    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - Jupyter's launch arguments
        """Load the policy and prepare Jupyter's side of the connection.

        Called by KernelManager before every start and restart, on the same instance; what it returns goes to
        `launch_kernel`. A bad policy is refused here, before anything is made; at a restart, `launch_kernel` tells.
        A launch argument `policy_folder` names the folder whose notebooks' policy counts, if it is not the `cwd`.

        Raises:
            PolicyError: the policy cannot be used.
        """
        self._loaded, self._refusal = None, None
        try:
            self._loaded = self._load(_folder(kwargs), kwargs.pop("policy_folder", None))
        except Exception as error:
            if self._last is None:
                forget_failed_start(self._manager, self.kernel_id)
                raise
            self._refusal = error
        try:
            await self._connect()
            return await super().pre_launch(**kwargs)
        except BaseException:
            # Held since the kernel last ran, and nothing is left that could end.
            self._release_gpus()
            await self._forget()
            raise

    @answered
    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:  # noqa: ANN401
        """Plan the sandbox, start the launcher and return when the confined kernel listens.

        Called by KernelManager after `pre_launch`. Whatever fails, nothing of it is left behind. When a restart
        fails, the refusal kernel is started: an error would be logged, and the person would wait for ever.

        Raises:
            ConfinementError: the sandbox cannot be built; the message is the launcher's.
            LaunchError: the process died, or did not answer in time.
        """
        try:
            return await self._launch(cmd, **kwargs)
        except BaseException as error:
            last = self._last if isinstance(error, Exception) else None
            try:
                await self._stop()
            finally:
                # Also where this is cancelled a second time.
                self._release_gpus()
                if last is None:
                    await self._forget()
            if last is None or not isinstance(error, Exception):
                raise
            return await self._stand_in(last, error, **kwargs)

    async def shutdown_requested(self, restart: bool = False) -> None:
        """Keep the kernel's GPUs for a restart. Called by KernelManager when it has asked the kernel to end."""
        await super().shutdown_requested(restart=restart)
        self._keep_gpus()

    async def kill(self, restart: bool = False) -> None:
        """Kill the kernel, and keep its GPUs until it is clear whether it is restarted. Called by KernelManager."""
        self._keep_gpus()
        await super().kill(restart=restart)

    async def terminate(self, restart: bool = False) -> None:
        """Ask the kernel's process to end, and keep its GPUs as `kill` does. Called by KernelManager."""
        self._keep_gpus()
        await super().terminate(restart=restart)

    async def cleanup(self, restart: bool = False) -> None:
        """Remove what the kernel leaves behind. Called by KernelManager after the process has ended.

        What a kernel left must not keep a server from stopping: this raises nothing and does not hold up the loop.
        """
        await super().cleanup(restart=restart)
        await self._all_ended()
        self._end_output()
        if not restart:
            self._release_gpus()
            await self._discard_private()

    def settings(self) -> Settings:
        """Return the traits as the planner takes them.

        Raises:
            ConfigurationError: `required`, `environment`, `baseline_conflicts`, `gpus` or `gpu_claims` is wrong.
        """
        return Settings(
            policy=self.policy,
            require_policy=self.require_policy,
            required=required_layers(self.required),
            discovery_timeout=self.discovery_timeout,
            required_discovery_timeout=self.required_discovery_timeout,
            environment=checked("environment", EnvironmentPolicy, self.environment),
            home=HomeKind(self.home) if self.home else None,
            baseline_conflicts=checked("baseline_conflicts", ConflictsPolicy, self.baseline_conflicts)
            if self.baseline_conflicts
            else None,
            gpus=requested_gpus(self.gpus, os.environ),
            gpu_claims=_absolute("gpu_claims", self.gpu_claims),
        )

    @property
    def outcome(self) -> tuple[EffectivePolicy, Report] | None:
        """The policy that the kernel was last started with and the launcher's report of what was achieved, if it was.

        This is the trusted side's: nothing that runs in the kernel has a say in it.
        """
        return None if self._last is None or self._report is None else (self._last.effective, self._report)

    def _load(self, folder: str, policy_folder: str | None) -> LoadedPolicy:
        loaded = load_policy(self.settings(), folder=policy_folder or folder, root=root_folder(self._manager))
        return loaded if policy_folder is None else dataclasses.replace(loaded, workdir=os.path.realpath(folder))

    @classmethod
    def _check(cls, keys: Iterable[str]) -> None:
        known = set(cls.class_traits(config=True))
        unknown = sorted(set(keys) - known)
        if unknown:
            if unknown[0] in FORMER_TRAITS:
                raise ConfigurationError(f"{unknown[0]} is no longer: {FORMER_TRAITS[unknown[0]]}")
            raise ConfigurationError(f"unknown key {unknown[0]!r}; the keys are {', '.join(sorted(known - {'log'}))}")

    @property
    def _manager(self) -> KernelManager:
        if self.parent is None:
            raise LaunchError("this provisioner has no KernelManager; start the kernel through one")
        return cast("KernelManager", self.parent)

    async def _connect(self) -> None:
        """Lead Jupyter's connection through the private folder, whose name stays the same across restarts."""
        manager = self._manager
        if self._private is None:
            # Beside the loop: what a killed server has left may be much.
            threading.Thread(target=remove_abandoned, name="openshell-sweep", daemon=True).start()
            self._private = PrivateDir()
            # A server that forgets this kernel after a failed restart does not call cleanup.
            self._remove_private = weakref.finalize(self, self._private.remove)
            self._clients = keys.Clients(manager)
        else:
            await run_in_thread(self._private.renew)
            self._has_new_key = keys.renew(manager, self._clients)
        if not manager.connection_file:
            folder = Path(jupyter_runtime_dir())
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            manager.connection_file = str(folder / f"kernel-{self.kernel_id}.json")
        manager.connection_file = str(Path(manager.connection_file).absolute())
        if self.transport == "ipc":
            manager.transport = "ipc"
            manager.cache_ports = False
            manager.ip = self._private.socket_prefix
        if _encrypts(self.kernel_spec) and getattr(manager, "transport_encryption", None) == "disabled":
            # Without it any process that finds the sockets can listen to what the kernel prints.
            manager.transport_encryption = "auto"

    async def _launch(self, cmd: list[str], *, env: dict[str, str], **kwargs: Any) -> KernelConnectionInfo:  # noqa: ANN401
        if self._refusal is not None:
            raise self._refusal
        if self._loaded is None or self._private is None:
            raise LaunchError("launch_kernel was called without pre_launch; start the kernel through a KernelManager")
        # Before a kernel could read them.
        arguments.blank()
        kwargs.pop("cwd", None)
        self._keep_gpus()
        trusted = trusted_environment(self._loaded)
        with contextlib.closing(LauncherPipes()) as channel:
            # It starts while the plan is made, and waits for it.
            info = await self._start_launcher(channel, trusted, **kwargs)
            planned = await make_plan(
                KernelRequest(
                    loaded=self._loaded,
                    settings=self.settings(),
                    trusted=trusted,
                    command=tuple(cmd),
                    # jupyter_client sets it in the environment of the process that it starts, which is the launcher's.
                    environment={**env, "JPY_PARENT_PID": str(os.getpid())},
                    kernelspec_environment=frozenset(self.kernel_spec.env),
                    connection=Connection(
                        file=self._manager.connection_file,
                        encrypted=self._manager.get_connection_info().get("curve_publickey") is not None,
                    ),
                    private=self._private,
                    logs=server_logs(own=self._loaded.root is not None),
                    claim=self._claim,
                    tell=functools.partial(self.log.warning, "OpenShell: %s"),
                )
            )
            if planned.claim is not self._claim:
                self._give_back(self._claim)
                self._claim = planned.claim
            claim = self._claim
            entrusting: asyncio.Future[None] | None = None
            if claim is not None and self._ending is not None:
                self._ending.nodes = planned.effective.selection.own_nodes
                claim.keep_until(self._ending)
                # Beside the launcher's work, which takes longer.
                entrusting = run_in_thread(janitor.entrust, claim, self._ending, trusted)
            self._log_decisions(planned.effective)
            self._report = await self._carry_out(planned, channel)
            log_report(self.log, cast("str", self.kernel_id), planned.effective.source, self._report)
            if entrusting is not None:
                await entrusting
        self.cwd = self._loaded.workdir
        await self._listening()
        if self._claim is not None:
            # The process may end without anybody's cleaning up.
            self._claim.follow()
        self._last = dataclasses.replace(planned, claim=None)
        return info

    async def _stand_in(self, last: Planned, error: Exception, **kwargs: Any) -> KernelConnectionInfo:  # noqa: ANN401
        """Start the refusal kernel in the place of a kernel that could not be restarted.

        Where even that fails, Jupyter is told why the restart did.
        """
        unforeseen = None if isinstance(error, OpenShellError) else error
        self.log.error("OpenShell: kernel %s was not restarted: %s", self.kernel_id, error, exc_info=unforeseen)
        try:
            planned = stub_plan(
                last,
                reason=str(error) or repr(error),
                language=getattr(self.kernel_spec, "language", "python"),
                connection_file=self._manager.connection_file,
                sockets=os.path.dirname(self._manager.ip) if self.transport == "ipc" else None,
            )
            with contextlib.closing(LauncherPipes()) as channel:
                options = {name: kwargs[name] for name in kwargs if name not in _OWN}
                info = await self._start_launcher(channel, planned.launcher_environment, **options)
                await self._carry_out(planned, channel)
            await self._listening()
        except BaseException as second:
            self.log.error("OpenShell: nor could the kernel that would tell so be started: %s", second)  # noqa: TRY400 - its trace tells no more
            await self._stop()
            await self._forget()
            # Jupyter forgets a kernel that cannot be restarted, without a call of cleanup.
            await self._discard_private()
            raise error from second
        return info

    async def _start_launcher(
        self,
        channel: LauncherPipes,
        environment: Mapping[str, str],
        **kwargs: Any,  # noqa: ANN401 - Jupyter's launch arguments
    ) -> KernelConnectionInfo:
        plan, report, ending = map(str, channel.descriptors)
        try:
            info = await super().launch_kernel(
                [sys.executable, *LAUNCHER, "--plan-fd", plan, "--report-fd", report, "--ending-fd", ending],
                **{**self._standard_streams(), **kwargs, "pass_fds": channel.descriptors},
                # jupyter_client writes into it.
                env=dict(environment),
                cwd="/",
            )
            self._ending = of_child(cast("int", self.pid), channel.take_ending())
            return info
        finally:
            channel.started()
            if self._output is not None:
                self._output.started()

    def _standard_streams(self) -> dict[str, int]:
        """Return where the kernel's stdout and stderr go, unless who starts it says otherwise."""
        self._end_output()
        self._output = Output(kernel_id=self.kernel_id or "")
        return {"stdout": self._output.writing_end, "stderr": self._output.writing_end}

    def _end_output(self) -> None:
        if self._output is not None:
            self._output.close()
            self._output = None

    async def _carry_out(self, planned: Planned, channel: LauncherPipes) -> Report:
        """Give the launcher its plan, wait until it has become the kernel, and return its report.

        Raises:
            ConfinementError, LaunchError: it has not.
        """
        exchanging = channel.exchange(planned.plan.to_bytes())
        try:
            text = await asyncio.wait_for(asyncio.shield(exchanging), _REPORT_SECONDS)
        except asyncio.TimeoutError:
            raise LaunchError(
                f"the launcher did not answer within {_REPORT_SECONDS:.0f} s; a path of the policy may lie on a file "
                "system that hangs"
            ) from None
        try:
            last = json.loads(text.splitlines()[-1])
            report = wire.decode(Report, last["report"]) if last["status"] == "confined" else None
        except (IndexError, ValueError, KeyError, TypeError):
            raise LaunchError(
                f"the launcher died before it reported{self._how_it_ended()}; the server's log has its last words"
            ) from None
        if report is None:
            raise ConfinementError(last["error"])
        return report

    async def _listening(self) -> None:
        """Wait until the kernel has made its sockets: a client that connects earlier loses ZMQ's reconnect interval."""
        paths = [f"{self._manager.ip}-{port}" for port in self._manager.ports] if self.transport == "ipc" else []
        deadline = asyncio.get_running_loop().time() + _SOCKET_SECONDS
        while asyncio.get_running_loop().time() < deadline and not all(map(os.path.exists, paths)):
            if await self.poll() is not None:
                raise LaunchError(
                    f"the kernel died before it listened{self._how_it_ended()}; the server's log has its last words"
                )
            await asyncio.sleep(_POLL_SECONDS)
        if self._has_new_key:
            keys.tell_watch(self._manager, cast("str", self.kernel_id))

    def _how_it_ended(self) -> str:
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
        for conflict in effective.conflicts:
            self.log.info(
                "OpenShell: %s stays read-only, as the policy lists it; the %s wants it read-write: %s",
                conflict.path,
                conflict.origin.value,
                conflict.reason,
            )
        if effective.selection.hold:
            self.log.info("OpenShell: kernel %s holds GPU %s", self.kernel_id, ", ".join(effective.selection.devices))
        for skipped in effective.skipped:
            self.log.warning("OpenShell: %s is not granted (%s): %s", skipped.path, skipped.origin.value, skipped.why)
        for notice in effective.notices:
            self.log.warning("OpenShell: %s", notice)

    async def _stop(self) -> None:
        try:
            await self.kill()
            # A process that sleeps in the operating system does not die at once; it must not hold up the server. And
            # jupyter_client's `wait` fails where somebody else, who shuts the kernel down, has waited meanwhile.
            with contextlib.suppress(asyncio.TimeoutError, AttributeError):
                await asyncio.wait_for(self.wait(), _STOP_SECONDS)
            await self._all_ended()
        finally:
            self._end_output()

    async def _all_ended(self) -> None:
        """Give the keeper time to end what the kernel left. Called when the kernel has ended, or was killed."""
        ending, loop = self._ending, asyncio.get_running_loop()
        deadline, pause = loop.time() + _STOP_SECONDS, _POLL_SECONDS
        while ending is not None and not ending.is_over() and loop.time() < deadline:
            await asyncio.sleep(pause)
            pause *= 1.5

    async def _forget(self) -> None:
        """Undo a failed start. After a failed restart clients still know the sockets' folder: it stays."""
        self._manager.cleanup_connection_file()
        if self._last is None:
            await self._discard_private()
            forget_failed_start(self._manager, self.kernel_id)

    def _keep_gpus(self) -> None:
        """Leave it to `cleanup` what becomes of the claim, instead of to the end of the process."""
        if self._claim is not None:
            self._claim.unfollow()

    def _release_gpus(self) -> None:
        claim, self._claim, self._ending = self._claim, None, None
        self._give_back(claim)

    def _give_back(self, claim: Claim | None) -> None:
        """Release a claim; but while a process of the kernel's has a GPU open, it stays."""
        if claim is None:
            return
        ending = claim.unfinished()
        if ending is None:
            claim.release()
            return
        claim.follow()
        self.log.error(
            "OpenShell: GPU %s stays held although kernel %s has ended, because not all that it started has: %s",
            ", ".join(claim.uuids),
            self.kernel_id,
            ", ".join(holding(ending.nodes)) or "a process does not end when it is killed",
        )

    async def _discard_private(self) -> None:
        remove, self._remove_private, self._private = self._remove_private, None, None
        if remove is None:
            return
        try:
            await run_in_thread(remove)
        except RuntimeError:
            # No thread can be started, because the interpreter ends.
            remove()


def _absolute(trait: str, path: str | None) -> str | None:
    if path is not None and not os.path.isabs(path):
        raise ConfigurationError(f"OpenShellProvisioner.{trait}: {path!r} is a relative path; write an absolute one")
    return path


def _encrypts(spec: KernelSpec) -> bool:
    """Return whether the kernel can speak CurveZMQ: ours can, since ipykernel 7.3."""
    if "supported_encryption" not in spec.metadata:
        return False
    major, minor = importlib.metadata.version("ipykernel").split(".")[:2]
    return (int(major), int(minor)) >= (7, 3)


def _folder(kwargs: Mapping[str, Any]) -> str:
    """Return the folder that Jupyter starts a kernel in, as it is named."""
    return str(kwargs.get("cwd") or os.getcwd())
