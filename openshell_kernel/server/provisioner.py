"""The kernel provisioner: through it Jupyter starts, restarts and cleans up after "OpenShell GPU" kernels."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import os
import signal
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, cast

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from openshell_kernel.base import wire
from openshell_kernel.base.threads import run_in_thread
from openshell_kernel.errors import ConfigurationError, LaunchError, OpenShellError
from openshell_kernel.sandbox.report import snapshot
from openshell_kernel.server.answers import answer, answered
from openshell_kernel.server.dirs.private_dir import PrivateDir, remove_abandoned
from openshell_kernel.server.jupyter_compat import forget_failed_start, root_folder
from openshell_kernel.server.planning.command import LAUNCHER
from openshell_kernel.server.planning.loading import load_policy, trusted_environment
from openshell_kernel.server.planning.pipeline import make_plan
from openshell_kernel.server.planning.request import Connection, KernelRequest
from openshell_kernel.server.process import arguments, connecting, keys, log_lines
from openshell_kernel.server.process.ending import of_child
from openshell_kernel.server.process.held_gpus import HeldGpus
from openshell_kernel.server.process.launcher_pipes import LauncherPipes
from openshell_kernel.server.process.logs import server_logs
from openshell_kernel.server.process.output import Output
from openshell_kernel.server.process.records import recorded
from openshell_kernel.server.process.start_log import log_decisions, log_report
from openshell_kernel.server.stub.plan import stub_plan
from openshell_kernel.server.traits import IN_CONFIGURATION, IN_KERNELSPEC, SettingsTraits, located

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AsyncExitStack

    from jupyter_client.connect import KernelConnectionInfo
    from jupyter_client.manager import KernelManager

    from openshell_kernel.policy.effective import EffectivePolicy
    from openshell_kernel.sandbox.report import Report
    from openshell_kernel.server.planning.loading import LoadedPolicy
    from openshell_kernel.server.planning.pipeline import Planned
    from openshell_kernel.server.process.ending import Ending

_SOCKET_SECONDS = 10.0
_POLL_SECONDS = 0.005
_STOP_SECONDS = 5.0
_GIVEN = frozenset({"kernel_id", "kernel_spec", "parent"})
"""What Jupyter's KernelProvisionerFactory adds to the kernelspec's configuration."""

# Jupyter's launch arguments that the launcher itself is given otherwise.
_OWN = ("cwd", "env")


class OpenShellProvisioner(SettingsTraits, LocalProvisioner):  # type: ignore[metaclass] # jupyter_client's is computed
    """Starts a kernel under an OpenShell policy, confined by Landlock before any of its code runs.

    Configure it for one kernelspec, in `metadata.kernel_provisioner.config` of its kernel.json, or for all, as
    `c.OpenShellProvisioner` in Jupyter's configuration files.
    """

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - the traits and their values
        """Check the kernelspec's and Jupyter's configuration: the base class only warns of a key that it does not know.

        Called by Jupyter's KernelProvisionerFactory with the keys of `metadata.kernel_provisioner.config`.

        Raises:
            ConfigurationError: an unknown key or a wrong value.
        """
        own = set(kwargs) - _GIVEN
        try:
            with located(IN_KERNELSPEC if own else IN_CONFIGURATION):
                self.check_keys(own)
                super().__init__(**kwargs)
            with located(IN_CONFIGURATION):
                self.check_keys(self.config.get("OpenShellProvisioner", {}))
        except ConfigurationError as error:
            forget_failed_start(kwargs.get("parent"), kwargs.get("kernel_id"))
            raise answer(error, in_server=root_folder(kwargs.get("parent")) is not None) from None
        log_lines.protect(self.log)
        self.connection_info = {}
        self._gpus = HeldGpus(self._id, functools.partial(self.log.error, "OpenShell: %s"))
        # What is undone when the kernel ends for good, and what whenever its process has ended.
        self._kernel = contextlib.AsyncExitStack()
        self._start = contextlib.AsyncExitStack()
        # The policy of the start that is under way, or why a restart has to be refused.
        self._loaded: LoadedPolicy | Exception | None = None
        self._private: PrivateDir | None = None
        self._key: keys.Key
        self._ending: Ending | None = None
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
        try:
            self._loaded = self._load(_folder(kwargs), kwargs.pop("policy_folder", None))
        except Exception as error:
            if self._last is None:
                forget_failed_start(self._manager, self.kernel_id)
                raise
            self._loaded = error
        try:
            await self._connect()
            return await super().pre_launch(**kwargs)
        except BaseException:
            # Held since the kernel last ran, and nothing is left that could end.
            self._gpus.release()
            await self._forget()
            raise

    @answered
    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:  # noqa: ANN401
        """Plan the sandbox, start the launcher and return when the confined kernel listens.

        Called by KernelManager after `pre_launch`. Whatever fails, nothing of it is left behind. When a restart
        fails, the stub kernel is started: an error would be logged, and the person would wait for ever.

        Raises:
            ConfinementError: the sandbox cannot be built; the message is the launcher's.
            LaunchError: the process died, or did not answer in time.
        """
        try:
            async with self._starting() as start:
                info = await self._launch(start, cmd, **kwargs)
        except BaseException as error:
            self._gpus.release()
            if self._last is not None and isinstance(error, Exception):
                return await self._stand_in(self._last, error, **kwargs)
            await self._forget()
            raise
        return info

    async def shutdown_requested(self, restart: bool = False) -> None:
        """Keep the kernel's GPUs for a restart. Called by KernelManager when it has asked the kernel to end."""
        await super().shutdown_requested(restart=restart)
        self._gpus.keep()

    async def kill(self, restart: bool = False) -> None:
        """Kill the kernel, and keep its GPUs until it is clear whether it is restarted. Called by KernelManager."""
        self._gpus.keep()
        await super().kill(restart=restart)

    async def terminate(self, restart: bool = False) -> None:
        """Ask the kernel's process to end, and keep its GPUs as `kill` does. Called by KernelManager."""
        self._gpus.keep()
        await super().terminate(restart=restart)

    async def cleanup(self, restart: bool = False) -> None:
        """Remove what the kernel leaves behind. Called by KernelManager after the process has ended.

        What a kernel left must not keep a server from stopping: this raises nothing and does not hold up the loop.
        """
        await super().cleanup(restart=restart)
        await self._start.aclose()
        if not restart:
            await self._end()

    @property
    def outcome(self) -> tuple[EffectivePolicy, Report] | None:
        """The policy that the kernel was last started with and the launcher's report of what was achieved, if it was.

        This is the trusted side's: nothing that runs in the kernel has a say in it.
        """
        return None if self._last is None or self._report is None else (self._last.effective, self._report)

    def _load(self, folder: str, policy_folder: str | None) -> LoadedPolicy:
        loaded = load_policy(self.settings(), folder=policy_folder or folder, root=root_folder(self._manager))
        return loaded if policy_folder is None else dataclasses.replace(loaded, workdir=os.path.realpath(folder))

    @property
    def _manager(self) -> KernelManager:
        if self.parent is None:
            raise LaunchError("this provisioner has no KernelManager; start the kernel through one")
        return cast("KernelManager", self.parent)

    @property
    def _id(self) -> str:
        return self.kernel_id or ""

    async def _connect(self) -> None:
        """Lead Jupyter's connection through the private folder, a new one, or one with new folders in it."""
        if self._private is None:
            # Beside the loop: what a killed server has left may be much.
            threading.Thread(target=remove_abandoned, name="openshell-sweep", daemon=True).start()
            self._private = PrivateDir()
            # A server that forgets this kernel after a failed restart does not call cleanup.
            self._kernel.push_async_callback(_call_in_thread, weakref.finalize(self, self._private.remove))
            self._kernel.callback(self._gpus.release)
            self._key = keys.Key(self._manager)
        else:
            await run_in_thread(self._private.renew)
            self._key.renew(self._manager)
        connecting.lead_through(
            self._private, self._manager, self.kernel_spec, kernel_id=self._id, transport=self.transport
        )

    async def _launch(
        self,
        start: AsyncExitStack,
        cmd: list[str],
        *,
        env: dict[str, str],
        **kwargs: Any,  # noqa: ANN401 - Jupyter's launch arguments
    ) -> KernelConnectionInfo:
        request = self._request(cmd, env)
        # Before a kernel could read them.
        arguments.blank()
        kwargs.pop("cwd", None)
        self._gpus.keep()
        with contextlib.closing(LauncherPipes()) as pipes:
            # It starts while the plan is made, and waits for it.
            info = await self._start_launcher(start, pipes, request.trusted, **kwargs)
            planned = await make_plan(request)
            self._gpus.take(planned.claim, self._ending, planned.effective.selection.own_nodes)
            # Beside the launcher's work, which takes longer.
            entrusting = run_in_thread(self._gpus.entrust, self._ending, request.trusted)
            log_decisions(self.log, self._id, planned.effective)
            report = await pipes.carry_out(planned.plan, self._how_it_ended)
            log_report(self.log, self._id, planned.effective.source, report)
            await entrusting
        self.cwd = request.loaded.workdir
        told = snapshot(planned.plan.record, wire.encode(report))
        # While the kernel imports what it needs.
        start.enter_context(recorded(self._id, cast("int", self.pid), told, tell=self.log.warning))
        await self._listening()
        self._gpus.follow()
        self._last, self._report = dataclasses.replace(planned, claim=None), report
        return info

    def _request(self, cmd: list[str], env: dict[str, str]) -> KernelRequest:
        if isinstance(self._loaded, Exception):
            raise self._loaded
        if self._loaded is None or self._private is None:
            raise LaunchError("launch_kernel was called without pre_launch; start the kernel through a KernelManager")
        manager = self._manager
        return KernelRequest(
            loaded=self._loaded,
            settings=self.settings(),
            trusted=trusted_environment(self._loaded),
            command=tuple(cmd),
            # jupyter_client sets it in the environment of the process that it starts, which is the launcher's.
            environment={**env, "JPY_PARENT_PID": str(os.getpid())},
            kernelspec_environment=frozenset(self.kernel_spec.env),
            private=self._private,
            connection=Connection(file=manager.connection_file, encrypted=connecting.is_encrypted(manager)),
            logs=server_logs(own=self._loaded.root is not None),
            claim=self._gpus.claim,
            tell=functools.partial(self.log.warning, "OpenShell: %s"),
        )

    async def _stand_in(self, last: Planned, error: Exception, **kwargs: Any) -> KernelConnectionInfo:  # noqa: ANN401
        """Start the stub kernel in the place of a kernel that could not be restarted.

        Where even that fails, Jupyter is told why the restart did.
        """
        unforeseen = None if isinstance(error, OpenShellError) else error
        self.log.error("OpenShell: kernel %s was not restarted: %s", self.kernel_id, error, exc_info=unforeseen)
        options = {name: kwargs[name] for name in kwargs if name not in _OWN}
        try:
            planned = stub_plan(
                last,
                reason=str(error) or repr(error),
                language=getattr(self.kernel_spec, "language", "python"),
                connection_file=self._manager.connection_file,
                sockets=os.path.dirname(self._manager.ip) if self.transport == connecting.Transport.IPC else None,
            )
            async with self._starting() as start:
                with contextlib.closing(LauncherPipes()) as pipes:
                    info = await self._start_launcher(start, pipes, planned.launcher_environment, **options)
                    await pipes.carry_out(planned.plan, self._how_it_ended)
                await self._listening()
        except BaseException as second:
            self.log.error("OpenShell: the kernel that would show the reason could not be started either: %s", second)  # noqa: TRY400 - its trace tells no more
            await self._forget()
            # Jupyter forgets a kernel that cannot be restarted, without a call of cleanup.
            await self._end()
            raise error from second
        return info

    async def _start_launcher(
        self,
        start: AsyncExitStack,
        pipes: LauncherPipes,
        environment: Mapping[str, str],
        **kwargs: Any,  # noqa: ANN401 - Jupyter's launch arguments
    ) -> KernelConnectionInfo:
        """Start the launcher, and have `start` clean up after the process."""
        output = start.enter_context(contextlib.closing(Output(kernel_id=self._id)))
        plan, report, ending_end = map(str, pipes.descriptors)
        try:
            info = await super().launch_kernel(
                [sys.executable, *LAUNCHER, "--plan-fd", plan, "--report-fd", report, "--ending-fd", ending_end],
                # Who starts the kernel may say otherwise where its stdout and stderr go.
                **{
                    "stdout": output.writing_end,
                    "stderr": output.writing_end,
                    **kwargs,
                    "pass_fds": pipes.descriptors,
                },
                # jupyter_client writes into it.
                env=dict(environment),
                cwd="/",
            )
            self._ending = of_child(cast("int", self.pid), pipes.take_ending())
        finally:
            pipes.started()
            output.started()
        start.push_async_callback(self._all_ended)
        return info

    async def _listening(self) -> None:
        """Wait until the kernel has made its sockets: a client that connects earlier loses ZMQ's reconnect interval."""
        paths = connecting.sockets(self._manager, transport=self.transport)
        deadline = asyncio.get_running_loop().time() + _SOCKET_SECONDS
        while asyncio.get_running_loop().time() < deadline and not all(map(os.path.exists, paths)):
            if await self.poll() is not None:
                raise LaunchError(
                    f"the kernel ended before it listened{self._how_it_ended()}; see its last words in the server's log"
                )
            await asyncio.sleep(_POLL_SECONDS)
        self._key.tell_watch(self._manager, self._id)

    def _how_it_ended(self) -> str:
        status = self.process.poll() if self.process else None
        if status is None:
            return ""
        return f" (signal {signal.Signals(-status).name})" if status < 0 else f" (exit status {status})"

    @contextlib.asynccontextmanager
    async def _starting(self) -> AsyncIterator[AsyncExitStack]:
        """Undo at once what a start has made if it fails, and otherwise when the process has ended."""
        async with contextlib.AsyncExitStack() as start:
            try:
                yield start
            except BaseException:
                await self._stop()
                raise
            self._start = start.pop_all()

    async def _stop(self) -> None:
        await self.kill()
        # A process that sleeps in Linux does not die at once; it must not hold up the server. And jupyter_client's
        # `wait` fails where somebody else, who shuts the kernel down, has waited meanwhile.
        with contextlib.suppress(asyncio.TimeoutError, AttributeError):
            await asyncio.wait_for(self.wait(), _STOP_SECONDS)

    async def _all_ended(self) -> None:
        """Give the keeper time to end what the kernel left. Called when the kernel has ended, or was killed."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + _STOP_SECONDS, _POLL_SECONDS
        while self._ending is not None and not self._ending.is_over() and loop.time() < deadline:
            await asyncio.sleep(pause)
            pause *= 1.5
        # Its descriptors are closed with it; a claim that waits for it keeps it.
        self._ending = None

    async def _forget(self) -> None:
        """Undo a failed start. After a failed restart clients still know the sockets' folder: it stays."""
        self._manager.cleanup_connection_file()
        if self._last is None:
            await self._end()
            forget_failed_start(self._manager, self.kernel_id)

    async def _end(self) -> None:
        self._private = None
        await self._kernel.aclose()


async def _call_in_thread(function: weakref.finalize[..., Any]) -> None:
    try:
        await run_in_thread(function)
    except RuntimeError:
        # No thread can be started, because the interpreter ends.
        function()


def _folder(kwargs: Mapping[str, Any]) -> str:
    """Return the folder that Jupyter starts a kernel in, as it is named."""
    return str(kwargs.get("cwd") or os.getcwd())
