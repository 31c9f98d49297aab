"""The former place of `openshell_kernel.hub`, which the configuration files of hubs may still name."""

from openshell_kernel.hub import configure

__all__ = ["configure"]
