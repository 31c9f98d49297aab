"""What is kept from a kernel: paths that it must not be given by accident, and environments that stay as they are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.gpu.claims import Registry
from openshell_kernel.policy import sources, trust
from openshell_kernel.policy.sources import SourceKind
from openshell_kernel.server.dirs.home import homes
from openshell_kernel.server.planning import python_environments
from openshell_kernel.server.planning.command import OWN_PACKAGE
from openshell_kernel.server.planning.protected_paths import protected
from openshell_kernel.server.planning.python_environments import Kept

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openshell_kernel.policy.protected_paths import ProtectedPath
    from openshell_kernel.server.planning.gathering import Gathered
    from openshell_kernel.server.planning.request import KernelRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """The protected paths of this user on this machine, and the environments that are kept by mounts."""

    paths: tuple[ProtectedPath, ...]
    kept: Kept


async def protect(request: KernelRequest, gathered: Gathered) -> Protection:
    """Find out what to protect, and whether mounts can keep the environments in folders that the policy opens."""
    registry = Registry(request.settings.gpu_claims)
    paths = protected(
        gathered.pythons,
        _own(request, gathered),
        home=gathered.home,
        locks=[registry.lock] if gathered.selection.hold else [],
        logs=request.logs,
    )
    loaded, kept = request.loaded, Kept(problem="a process that runs already has no mounts of its own")
    if request.mounts:
        kept = await python_environments.keep(loaded.policy, loaded.workdir, paths, request.trusted)
    return Protection(paths=paths, kept=kept)


def _own(request: KernelRequest, gathered: Gathered) -> Iterator[str]:
    """Yield this package's own files: its code, its policies, its records."""
    store = trust.store_path(os.environ)
    yield from (OWN_PACKAGE, str(homes()), os.path.dirname(store), store, *gathered.selection.records)
    yield from (source.path for source in sources.shared(os.environ))
    # A trusted policy near the notebook may be rewritten by it: see sources.check_writable_source.
    if request.loaded.source.kind is not SourceKind.NEARBY:
        yield from filter(None, [request.loaded.source.path])
