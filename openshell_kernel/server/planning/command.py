"""The command that runs inside the sandbox, made from the one that Jupyter would run."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from openshell_kernel import base
from openshell_kernel.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LAUNCHER = ("-I", "-m", "openshell_kernel.sandbox.launcher")
"""How a Python starts the launcher."""

OWN_PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(base.__file__)))
START = os.path.join(OWN_PACKAGE, "kernel", "start.py")
"""What IPython kernels are started by. The Python that reads it need not have this package."""

_IPYKERNEL = ("ipykernel_launcher", "ipykernel")
_LAST_OPTION = 5  # as far as Python's own options may reach in a kernelspec's command
_EXTENSION = "--IPKernelApp.extra_extensions=openshell_kernel.kernel.magics"


def kernel_command(command: Sequence[str], user_site: str | None = None) -> list[str]:
    """Return the command that runs inside the sandbox.

    The kernelspec's own command is the launcher, which becomes ipykernel; any other command runs as it is, so that
    other kernelspecs can choose this provisioner too. But `-m`, with which they name ipykernel, imports from the
    notebook's folder: `kernel.start` does not. IPython kernels load `%policy`. `user_site` is the folder of the user's
    own packages, empty where there is none, and None where Python does not import the user's packages at all.
    """
    if tuple(command[1:4]) == LAUNCHER:
        rest = command[6:] if tuple(command[4:5]) == ("--kernelspec",) else command[4:]
        command = [command[0], "-m", "ipykernel_launcher", *rest]
    for place in range(1, min(len(command) - 1, _LAST_OPTION)):
        flags, module, rest = command[1:place], command[place : place + 2], command[place + 2 :]
        if module[0] == "-m" and module[1] in _IPYKERNEL:
            packages = [] if user_site is None or {"-I", "-s"} & set(flags) else [f"--packages={user_site}"]
            return [command[0], *flags, "-s", START, *packages, *rest, _EXTENSION]
    return list(command)


def find_program(name: str, environment: Mapping[str, str]) -> str:
    """Return the full path of a command's program.

    Raises:
        ConfigurationError: there is none of this name on the PATH.
    """
    found = name if os.path.isabs(name) else shutil.which(name, path=environment.get("PATH"))
    if found is None or not os.path.isabs(found):
        raise ConfigurationError(
            f"{name}: the kernel's program is not found; write its full path into argv in kernel.json"
        )
    return found
