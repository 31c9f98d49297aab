"""Gateways that start kernels for others: what of their operator's settings does not arrive in a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openshell_kernel.policy.sources import BESIDE, SYSTEM_POLICY, VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openshell_kernel.policy.sources import Source

SIGN = "KERNEL_GATEWAY"
"""The variable that Enterprise Gateway and Kernel Gateway set for each kernel, whatever a client asks them to set."""


def notices(source: Source, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return what is to be said of a policy that is not the operator's, in a kernel of a gateway.

    `environ` is that of a kernel which a client started that ignores provisioners.
    """
    if source.by_operator or SIGN not in environ:
        return ()
    notice = (
        f"a gateway started this kernel without a policy of its operator, so the {source.kind.value} counts. "
        f"Enterprise Gateway does not pass {VARIABLE} on: set `policy` {BESIDE}, or create {SYSTEM_POLICY}. "
        "With `require_policy: true` there, nothing starts without one"
    )
    return (notice,)
