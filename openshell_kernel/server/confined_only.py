"""Confined-only mode: a Jupyter server that starts confined kernels, and no other program that a notebook could want.

Here stands what the mode consists of, once for both who switch it on: `jupyter openshell lab` and its siblings for one
user, and `hub.configure` for all users of a hub. It is said in options, because they count more than configuration
files. What they name is `doors`, in the server's own process.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from openshell_kernel.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KERNEL = "openshell-gpu"
EXPORTS = (
    # A template is code that runs when a notebook is exported, and the default is the folder that the program was
    # started in. An empty list cannot be said in an option; beneath /dev/null there is nothing.
    "--TemplateExporter.extra_template_basedirs=/dev/null",
    # These start LaTeX, Inkscape or a browser, which do what the notebook says: they read any file.
    "--LatexExporter.enabled=False",
    "--PDFExporter.enabled=False",
    "--WebPDFExporter.enabled=False",
    "--QtPDFExporter.enabled=False",
    "--QtPNGExporter.enabled=False",
)
OPTIONS = (
    "--ServerApp.kernel_spec_manager_class=openshell_kernel.server.kernelspecs.ConfinedKernelSpecManager",
    "--ServerApp.kernel_manager_class=openshell_kernel.server.doors.ConfinedOnlyKernelManager",
    # Of one class, the settings of the class itself count more than those of the classes that it is made from.
    f"--ConfinedOnlyKernelManager.default_kernel_name={KERNEL}",
    "--ServerApp.terminals_enabled=False",
    # It installs packages as the user, unconfined, into the environment that starts the kernels.
    "--LabApp.extension_manager=readonly",
    *EXPORTS,
    # It would execute a notebook that is exported with the kernel that the notebook names.
    "--ExecutePreprocessor.enabled=False",
)
_ALLOWED = "--ConfinedOnlyKernelManager.allowed_extensions"
# Of these a server takes several; of others it takes only one.
_REPEATABLE = (_ALLOWED, "--TemplateExporter.extra_template_basedirs")

# Server extensions that start no program but kernels, and jupyter_server those only from the two classes above. Before
# one is added here, its code is to be read.
EXTENSIONS = (
    "jupyter_resource_usage",
    "jupyter_server_terminals",  # none where terminals_enabled is False
    "jupyterhub",
    "jupyterlab",
    "notebook",
    "notebook_shim",
    "openshell_kernel.server.extension",
)


def options(extensions: Iterable[str] = ()) -> list[str]:
    """Return the options with which a Jupyter server starts in this mode.

    Args:
        extensions: names of server extensions that are allowed besides `EXTENSIONS`, as `jupyter server extension list`
            shows them.

    Raises:
        ConfigurationError: a name is not the name of an extension.
    """
    if isinstance(extensions, str):
        raise ConfigurationError(f"extensions: {extensions!r} is one name; write a list of names")
    for name in extensions:
        if not isinstance(name, str) or not re.fullmatch(r"\w+(\.\w+)*", name):
            raise ConfigurationError(
                f"{name!r} is not the name of a server extension; see jupyter server extension list"
            )
    # Given in any case, so that no configuration file adds to it.
    return [*OPTIONS, *(f"{_ALLOWED}={name}" for name in dict.fromkeys((*EXTENSIONS, *extensions)))]


def missing(wanted: Sequence[str], given: Sequence[str], *, who: str) -> list[str]:
    """Return those of the wanted options that are not given.

    Raises:
        ConfigurationError: a given one contradicts; `who` says where it was given, and who sets the wanted one.
    """
    for option in wanted:
        name = option.partition("=")[0]
        for other in given:
            if other.partition("=")[0] == name and other != option and name not in _REPEATABLE:
                raise ConfigurationError(f"{who.format(given=repr(other), wanted=repr(option))}; remove it")
    return [option for option in wanted if option not in given or option.startswith(_REPEATABLE)]
