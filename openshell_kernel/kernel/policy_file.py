"""The policy of a running kernel as a policy file that loads again and gives the same sandbox."""

from __future__ import annotations

import copy
import io
import os
import posixpath
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from openshell_kernel.base.text import printable
from openshell_kernel.policy.effective import Access, Origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from openshell_kernel.kernel.snapshot import Snapshot
    from openshell_kernel.policy.effective import Rule


def render(snapshot: Snapshot, *, environ: Mapping[str, str] = os.environ) -> str:
    """Return the declared policy with promotions applied, and beneath it, as comments, what was added to it.

    The baselines and the working directory stay comments: they are found anew at every start, and as entries
    would freeze this start's paths into the policy. The values of variables are not recorded: they are taken from
    `environ`, which the policy has set.
    """
    effective = snapshot.effective
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.allow_unicode = False
    yaml.width = 2**16
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(_declared(snapshot, environ), stream)
    return "\n".join(
        [
            f"# Policy of an OpenShell kernel, as recorded at launch, {printable(snapshot.kernel.started)}",
            f"# It came from: {printable(effective.source)}",
            *(
                f"# Promoted to read-write: {printable(item.path)} ({item.origin.value})"
                for item in effective.promotions
            ),
            stream.getvalue().rstrip("\n"),
            *_added(effective.rules),
            "",
        ]
    )


def _declared(snapshot: Snapshot, environ: Mapping[str, str]) -> dict[str, Any]:
    effective = snapshot.effective
    policy = copy.deepcopy(effective.declared)
    policy.setdefault("landlock", {"compatibility": effective.compatibility.value})
    variables = (policy.get("jupyter") or {}).get("environment", {}).get("set", {})
    variables.update({name: environ.get(name, "") for name in variables})
    filesystem = policy.get("filesystem_policy")
    if not isinstance(filesystem, dict):
        return policy
    promoted = {promotion.path for promotion in effective.promotions}
    read_only = list(filesystem.get("read_only") or ())
    moved = [path for path in read_only if _normal(path) in promoted]
    if moved:
        filesystem["read_only"] = [path for path in read_only if path not in moved]
        filesystem["read_write"] = [*(filesystem.get("read_write") or ()), *moved]
    return policy


def _normal(path: object) -> str:
    return "/" + posixpath.normpath(str(path)).lstrip("/")


def _added(rules: tuple[Rule, ...]) -> Iterable[str]:
    added = [rule for rule in rules if rule.origin not in (Origin.POLICY, Origin.PROMOTION)]
    if added:
        yield ""
        yield "# Added at this start, and again at every start. Listed here only for your information:"
    for access in (Access.READ_WRITE, Access.READ_ONLY):
        for rule in added:
            if rule.access is access:
                why = f"{rule.origin.value}: {printable(rule.reason)}"
                yield f"#   {access.value}  {printable(rule.path)}  ({why})"
