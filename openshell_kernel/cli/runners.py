"""`jupyter openshell execute`, `papermill` and `nbconvert`: a notebook with our kernel, whatever its metadata say."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from openshell_kernel.cli import confined
from openshell_kernel.errors import ConfigurationError
from openshell_kernel.server import confined_only, exports
from openshell_kernel.server.confined_only import KERNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_DESCRIPTION = """\
Run `{program}` so that it starts the kernel OpenShell GPU, whatever kernel the notebook names, and imports nothing from
this folder."""


def run(name: str, words: Sequence[str]) -> int:
    """Run the program; return its exit status, if it does not end this process itself.

    Raises:
        ConfigurationError: another kernel is asked for or would be started, or the program is not installed.
    """
    program = "papermill" if name == "papermill" else f"jupyter {name}"
    parser = confined.parser(name, program, _DESCRIPTION.format(program=program))
    _, given = parser.parse_known_args(words)
    confined.check_no_file_gives_options(given)
    confined.leave_working_directory()
    from openshell_kernel.server import kernelspecs  # noqa: PLC0415 - the other commands need none of Jupyter

    kernelspecs.check_not_shadowed(KERNEL)
    try:
        return PROGRAMS[name](given)
    except ImportError as error:
        raise ConfigurationError(f"{program} cannot be started: {error}; install it with pip") from None


def _execute(words: Sequence[str]) -> int:
    application = importlib.import_module("nbclient.cli").NbClientApp
    option = "--NbClientApp.kernel_name"
    rest = confined.without_kernel(words, (option, "--kernel_name"))
    application.launch_instance([f"{option}={KERNEL}", *rest])
    return 0


def _nbconvert(words: Sequence[str]) -> int:
    application = importlib.import_module("nbconvert.nbconvertapp").NbConvertApp

    class Converter(application):  # type: ignore[misc, valid-type]  # it may not be installed
        """nbconvert that does not put the folder that it is started in before all others that Python imports from."""

        def init_syspath(self) -> None:
            """Leave the path as it is."""

    option = "--ExecutePreprocessor.kernel_name"
    rest = confined.without_kernel(words, (option, "--NotebookClient.kernel_name"))
    exports.protect()
    safe = confined_only.missing(confined_only.EXPORTS, rest, who="{given} contradicts this command's {wanted}")
    Converter.launch_instance([f"{option}={KERNEL}", *safe, *rest])
    return 0


def _papermill(words: Sequence[str]) -> int:
    click, papermill = importlib.import_module("click"), importlib.import_module("papermill.cli").papermill

    class Papermill(click.Command):  # type: ignore[misc, name-defined]  # as above
        """papermill with another idea of the kernel than its command line or the notebook has."""

        def invoke(self, context: Any) -> object:  # noqa: ANN401 - click's
            asked = {"--kernel": context.params["kernel"], "--engine": context.params["engine"]}
            for option, value in asked.items():
                if value not in (None, KERNEL):
                    raise click.UsageError(f"{option} {value}: this command starts the kernel {KERNEL} only; remove it")
            context.params.update(kernel=KERNEL, language=context.params["language"] or "python")
            return super().invoke(context)

    command = Papermill("papermill", params=papermill.params, callback=papermill.callback)
    command.main(list(words), prog_name="jupyter openshell papermill")
    return 0


PROGRAMS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "execute": _execute,
    "papermill": _papermill,
    "nbconvert": _nbconvert,
}
