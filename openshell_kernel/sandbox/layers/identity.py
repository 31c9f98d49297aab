"""Another user and group for the kernel, where the policy asks for them and the server is root.

Source: credentials(7).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, NamedTuple

from openshell_kernel.base import capabilities
from openshell_kernel.base.rules import Unenforced
from openshell_kernel.base.values import AbsolutePath
from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox.layers.contract import Layer, Need
from openshell_kernel.sandbox.probes import equals, refused

if TYPE_CHECKING:
    from openshell_kernel.sandbox.probes import Probe
    from openshell_kernel.sandbox.report import LayerReport, Report

_HIGHEST = 4294967294


def why_not_id(value: int) -> str:
    """Return why a number names no user or group: one that is too high means "unchanged" to Linux."""
    return "" if 0 <= value <= _HIGHEST else "not a number of a user or group"


Id = Annotated[int, why_not_id]


class Parameters(NamedTuple):
    """The user and groups that the kernel takes on, and the files that its program must be able to read to run."""

    uid: Id
    gid: Id
    groups: tuple[Id, ...]
    reads: tuple[AbsolutePath, ...] = ()


class Identity(Layer[Parameters]):
    """The identity, taken on for good."""

    name = "identity"
    title = "Identity"
    covers = "The kernel runs as a user of its own."
    residual = (Unenforced(what="the policy's process.run_as_user", why="The kernel runs as the server's user"),)
    need = Need.ALWAYS
    takes = Parameters
    may_be_left_out = True

    def enforce(self) -> LayerReport:
        """Take on the identity, and make sure that it can start the kernel at all.

        Raises:
            ConfinementError: it cannot be taken on, does not hold, or cannot reach what the kernel needs.
        """
        wanted = self.parameters
        _become(wanted)
        if not self.context.stays_root:
            # From here on permissions decide, as they will for the kernel. Root may keep what overrides them.
            capabilities.lower()
            self._check_reachable()
        groups = f", groups {', '.join(map(str, wanted.groups))}" if wanted.groups else ""
        subjects = tuple(map(str, (wanted.uid, wanted.gid, *wanted.groups)))
        return self.enforced(f"runs as user {wanted.uid}, group {wanted.gid}{groups}", subjects=subjects)

    @classmethod
    def verify(cls, report: Report) -> tuple[Probe, ...]:
        """Ask who this is, and try to become root."""
        layer = report.layer(cls.name)
        uid, gid, *groups = map(int, layer.subjects) if layer and layer.subjects else (-1, -1)
        return (
            equals("ask for the user", os.getresuid(), (uid,) * 3),
            equals("ask for the group", os.getresgid(), (gid,) * 3),
            equals("ask for further groups", sorted(set(os.getgroups()) - {gid}), sorted(groups)),
            *((refused("become root", os.setuid, 0, by=("EPERM",)),) if uid else ()),
        )

    def _check_reachable(self) -> None:
        context = self.context
        needs = (
            (context.program, os.X_OK),
            *((path, os.R_OK) for path in self.parameters.reads),
            (context.cwd, os.X_OK),
            (context.temporary, os.W_OK | os.X_OK),
        )
        for path, needed in needs:
            if path is not None and not os.access(path, needed):
                raise ConfinementError(
                    f"{path}: user {os.getuid()} cannot reach it, but run_as_user makes the kernel run as that "
                    "user; give that user access to it and to the folders above it, move it, or remove "
                    "run_as_user from the policy"
                )


def _become(identity: Parameters) -> None:
    try:
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        raise ConfinementError(
            f"the kernel cannot run as user {identity.uid}, group {identity.gid}: {error.strerror}; grant the "
            "container CAP_SETUID and CAP_SETGID, or remove run_as_user and run_as_group from the policy"
        ) from None
    wanted = ((identity.uid,) * 3, (identity.gid,) * 3, set(identity.groups))
    if (os.getresuid(), os.getresgid(), set(os.getgroups())) != wanted:
        raise ConfinementError(f"the kernel does not run as user {identity.uid}, group {identity.gid}")
