"""JupyterHub: a configuration that gives every user confined kernels only."""

from openshell_kernel.hub.configuration import configure

__all__ = ["configure"]
