"""Capabilities are given up, in every set and for good, but for those that a policy's paths need.

Everything that is given up is read back; what does not hold refuses the start.

Source: capabilities(7).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, NamedTuple

from openshell_kernel.base import capabilities, libc
from openshell_kernel.base.rules import Unenforced
from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox.layers.contract import Layer, Need
from openshell_kernel.sandbox.probes import equals, refused

if TYPE_CHECKING:
    from openshell_kernel.sandbox.probes import Probe
    from openshell_kernel.sandbox.report import LayerReport, Report

KEEPABLE = {"dac_override": 1, "dac_read_search": 2}
"""Those that a plan may let the kernel keep, by their numbers in linux/capability.h. Landlock bounds what is read,
written and run with them, and not what else they open."""

_OPENED = {
    "dac_override": "Landlock bounds what is read, written and run with it, and nothing else. In closed folders of "
    "every user the notebook can look for names (stat), enter (chdir), connect to Unix sockets, and set times and "
    "extended attributes",
    "dac_read_search": "Landlock bounds what is read and run with it, and nothing else. In closed folders of every "
    "user the notebook can look for names (stat), enter (chdir), read extended attributes, and connect to Unix sockets "
    "that are open to everybody",
}
_SETPCAP = 8
_BOUND_READ, _BOUND_DROP = 23, 24  # PR_CAPBSET_*
_GET_SECUREBITS, _SET_SECUREBITS = 27, 28
_AMBIENT, _AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 47, 2, 4
# NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE are set, KEEP_CAPS is not, and each has its lock.
_SECUREBITS = 0b11_10_11_11
_KEEP_CAPS = 1 << 4


def why_not_keepable(value: str) -> str:
    """Return why a capability is never kept; empty where it may be."""
    return "" if value in KEEPABLE else "not a capability that may be kept"


class Parameters(NamedTuple):
    """The capabilities that the kernel keeps."""

    keep: tuple[Annotated[str, why_not_keepable], ...] = ()


class Capabilities(Layer[Parameters]):
    """No exec, change of user or ambient set brings a capability back."""

    name = "capabilities"
    title = "Capabilities dropped"
    covers = "The kernel has no powers beyond its user's, and no program that it starts gains any."
    residual = (Unenforced(what="capabilities", why="The kernel has those of the server", wide_open=True),)
    need = Need.ALWAYS
    takes = Parameters

    def prepare(self) -> None:
        """Close the ways back while that may still be done, which is before the identity is taken on."""
        self._kept = sum(1 << KEEPABLE[name] for name in self.parameters.keep)
        before = capabilities.sets()
        self._thorough = bool(before["CapEff"] & 1 << _SETPCAP)
        if self._thorough:
            try:
                _close_ways_back(before, self._kept)
            except OSError as error:
                raise _cannot_be_dropped(error) from None

    def enforce(self) -> LayerReport:
        """Give them up, and read back whether that holds."""
        try:
            capabilities.set_to(permitted=self._kept, effective=self._kept, inheritable=self._kept)
            if not self._kept:
                libc.prctl(_AMBIENT, _AMBIENT_CLEAR_ALL)
        except OSError as error:
            raise _cannot_be_dropped(error) from None
        after = capabilities.sets()
        self._check_dropped(after)
        detail = f"{self._what()}; {_way_back(after['CapBnd'], self._kept)}"
        if not self.parameters.keep:
            return self.enforced(detail)
        return self.degraded(detail, tuple(map(opened, self.parameters.keep)), subjects=self.parameters.keep)

    @classmethod
    def verify(cls, report: Report) -> tuple[Probe, ...]:
        """Ask which there are, and try what takes one."""
        layer = report.layer(cls.name)
        kept = sum(1 << KEEPABLE[name] for name in (layer.subjects if layer else ()))
        found = {name: value for name, value in capabilities.sets().items() if name != "CapBnd"}
        return (
            equals("ask for capabilities", sorted(set(found.values())), [kept]),
            refused("change the root folder", os.chroot, "/", by=("EPERM",)),
        )

    def _check_dropped(self, after: dict[str, int]) -> None:
        names = [name for name in capabilities.SETS if self._thorough or name != "CapBnd"]
        wrong = [name for name in names if after[name] != self._kept]
        if wrong or (self._thorough and libc.prctl(_GET_SECUREBITS) & 0xFF != _SECUREBITS):
            raise ConfinementError(
                "the kernel's capabilities were dropped, but are still there "
                f"({', '.join(wrong) or 'securebits'}); a security module of this machine interferes"
            )

    def _what(self) -> str:
        if not self.parameters.keep:
            return "all of them"
        names = " and ".join(f"CAP_{name.upper()}" for name in self.parameters.keep)
        reach = (
            "nothing limits it: Landlock is missing"
            if self.context.support.abi is None
            else "Landlock bounds what is read, written and run with it, and not what else it opens"
        )
        return f"all but {names}, because paths of this policy belong to other users; {reach}"


def opened(name: str) -> Unenforced:
    """Return what a capability opens that the kernel keeps."""
    return Unenforced(what=f"what CAP_{name.upper()} opens, which the kernel keeps", why=_OPENED[name])


def _close_ways_back(before: dict[str, int], kept: int) -> None:
    missing = [name for name, number in KEEPABLE.items() if (kept & ~before["CapPrm"]) >> number & 1]
    if missing:
        raise ConfinementError(
            f"the notebook needs a folder of another user, but this process lacks CAP_{missing[0].upper()} "
            "itself; name the owner in the policy's process.run_as_user, change the folder's owner, or grant "
            "the container that capability"
        )
    held = before["CapPrm"]
    capabilities.set_to(permitted=held, effective=held, inheritable=kept)
    libc.prctl(_AMBIENT, _AMBIENT_CLEAR_ALL)
    number = 0
    while (bound := _bound(number)) is not None:
        if kept >> number & 1:
            libc.prctl(_AMBIENT, _AMBIENT_RAISE, number)
        elif bound:
            libc.prctl(_BOUND_DROP, number)
        number += 1
    libc.prctl(_SET_SECUREBITS, libc.prctl(_GET_SECUREBITS) & ~_KEEP_CAPS | _SECUREBITS)


def _bound(number: int) -> int | None:
    """Return whether a capability is in the bounding set, None where Linux has no such capability."""
    try:
        return libc.prctl(_BOUND_READ, number)
    except OSError:
        return None


def _cannot_be_dropped(error: OSError) -> ConfinementError:
    return ConfinementError(f"the kernel's capabilities cannot be dropped: {error.strerror}")


def _way_back(bounding: int, kept: int) -> str:
    if bounding == kept:
        return "none can be regained: bounding set reduced, securebits locked"
    return "the bounding set stays, because reducing it takes CAP_SETPCAP, but no_new_privs lets no program regain any"
