"""`jupyter openshell lab`: JupyterLab, with confined kernels only."""

import importlib

from openshell_kernel.cli import confined_server

COMMAND = confined_server.command("lab", "JupyterLab", lambda: importlib.import_module("jupyterlab.labapp").LabApp)
