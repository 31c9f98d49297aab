"""JupyterHub: every user's server starts confined kernels only, with the policy of the user's group.

In `jupyterhub_config.py`::

    from openshell_kernel.server import hub
    hub.configure(c, policy="/etc/openshell/policy.yaml", group_policies={"staff": "/etc/openshell/staff.yaml"})
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openshell_kernel.errors import ConfigurationError
from openshell_kernel.policy import loading, sources

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SERVER_OPTIONS = (
    "--ServerApp.kernel_spec_manager_class=openshell_kernel.server.kernelspecs.ConfinedKernelSpecManager",
    "--KernelSpecManager.ensure_native_kernel=False",
    "--MultiKernelManager.default_kernel_name=openshell-gpu",
    "--ServerApp.terminals_enabled=False",
    # It installs packages as the user, unconfined, into the environment that starts the kernels.
    "--LabApp.extension_manager=readonly",
)


def configure(
    c: Any,  # noqa: ANN401 - traitlets' configuration object, which has no usable type
    *,
    policy: str | os.PathLike[str] | None = None,
    group_policies: Mapping[str, str | os.PathLike[str]] | None = None,
) -> None:
    """Make every single-user server of this hub start confined kernels only. Call it in `jupyterhub_config.py`.

    Sets `c.Spawner.args`, `environment` and `disable_user_config`, and adds to what is there. Terminals and the
    users' own kernelspecs and configuration are switched off: each would be a way around the sandbox.

    Args:
        c: the configuration object of `jupyterhub_config.py`.
        policy: absolute path of the policy file for everybody; without it, the built-in policy. A user's own
            `openshell/policy.yaml` does not count.
        group_policies: policy files by group. For a user in several of them, the first in this order applies.

    Raises:
        ConfigurationError: a path is not absolute, or a group's name is wrong.
        PolicyError: a policy file on this machine is wrong. A file that is not here, because users' servers run in
            containers, is checked when a kernel starts.
    """
    default = _checked(sources.BUILT_IN_POLICY if policy is None else policy)
    by_group = {_group(name): _checked(path) for name, path in (group_policies or {}).items()}
    c.Spawner.args.extend(_SERVER_OPTIONS)
    c.Spawner.environment.update({sources.VARIABLE: _chooser(default, by_group)})
    c.Spawner.disable_user_config = True


def _chooser(default: str, by_group: Mapping[str, str]) -> Callable[[Any], str]:
    def policy_of(spawner: Any) -> str:  # noqa: ANN401 - JupyterHub's spawner, known only in the hub
        groups = {group.name for group in spawner.user.groups}
        return next((path for name, path in by_group.items() if name in groups), default)

    return policy_of


def _group(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"group_policies: {name!r} is not the name of a group")
    return name


def _checked(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    if not os.path.isabs(name):
        raise ConfigurationError(f"{name}: the path of a policy must be absolute, because servers start elsewhere")
    if Path(name).exists():
        loading.load(Path(name))
    return name
