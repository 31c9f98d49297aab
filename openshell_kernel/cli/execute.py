"""`jupyter openshell execute`: `jupyter execute` with our kernel, whatever the notebook's metadata say."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from openshell_kernel.cli import confined_runner, passing_on
from openshell_kernel.server.confined_only import KERNEL

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPTION = "--NbClientApp.kernel_name"


def _start(words: Sequence[str]) -> int:
    application = importlib.import_module("nbclient.cli").NbClientApp
    rest = passing_on.without_kernel(words, (_OPTION, "--kernel_name"))
    application.launch_instance([f"{_OPTION}={KERNEL}", *rest])
    return 0


COMMAND = confined_runner.command("execute", "jupyter execute", _start)
