"""`jupyter openshell papermill`: papermill with our kernel, whatever the notebook's metadata say."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from openshell_kernel.cli import confined_runner
from openshell_kernel.server.confined_only import KERNEL

if TYPE_CHECKING:
    from collections.abc import Sequence


def _start(words: Sequence[str]) -> int:
    click, papermill = importlib.import_module("click"), importlib.import_module("papermill.cli").papermill

    class Papermill(click.Command):  # type: ignore[misc, name-defined]  # it may not be installed
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


COMMAND = confined_runner.command("papermill", "papermill", _start)
