"""`jupyter openshell nbconvert`: `jupyter nbconvert` with our kernel, whatever the notebook's metadata say."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from openshell_kernel.cli import confined_runner, passing_on
from openshell_kernel.server import confined_only, exports
from openshell_kernel.server.confined_only import KERNEL

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPTION = "--ExecutePreprocessor.kernel_name"


def _start(words: Sequence[str]) -> int:
    application = importlib.import_module("nbconvert.nbconvertapp").NbConvertApp

    class Converter(application):  # type: ignore[misc, valid-type]  # it may not be installed
        """nbconvert that does not put the folder that it is started in before all others that Python imports from."""

        def init_syspath(self) -> None:
            """Leave the path as it is."""

    rest = passing_on.without_kernel(words, (_OPTION, "--NotebookClient.kernel_name"))
    exports.protect()
    safe = confined_only.missing(confined_only.EXPORTS, rest, who="{given} contradicts this command's {wanted}")
    Converter.launch_instance([f"{_OPTION}={KERNEL}", *safe, *rest])
    return 0


COMMAND = confined_runner.command("nbconvert", "jupyter nbconvert", _start)
