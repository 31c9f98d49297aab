"""What a notebook says of its language, when it is exported as a script: it names no code to import, and no path.

nbconvert's script exporter imports and calls whatever `language_info.nbconvert_exporter` names, in the process that
exports, and appends `language_info.file_extension` to the name of the file that it writes. An image in a notebook's
text is enough to have a server export another one.
"""

from __future__ import annotations

import functools
import importlib
import re
from typing import TYPE_CHECKING, Any

from openshell_kernel.errors import OpenShellError

if TYPE_CHECKING:
    from collections.abc import Mapping

# The name of an exporter that a package has registered, and what ends the name of a file.
_FIT = {"nbconvert_exporter": re.compile(r"[\w-]*"), "file_extension": re.compile(r"(\.[\w+-]+)*")}


def protect() -> None:
    """Let nbconvert export, from now on and in this process, no notebook that says more. May be called repeatedly."""
    exporter = importlib.import_module("nbconvert.exporters.script").ScriptExporter
    export = exporter.from_notebook_node
    if hasattr(export, "__wrapped__"):
        return

    @functools.wraps(export)
    def checked(self: object, nb: Any, *arguments: object, **options: object) -> object:  # noqa: ANN401 - nbformat's
        _check(nb.metadata.get("language_info", {}))
        return export(self, nb, *arguments, **options)

    exporter.from_notebook_node = checked


def _check(language: Mapping[str, object]) -> None:
    for name, pattern in _FIT.items():
        if not pattern.fullmatch(str(language.get(name) or "")):
            raise OpenShellError(
                f"the notebook's metadata set language_info.{name} to {language[name]!r}, which may lead "
                "anywhere; remove it"
            )
