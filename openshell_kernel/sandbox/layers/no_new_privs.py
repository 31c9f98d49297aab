"""no_new_privs: no program that the kernel starts gains privileges. Landlock and seccomp are built on it.

Source: prctl(2), PR_SET_NO_NEW_PRIVS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from openshell_kernel.base import libc
from openshell_kernel.base.rules import Unenforced
from openshell_kernel.sandbox.layers.contract import Layer, Need, NoParameters
from openshell_kernel.sandbox.probes import equals, status

if TYPE_CHECKING:
    from openshell_kernel.sandbox.probes import Probe
    from openshell_kernel.sandbox.report import LayerReport, Report


class NoNewPrivs(Layer[NoParameters]):
    """The flag, which nothing takes back."""

    name = "no_new_privs"
    title = "no_new_privs"
    covers = "Set-uid programs give the kernel no privileges."
    residual = (
        Unenforced(
            what="set-user-id programs", why="A program that the policy lets run gives the notebook its owner's rights"
        ),
    )
    need = Need.ALWAYS

    def enforce(self) -> LayerReport:
        """Set it, and ask whether it holds."""
        try:
            holds = libc.set_no_new_privs()
        except OSError as error:
            return self.absent(f"no_new_privs cannot be set: {error.strerror}")
        return (
            self.enforced("set-uid programs give no privileges")
            if holds
            else self.absent("it was set but does not hold")
        )

    @classmethod
    def verify(cls, report: Report) -> tuple[Probe, ...]:  # noqa: ARG003 - the contract's
        """Ask whether it holds."""
        return (equals("ask for no_new_privs", status().get("NoNewPrivs"), "1"),)
