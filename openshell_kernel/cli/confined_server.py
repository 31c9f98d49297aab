"""What the commands `lab`, `notebook` and `server` have in common: a program of Jupyter in confined-only mode."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from openshell_kernel.cli import passing_on
from openshell_kernel.cli.command import Command
from openshell_kernel.errors import ConfigurationError
from openshell_kernel.server import confined_only

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DESCRIPTION = """\
Start `jupyter {name}` with confined kernels only, whatever a notebook or a request asks for. OpenShell GPU is the
default kernel. These are off: all other kernels, terminals, JupyterLab's extension manager, exports that start LaTeX or
a browser, templates in this folder, and server extensions that may start programs. Configuration files cannot switch
this mode off, and an option that contradicts it is refused."""


def command(name: str, program: str, application: Callable[[], Any]) -> Command:
    """Return the command that starts a server.

    `program` is its name for people; `application` imports its class, and may fail where it is not installed.
    """
    return Command(
        name=name,
        help=f"start {program} with confined kernels only",
        run=functools.partial(run, name, application),
    )


def run(name: str, application: Callable[[], Any], words: Sequence[str]) -> int:
    """Start the server and return when it has ended; it ends this process itself where its options are wrong.

    Raises:
        ConfigurationError: an option contradicts the mode, or the program is not installed.
    """
    parser = passing_on.parser(name, f"jupyter {name}", _DESCRIPTION.format(name=name))
    parser.add_argument(
        "--allow-extension",
        action="append",
        default=[],
        metavar="NAME",
        help="keep this server extension on, although it may start programs; may be given several times",
    )
    own, given = parser.parse_known_args(words)
    passing_on.leave_working_directory()
    server = _imported(name, application)
    if given and given[0] in server.subcommands:
        raise ConfigurationError(f"{given[0]} starts no server; run `jupyter {name} {given[0]}`")
    # Before the others: behind a `--` they would be no options.
    server.launch_instance([*_options(own.allow_extension, given), *given])
    return 0


def _imported(name: str, application: Callable[[], Any]) -> Any:  # noqa: ANN401 - a class of a project that need not be installed
    try:
        return application()
    except ImportError as error:
        raise ConfigurationError(f"jupyter {name} cannot be started: {error}; install it with pip") from None


def _options(extensions: Sequence[str], given: Sequence[str]) -> list[str]:
    return confined_only.missing(
        confined_only.options(extensions),
        given,
        who="{given} contradicts confined-only mode, which sets {wanted}",
    )
