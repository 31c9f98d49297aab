"""`jupyter openshell lab`, `notebook` and `server`: that program in confined-only mode."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from openshell_kernel.cli import confined
from openshell_kernel.errors import ConfigurationError
from openshell_kernel.server import confined_only

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_DESCRIPTION = """\
Start `jupyter {name}` so that it starts confined kernels only, whatever a notebook or a request asks for: OpenShell GPU
is the default kernel; the others, terminals, JupyterLab's extension manager, exports that start LaTeX or a browser,
templates in this folder, and server extensions that may start programs are off. Configuration files cannot switch this
off, and an option that contradicts is refused."""

APPLICATIONS: Mapping[str, Callable[[], Any]] = {
    "lab": lambda: importlib.import_module("jupyterlab.labapp").LabApp,
    "notebook": lambda: importlib.import_module("notebook.app").JupyterNotebookApp,
    "server": lambda: importlib.import_module("jupyter_server.serverapp").ServerApp,
}


def run(name: str, words: Sequence[str]) -> int:
    """Start the server and return when it has ended; it ends this process itself where its options are wrong.

    Raises:
        ConfigurationError: an option contradicts the mode, or the program is not installed.
    """
    parser = confined.parser(name, f"jupyter {name}", _DESCRIPTION.format(name=name))
    parser.add_argument(
        "--allow-extension",
        action="append",
        default=[],
        metavar="NAME",
        help="leave this server extension on, although it may start programs; may be given several times",
    )
    own, given = parser.parse_known_args(words)
    confined.leave_working_directory()
    application = _application(name)
    if given and given[0] in application.subcommands:
        raise ConfigurationError(f"{given[0]} starts no server; run `jupyter {name} {given[0]}`")
    # Before the others: behind a `--` they would be no options.
    application.launch_instance([*_options(own.allow_extension, given), *given])
    return 0


def _application(name: str) -> Any:  # noqa: ANN401 - a class of a project that need not be installed
    try:
        return APPLICATIONS[name]()
    except ImportError as error:
        raise ConfigurationError(f"jupyter {name} cannot be started: {error}; install it with pip") from None


def _options(extensions: Sequence[str], given: Sequence[str]) -> list[str]:
    return confined_only.missing(
        confined_only.options(extensions),
        given,
        who="{given} contradicts confined-only mode, which sets {wanted}",
    )
