"""Programs that run confined by all layers, planned and launched as Jupyter's kernels are."""

from __future__ import annotations

import os
import shutil
from typing import IO, TYPE_CHECKING

from openshell_kernel.api import planning
from openshell_kernel.api.launching import Launched, Streams, launch
from openshell_kernel.api.relay import Relay
from openshell_kernel.errors import ProgramError
from openshell_kernel.server.dirs.private_dir import PrivateDir

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from openshell_kernel.api.planning import AnyPolicy


class Process:
    """A confined program that was started by `run`. Ending the `with` block waits for it, as `subprocess.Popen` does.

    Attributes:
        args: the program and its arguments, as they were given.
        pid: its process, which leads a session and a process group of its own.
        stdin: a stream to it, where `run` was given `subprocess.PIPE`.
        stdout: a stream from it, likewise.
        stderr: a stream from it, likewise.
        policy: the policy that it runs under.
        report: what was achieved: each protection, and each rule with the rights that were given.
    """

    def __init__(self, args: Sequence[str], launched: Launched, relay: Relay) -> None:
        self._launched = launched
        self._process = launched.process
        self._relay = relay
        self.args = tuple(args)
        self.pid = self._process.pid
        self.stdin: IO[bytes] | None = self._process.stdin
        self.stdout: IO[bytes] | None = self._process.stdout
        self.stderr: IO[bytes] | None = self._process.stderr
        self.policy = launched.policy
        self.report = launched.report

    @property
    def returncode(self) -> int | None:
        """The exit status, `-N` where signal N ended it; None until `poll` or `wait` has seen the end."""
        return self._process.returncode

    def poll(self) -> int | None:
        """Return the exit status if the program has ended, and None if not."""
        return self._process.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status. What it has started has ended then, and its folder is removed.

        Raises:
            subprocess.TimeoutExpired: it runs for longer than `timeout` seconds.
        """
        status = self._process.wait(timeout)
        self._relay.finish()
        self._launched.clean_up()
        return status

    def communicate(self, input: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:  # noqa: A002 - as in subprocess
        """Send `input`, read all that comes, wait for the end, and return what came from stdout and stderr.

        Raises:
            subprocess.TimeoutExpired: it runs for longer than `timeout` seconds. Call this again to lose nothing.
        """
        stdout, stderr = self._process.communicate(input, timeout)
        self.wait()
        return stdout or b"", stderr or b""

    def send_signal(self, number: int) -> None:
        """Send a signal to the program, unless it has ended."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Ask the program to end (SIGTERM)."""
        self._process.terminate()

    def kill(self) -> None:
        """End the program (SIGKILL), and with it all that it has started."""
        self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.__exit__(kind, error, trace)
        self.wait()


def run(
    argv: Sequence[str],
    *,
    policy: AnyPolicy | None = None,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> Process:
    """Start a program that is confined as Jupyter's kernels are, and return it.

    >>> import subprocess
    >>> import openshell_kernel
    >>> with openshell_kernel.run(["cat", "/etc/shadow"], policy="policy.yaml", stderr=subprocess.PIPE) as process:
    ...     stdout, stderr = process.communicate()
    >>> process.returncode, b"Permission denied" in stderr
    (1, True)

    It has a private home and temporary folder, of the environment what the policy passes, its own session, and no way
    to gain privileges. This process's own Python is readable for it. When it ends, however that happens, all that it
    has started ends as well, and its temporary folder is removed.

    Args:
        argv: the program and its arguments. A name without a slash is looked for on the PATH of `env`.
        policy: a policy, or the path of its file, which must not be writable under it; by default the one that counts
            for notebooks in `cwd`, but for what Jupyter's configuration and kernel.json say: these are not read.
        cwd: the working directory; by default this process's.
        env: the environment, of which it is given what the policy passes; by default this process's.
        stdin: as for `subprocess.Popen`, but for None: then it reads what this process reads, through a pipe.
        stdout: the same; None lets it write, through a pipe, to where this process writes. A terminal is shown text and
            colours only. A file that is handed over is the program's: it may rewrite all of it.
        stderr: the same as `stdout`.

    Raises:
        ProgramError: there is no such program.
        PolicyError: the policy cannot be used.
        ConfinementError: the sandbox cannot be built as the policy wants it, or the program cannot be executed in it.
        LaunchError: the program's process died before it was confined.
    """
    environment = os.environ if env is None else env
    folder = os.path.abspath(os.getcwd() if cwd is None else cwd)
    command = [_program(argv[0], folder, environment), *argv[1:]]
    private, relay = PrivateDir(), Relay()
    streams = Streams(
        stdin=relay.stdin() if stdin is None else stdin,
        stdout=relay.to(1) if stdout is None else stdout,
        stderr=relay.to(2) if stderr is None else stderr,
    )
    try:
        request = planning.request(command, policy, cwd=folder, environment=environment, private=private)
        launched = planning.wait_for(launch(request, streams), undo=Launched.end)
    except BaseException:
        relay.abandon()
        private.remove()
        raise
    relay.started()
    return Process(argv, launched, relay)


def _program(name: str, folder: str, environment: Mapping[str, str]) -> str:
    place = os.path.join(folder, name) if os.path.dirname(name) else name
    found = shutil.which(place, path=environment.get("PATH", os.defpath))
    if found is None:
        where = "it is no file that can be executed" if os.path.dirname(name) else "no folder of PATH has it"
        raise ProgramError(f"{name}: {where}; nothing was started")
    return os.path.abspath(found)
