"""The first stage of a start: which policy counts for a notebook, found and loaded anew each time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_core.paths import jupyter_runtime_dir

from openshell_kernel.base import modes
from openshell_kernel.errors import PolicyError
from openshell_kernel.policy import loading, sources, trust
from openshell_kernel.policy.sources import Source, SourceKind
from openshell_kernel.server.dirs.home import homes
from openshell_kernel.server.planning import interpreter, protected_paths
from openshell_kernel.server.settings import GPUS_VARIABLE

if TYPE_CHECKING:
    from openshell_kernel.policy.model import GpuPolicy, Policy
    from openshell_kernel.server.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPolicy:
    """A policy, where it was found, and the working directory and the server's root folder that it was found for.

    Names are resolved once: what was judged is what counts, whatever a notebook does to its folders meanwhile.

    Attributes:
        policy: what its author wrote, but for what the operator decides instead.
        source: where it was found.
        workdir: the working directory, without symbolic links.
        workdir_link: which symbolic link leads there from the name that the client gave, as a sentence; empty for none.
        root: the root folder of the server; None where there is no server, or it is not known.
        notices: what people should know of where the policy comes from.
    """

    policy: Policy
    source: Source
    workdir: str
    workdir_link: str = ""
    root: str | None = None
    notices: tuple[str, ...] = ()


def load_policy(settings: Settings, *, folder: str, root: str | None) -> LoadedPolicy:
    """Find and load the policy, anew at every start.

    `folder` is the working directory under the name that the client gave. `root` is the server's root folder, up to
    which a policy near the notebook is looked for; None where there is no server, or it is not known.

    Raises:
        PolicyError: the first source that exists cannot be used, or is near the notebook and not trusted; one near the
            notebook was trusted and is gone; or a symbolic link makes one out to be near.
    """
    home = str(Path.home())
    nearby = sources.nearby_folders(folder, root=root, home=home)
    workdir = nearby[0] if nearby else os.path.realpath(folder)
    link = protected_paths.why_not_exact(folder, workdir, root=root, home=home)
    if link:
        nearby += _nearby_by_name(folder, root=root, home=home)
    _mend_what_counts()
    source = sources.find(
        configured=settings.policy, environ=os.environ, nearby=nearby, required=settings.require_policy
    )
    store = trust.Store(trust.store_path(os.environ))
    trust.check_removed(source, () if settings.require_policy else nearby, store)
    _check_exact_if_nearby(source, workdir, link)
    policy, notices = _with_operators_gpus(_read(source, store), settings.gpus)
    return LoadedPolicy(policy=policy, source=source, workdir=workdir, workdir_link=link, root=root, notices=notices)


def load_given(given: Policy | str, settings: Settings, *, folder: str) -> LoadedPolicy:
    """Take a policy, or load it from a file, that is given for one program, which starts in `folder`.

    Raises:
        PolicyError: the file cannot be used.
    """
    source = Source(kind=SourceKind.GIVEN, path=given if isinstance(given, str) else "")
    policy, notices = _with_operators_gpus(_read_file(source) if isinstance(given, str) else given, settings.gpus)
    workdir = os.path.realpath(folder)
    link = protected_paths.why_not_exact(folder, workdir, root=None, home=str(Path.home()))
    _mend_what_counts()
    return LoadedPolicy(policy=policy, source=source, workdir=workdir, workdir_link=link, notices=notices)


def trusted_environment(loaded: LoadedPolicy) -> dict[str, str]:
    """Return the environment of children that are not confined, or not yet."""
    listed = loaded.policy.filesystem_policy.read_write if loaded.policy.filesystem_policy else ()
    return interpreter.scrubbed(os.environ, [loaded.workdir, str(homes()), *listed])


def _mend_what_counts() -> None:
    """Let this user read again what a start reads, should a notebook have closed it."""
    modes.mend(sources.shared(os.environ)[0].path)
    for folder in (jupyter_runtime_dir(), str(homes())):
        modes.mend(folder, private=True)


def _nearby_by_name(folder: str, *, root: str | None, home: str) -> tuple[str, ...]:
    """Return the folders whose policies would count if the working directory were where its name says."""
    return sources.nearby_folders(
        protected_paths.exact(folder, root=root, home=home),
        root=root and os.path.realpath(root),
        home=os.path.realpath(home),
        realpath=os.path.normpath,
        device=lambda _: 0,
    )


def _check_exact_if_nearby(source: Source, workdir: str, link: str) -> None:
    """Make sure that no symbolic link decides which policy near a notebook counts."""
    if link and source.kind is SourceKind.NEARBY:
        raise PolicyError(
            f"{source.path}: {link}. A notebook may have made the link so that this policy counts, or another "
            f"one does not; open the notebook in {workdir}, or pin one policy for all notebooks with "
            f"{sources.VARIABLE}"
        )


def _read(source: Source, store: trust.Store) -> Policy:
    if source.kind is SourceKind.NEARBY:
        return trust.load(source.path, store)
    return _read_file(source)


def _read_file(source: Source) -> Policy:
    file = loading.read(source.path)
    sources.check_linked_source(source, file.links)
    return loading.decode(file.content, name=source.path)


def _with_operators_gpus(policy: Policy, request: GpuPolicy | None) -> tuple[Policy, tuple[str, ...]]:
    if request is None:
        return policy, ()
    overruled = policy.jupyter is not None and policy.jupyter.gpu not in (None, request)
    notice = (
        f"the operator decides about GPUs (trait `gpus` or {GPUS_VARIABLE}), so jupyter.gpu of this policy does "
        "not count"
    )
    return policy.with_gpu(request), (notice,) if overruled else ()
