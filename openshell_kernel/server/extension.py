"""What every Jupyter server of this environment loads: what notebooks write is not its code.

It takes no language server from the folder it was started in, exports no notebook that names code of its own, and logs
no name as it is.
Templates of nbconvert, the other code that Jupyter takes from that folder, are closed by jupyter/jupyter_config.py,
which counts for programs that are no servers, too.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from openshell_kernel.server import exports
from openshell_kernel.server.process import log_lines

NAME = __name__

# `python -m` imports from the working directory first. This is the same but for that.
_RUN_MODULE = (
    "import sys; sys.path[:] = filter(None, sys.path); "
    "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": NAME}]


def _load_jupyter_server_extension(server: Any) -> None:  # noqa: ANN401 - jupyter_server's application
    """Close what nbconvert and jupyter_lsp have opened. Called by jupyter_server, in the order of names."""
    exports.protect()
    # A kernel does so too, but a notebook that is opened before one starts can name another.
    log_lines.protect(server.log)
    manager = getattr(server, "language_server_manager", None)
    if manager is not None:
        _leave_out_node_modules(manager)
        manager.observe(lambda change: _isolate(change["new"]), "language_servers")


def _leave_out_node_modules(manager: Any) -> None:  # noqa: ANN401 - jupyter_lsp's manager of language servers
    """Look for language servers everywhere but in the folder that the server was started in.

    What the user has configured stays, wherever it is.
    """
    if "node_roots" not in manager.config.LanguageServerManager:
        here = os.path.realpath(os.getcwd())
        manager.node_roots = [root for root in manager.node_roots if os.path.realpath(root) != here]


def _isolate(language_servers: dict[str, dict[str, Any]]) -> None:
    """Let language servers that are Python modules import nothing from the folder that the server was started in."""
    for specification in language_servers.values():
        argv = specification["argv"]
        if argv[:2] == [sys.executable, "-m"]:
            specification["argv"] = [sys.executable, "-c", _RUN_MODULE, *argv[2:]]
