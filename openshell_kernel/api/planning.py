"""What programs ask of planning: the same stages as for a kernel, for a program that Jupyter knows nothing of."""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from openshell_kernel.policy.model import Policy
from openshell_kernel.server.planning.loading import load_given, load_policy, trusted_environment
from openshell_kernel.server.planning.request import KernelRequest
from openshell_kernel.server.settings import Settings, requested_gpus

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from openshell_kernel.server.dirs.private_dir import PrivateDir

    AnyPolicy = Policy | str | os.PathLike[str]
    """A policy, or the path of its file."""

_T = TypeVar("_T")


def request(
    command: Sequence[str],
    policy: AnyPolicy | None,
    *,
    cwd: str | os.PathLike[str] | None,
    environment: Mapping[str, str],
    python: str = sys.executable,
    private: PrivateDir,
    mounts: bool = True,
) -> KernelRequest:
    """Return what is asked of a start. Without a policy, the one that counts for notebooks in `cwd` does.

    Raises:
        PolicyError: the policy cannot be used.
        ConfigurationError: what the environment says of GPUs is wrong.
    """
    folder = os.path.abspath(os.getcwd() if cwd is None else cwd)
    settings = Settings(gpus=requested_gpus({}, os.environ))
    if policy is None:
        loaded = load_policy(settings, folder=folder, root=None)
    else:
        given = policy if isinstance(policy, Policy) else os.path.abspath(policy)
        loaded = load_given(given, settings, folder=folder)
    return KernelRequest(
        loaded=loaded,
        settings=settings,
        trusted=trusted_environment(loaded),
        command=tuple(command),
        # Of a program nothing is known but its name: it has this process's own Python at hand.
        python=python,
        environment=dict(environment),
        private=private,
        mounts=mounts,
    )


def wait_for(work: Coroutine[object, object, _T], *, undo: Callable[[_T], None] | None = None) -> _T:
    """Run a coroutine to its end and return its result; in a thread, because the caller may have a loop of its own.

    Where this is interrupted, as by Ctrl-C, it waits all the same, and what was done is undone.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="openshell-planning") as executor:
        working = executor.submit(asyncio.run, work)
        try:
            return working.result()
        except BaseException:
            if working.exception() is None and undo is not None:
                undo(working.result())
            raise
