"""The same sandbox for clients that ignore provisioners: plan here, then become the launcher.

The launcher executes this module when it is started without a plan, as the kernelspec's argv does in the hands of a
client that knows nothing of provisioners. The process stays the same from the client's Popen to the kernel, so that
its signals reach the kernel. Such a client learns nothing of why a start is refused, and waits: so the process becomes
the stub kernel then, which answers each cell with the reason.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from openshell_kernel.base.text import printable_lines
from openshell_kernel.errors import ConfigurationError, OpenShellError
from openshell_kernel.server import gateway
from openshell_kernel.server.dirs.private_dir import PrivateDir
from openshell_kernel.server.planning import interpreter
from openshell_kernel.server.planning.command import LAUNCHER
from openshell_kernel.server.planning.loading import load_policy, trusted_environment
from openshell_kernel.server.planning.pipeline import make_plan
from openshell_kernel.server.planning.request import Connection, KernelRequest
from openshell_kernel.server.process import janitor
from openshell_kernel.server.process.connecting import Transport
from openshell_kernel.server.process.detaching import detach
from openshell_kernel.server.process.ending import Ending
from openshell_kernel.server.process.handover import become_launcher, check_launch
from openshell_kernel.server.process.leaving import leave
from openshell_kernel.server.process.logs import client_logs
from openshell_kernel.server.stub.plan import first_stub_plan
from openshell_kernel.server.traits import kernelspec_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_KERNELSPEC = "share/jupyter/kernels/openshell-gpu"
_USAGE = "usage: launcher [--kernelspec FOLDER] -f CONNECTION_FILE [ipykernel options]"


def main(argv: Sequence[str]) -> int:
    """Plan and become the launcher. Returns an exit status only when even a refusal cannot be told to the client."""
    try:
        _start(list(argv))
    except Exception as error:  # noqa: BLE001 - whatever it is, the client has to be told
        if not isinstance(error, OpenShellError):
            traceback.print_exc()
        reason = str(error) or repr(error)
        sys.stderr.write(f"OpenShell GPU: the kernel was not started.\n{printable_lines(reason)}\n")
        _stand_in(list(argv), reason)
    return 1


def _start(argv: list[str]) -> NoReturn:
    spec = _kernelspec(argv)
    settings = kernelspec_settings(spec.configuration)
    connection = _connection(argv)
    _check_transport(connection)
    # The client's own root folder is not known: a policy near the notebook lies in the working directory.
    loaded = load_policy(settings, folder=os.getcwd(), root=None)
    loaded = dataclasses.replace(loaded, notices=(*loaded.notices, *gateway.notices(loaded.source, os.environ)))
    trusted = trusted_environment(loaded)
    logs = client_logs()
    detach(trusted)
    private = PrivateDir()
    hearing, speaking = os.pipe()
    ending = Ending(os.pidfd_open(os.getpid()), hearing)
    # Left before anything can fail: whatever becomes of this process, the folder goes away with it.
    _leave_janitor(ending, str(private.path), trusted, keep=private.descriptor())
    planned = asyncio.run(
        make_plan(
            KernelRequest(
                loaded=loaded,
                settings=settings,
                trusted=trusted,
                command=(sys.executable, *LAUNCHER, *argv),
                environment=dict(os.environ),
                kernelspec_environment=frozenset(spec.environment),
                connection=Connection(file=connection.path, encrypted=False),
                private=private,
                logs=logs,
                tell=_tell,
            )
        )
    )
    try:
        check_launch(planned.plan, trusted)
    except BaseException:
        if planned.claim is not None:
            planned.claim.release()
        raise
    if planned.claim is not None:
        ending.nodes = planned.effective.selection.own_nodes
        _leave_janitor(ending, planned.claim.path, trusted, keep=planned.claim.descriptor())
    for notice in planned.effective.notices:
        _tell(notice)
    become_launcher(planned.plan, trusted, ending=speaking)


def _stand_in(argv: list[str], reason: str) -> None:
    """Become the stub kernel, if that can be: then this does not return."""
    try:
        # It is not known which folders a sandbox may write: none of LD_LIBRARY_PATH is safe.
        environment = interpreter.scrubbed(os.environ, ["/"])
        connection = _connection(argv)
        plan = first_stub_plan(environment, reason=reason, connection_file=connection.path, sockets=connection.sockets)
        detach(environment)
        become_launcher(plan, environment)
    except Exception as error:  # noqa: BLE001 - there is nobody left to tell
        sys.stderr.write(
            "OpenShell GPU: the kernel that would show the reason could not be started either.\n"
            f"{printable_lines(str(error))}\n"
        )


def _tell(text: str) -> None:
    sys.stderr.write(f"OpenShell: {printable_lines(text)}\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kernelspec:
    """What concerns this package in kernel.json: the provisioner's configuration, the names of its variables."""

    configuration: dict[str, Any]
    environment: tuple[str, ...]


def _kernelspec(argv: list[str]) -> _Kernelspec:
    """Return what the kernelspec says that this kernel was started from."""
    folder = argv[1] if argv[:1] == ["--kernelspec"] and len(argv) > 1 else "{resource_dir}"
    # Not every client fills in {resource_dir}.
    path = Path(sys.prefix, _KERNELSPEC) if folder == "{resource_dir}" else Path(folder)
    try:
        spec = json.loads((path / "kernel.json").read_text())
        return _Kernelspec(
            configuration=dict(spec.get("metadata", {}).get("kernel_provisioner", {}).get("config", {})),
            environment=tuple(spec.get("env", {})),
        )
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ConfigurationError(
            f"{path}/kernel.json: {error}; install the package again, or give --kernelspec"
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Connection:
    """The connection file that the client made, and what it says of the kind of connection."""

    path: str
    transport: object
    ip: object

    @property
    def sockets(self) -> str | None:
        """The folder that Unix sockets belong into, if there are to be any."""
        return os.path.dirname(self.ip) if self.transport == Transport.IPC and isinstance(self.ip, str) else None


def _connection(argv: list[str]) -> _Connection:
    for option, value in itertools.pairwise(argv):
        if option == "-f":
            path = str(Path(value).absolute())
            break
    else:
        raise ConfigurationError(f"no connection file is given; {_USAGE}")
    try:
        written = json.loads(Path(path).read_text())
        return _Connection(path=path, transport=written.get("transport"), ip=written.get("ip"))
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"{path}: not a connection file: {error}") from None


def _check_transport(connection: _Connection) -> None:
    """Make sure that the kind of connection can be confined."""
    if connection.transport != Transport.TCP:
        raise ConfigurationError(
            f"{connection.path}: transport {connection.transport!r} needs a folder for sockets, which only our "
            "provisioner creates; use tcp"
        )


def _leave_janitor(ending: Ending, path: str, environment: dict[str, str], *, keep: int) -> None:
    """Leave a process behind that removes a path when nothing is left of this process, by then the kernel.

    Until then it keeps a descriptor open, and with it a lock.
    """
    leave(janitor.waiting(ending, path), environment, keep=(cast("int", ending.kernel), ending.keeper, keep))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
