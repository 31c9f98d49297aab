"""`jupyter openshell notebook`: Jupyter Notebook, with confined kernels only."""

import importlib

from openshell_kernel.cli import confined_server

COMMAND = confined_server.command(
    "notebook", "Jupyter Notebook", lambda: importlib.import_module("notebook.app").JupyterNotebookApp
)
