"""What a policy lists read-only and is writable all the same, because it lies in a folder that is read-write.

Landlock adds rights up: it cannot take any away inside a folder that it allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from openshell_kernel.base.paths import is_beneath, is_within
from openshell_kernel.errors import PolicyError
from openshell_kernel.policy.effective import Access, Origin, Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator


class Overlap(NamedTuple):
    """A path that the policy lists read-only, and the read-write folder that holds it."""

    listed: Rule
    folder: Rule

    def notice(self) -> str:
        """Return a sentence for people."""
        return (
            f"{self.listed.path} is listed read-only but stays writable: it lies in {self.folder.path}, which "
            "is read-write. Landlock cannot take rights away inside a folder that it allows. List narrower "
            "read-write folders instead"
        )

    def refusal(self, source: str) -> str:
        """Return why a policy with this does not start where it says hard_requirement."""
        path, folder = self.listed.path, self.folder.path
        return (
            f"{source}: {path} is listed read-only but would stay writable: it lies in {folder} "
            f"({self.folder.reason}), which is read-write. Landlock cannot take rights away inside a folder "
            "that it allows, and the policy says hard_requirement; list narrower read-write folders than "
            f"{folder}, or set landlock.compatibility to best_effort, which only warns"
        )


def overlaps(rules: Collection[Rule], realpath: Callable[[str], str]) -> Iterator[Overlap]:
    """Yield every overlap; `realpath` resolves links."""
    # In /proc nothing can be made, and what is there can be written.
    folders = [(rule, realpath(rule.path)) for rule in rules if {"write_file", "read_dir"} <= set(rule.rights)]
    for rule in rules:
        if rule.origin is Origin.POLICY and rule.access is Access.READ_ONLY:
            real = realpath(rule.path)
            for folder, real_folder in folders:
                if is_beneath(rule.path, folder.path) or is_within(real, real_folder):
                    yield Overlap(rule, folder)


def check_overlaps(source: str, found: Iterable[Overlap]) -> None:
    """Make sure that what a policy demands to stay read-only does.

    Raises:
        PolicyError: it would not.
    """
    # Of what a baseline makes writable a policy's author need not know.
    asked = [overlap for overlap in found if overlap.folder.origin in (Origin.POLICY, Origin.WORKDIR)]
    if asked:
        raise PolicyError("\n".join(overlap.refusal(source) for overlap in asked))
