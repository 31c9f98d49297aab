"""`jupyter openshell server`: Jupyter Server, with confined kernels only."""

import importlib

from openshell_kernel.cli import confined_server

COMMAND = confined_server.command(
    "server", "Jupyter Server", lambda: importlib.import_module("jupyter_server.serverapp").ServerApp
)
