"""The doors of a server in confined-only mode, looked at where all of its configuration has come together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from jupyter_server.serverapp import ServerApp
from traitlets import List, Unicode
from traitlets.config.loader import Config, DeferredConfig, LazyConfigValue

from openshell_kernel.errors import ConfigurationError
from openshell_kernel.server import exports
from openshell_kernel.server.kernel_manager import ConfinedKernelManager
from openshell_kernel.server.kernelspecs import ConfinedKernelSpecManager
from openshell_kernel.server.process import log_lines

if TYPE_CHECKING:
    from collections.abc import Iterator


class ConfinedOnlyKernelManager(ConfinedKernelManager):
    """The manager of the kernels of a server that has no other door open: where one is, it refuses to exist.

    jupyter_server makes it when every configuration file and option is read and the server extensions are known, and
    before one of them is loaded. Without it there is no server.
    """

    allowed_extensions = List(
        Unicode(), help="Names of the server extensions that may be loaded. The others are off."
    ).tag(config=True)

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - as jupyter_server gives them
        super().__init__(**arguments)  # type: ignore[no-untyped-call]
        server = self.parent
        if not isinstance(server, ServerApp):
            raise ConfigurationError(f"confined-only mode: {server!r} is not a Jupyter server")
        for reason in why_not_closed(server):
            raise ConfigurationError(f"confined-only mode: {reason}")
        switch_off_extensions(server, self.allowed_extensions)
        # The extension that does so everywhere can be switched off.
        exports.protect()
        log_lines.protect(server.log)


def why_not_closed(server: ServerApp) -> Iterator[str]:
    """Yield what stands in the way of a server that starts confined kernels only, each with its remedy.

    Called by the manager of kernels, and of use only when the server's kernelspecs are known.
    """
    if not isinstance(server.kernel_spec_manager, ConfinedKernelSpecManager):
        yield "ServerApp.kernel_spec_manager_class names another class; remove that setting"
    if server.gateway_config.gateway_enabled:
        yield "a gateway starts its kernels elsewhere, where nothing here sees them; remove gateway_url"
    if server.terminals_enabled:
        yield "terminals are on; remove ServerApp.terminals_enabled"
    if getattr(server, "allow_external_kernels", False):
        yield "kernels that others started are not confined; remove ServerApp.allow_external_kernels"
    for section, folder in _template_folders(server.config):
        if not os.path.isabs(folder):
            yield (
                f"{section}.extra_template_basedirs: {folder!r} may be in a folder that notebooks write; make "
                "it absolute"
            )


def _template_folders(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the folders of templates that are configured, each with the class that it is configured for."""
    for name, section in config.items():
        value = section.get("extra_template_basedirs", []) if isinstance(section, Config) else []
        if isinstance(value, LazyConfigValue):
            value = value.get_value([])
        elif isinstance(value, DeferredConfig):
            value = value.get_value(List(Unicode()))
        # A single one is a string still, as traitlets' lists take it, too.
        for folder in [value] if isinstance(value, str) else value:
            yield name, folder


def switch_off_extensions(server: ServerApp, allowed: list[str]) -> None:
    """Leave only these server extensions, and say in the server's log which others there are."""
    extensions = server.extension_manager.extensions
    off = [name for name in sorted(set(extensions) - set(allowed)) if extensions.pop(name).enabled]
    if off:
        server.log.warning(
            "OpenShell: these server extensions are off, because they may start programs that are not "
            "confined: %s. To allow one: jupyter openshell lab --allow-extension NAME, or hub.configure(c, "
            "extensions=[NAME])",
            ", ".join(off),
        )
