"""Policies: from a file, and as they would apply here."""

from __future__ import annotations

import dataclasses
import errno
import os
import sys
from typing import TYPE_CHECKING

from openshell_kernel.api import planning
from openshell_kernel.policy import loading
from openshell_kernel.policy.effective import Skipped
from openshell_kernel.server.dirs.private_dir import PrivateDir
from openshell_kernel.server.planning.pipeline import make_plan

if TYPE_CHECKING:
    from openshell_kernel.api.planning import AnyPolicy
    from openshell_kernel.base.rules import Rule
    from openshell_kernel.policy.effective import EffectivePolicy
    from openshell_kernel.policy.model import Policy


def load_policy(path: str | os.PathLike[str]) -> Policy:
    """Read a policy file. All that is wrong with it is told at once.

    >>> import openshell_kernel
    >>> policy = openshell_kernel.load_policy("policy.yaml")
    >>> policy.filesystem_policy.read_only
    ('/usr',)
    >>> try:
    ...     openshell_kernel.load_policy("wrong.yaml")
    ... except openshell_kernel.InvalidPolicyError as error:
    ...     [(violation.line, violation.key) for violation in error.violations]
    [(2, 'filesystem'), (3, 'landlock.compatibility')]

    Raises:
        PolicyError: the file cannot be read.
        InvalidPolicyError: it is not a valid policy; its `violations` say where, why and what to do.
    """
    return loading.load(path)


def effective_policy(
    policy: AnyPolicy | None = None, *, cwd: str | os.PathLike[str] | None = None, python: str = sys.executable
) -> EffectivePolicy:
    """Return a policy as it would apply on this machine: every rule with its origin and reason.

    >>> import openshell_kernel
    >>> effective = openshell_kernel.effective_policy("policy.yaml")
    >>> [rule.origin.value for rule in effective.rules if rule.path == "/usr"]
    ['policy']
    >>> any(rule.origin.value == "runtime baseline" for rule in effective.rules)
    True

    Nothing is confined. The GPUs are looked at, and those that the policy counts are held for that long. The private
    folders that it names are gone by the time it is returned: every start has its own.

    Args:
        policy: a policy or the path of one; by default the one that counts for notebooks in `cwd`.
        cwd: the working directory that it would apply to; by default this process's.
        python: the full path of the Python that would work inside, which is run to ask where it imports from; by
            default this process's.

    Raises:
        PolicyError: nothing would start with this policy here; the message says why.
    """
    private = PrivateDir()
    try:
        request = planning.request([python], policy, cwd=cwd, environment=os.environ, python=python, private=private)
        planned = planning.wait_for(make_plan(request))
        if planned.claim is not None:
            planned.claim.release()
        return _as_opened(planned.effective)
    finally:
        private.remove()


def _as_opened(effective: EffectivePolicy) -> EffectivePolicy:
    """Say where the rules' paths lead, and that those which are not there are skipped, as a launcher would find."""
    rules = tuple(rule._replace(resolved=os.path.realpath(rule.path)) for rule in effective.rules if _there(rule))
    skipped = (
        Skipped(path=rule.path, access=rule.access, origin=rule.origin, why=os.strerror(errno.ENOENT))
        for rule in effective.rules
        if not _there(rule)
    )
    return dataclasses.replace(effective, rules=rules, skipped=(*effective.skipped, *skipped))


def _there(rule: Rule) -> bool:
    return os.path.exists(rule.path)
