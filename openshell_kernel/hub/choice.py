"""What each user's server of a hub is given, decided whenever one starts: a policy, and what it may ask of GPUs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

from openshell_kernel.errors import ConfigurationError
from openshell_kernel.hub.files import check_for_users
from openshell_kernel.policy import loading
from openshell_kernel.policy.model import GpuPolicy
from openshell_kernel.server.settings import checked

PolicyPath = Union[str, "os.PathLike[str]"]
Gpus = Mapping[str, object]
Spawner = Any  # JupyterHub's, which is known only in the hub


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """How the hub looks at policies: not at all where the users' servers run in containers, which have other files.

    Where all users have the hub's own account, there is no difference between reading and writing to be made.
    """

    in_containers: bool
    one_account: bool

    def checked(self, what: str, path: object) -> str:
        """Return a policy's path.

        Raises:
            ConfigurationError: it is no absolute path, or the file is not fit for the users.
            PolicyError: the policy is wrong.
        """
        name = os.fspath(path) if isinstance(path, str | os.PathLike) else None
        if not isinstance(name, str):
            raise ConfigurationError(f"{what}: {path!r} is not the path of a policy file")
        if not os.path.isabs(name):
            raise ConfigurationError(
                f"{what}: {name!r} is not absolute; write an absolute path, because servers start in other folders"
            )
        if not self.in_containers:
            check_for_users(what, name, one_account=self.one_account)
            loading.load(Path(name))
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What `hub.configure` was told about policies and GPUs.

    `policy` is None where users of no mapped group are refused. `warned` remembers what the log was told of.
    """

    policy: str | Callable[[Spawner], PolicyPath] | None
    by_group: Mapping[str, str]
    gpus: Gpus | Callable[[Spawner], Gpus | None]
    files: Files
    warned: set[str] = field(default_factory=set)

    def policy_of(self, spawner: Spawner) -> str:
        """Return the path of the policy for a server that starts.

        Raises:
            ConfigurationError, PolicyError: it gets none, or the administrator's function returned none that is fit.
        """
        self._warn_of_unknown_groups(spawner)
        groups = {group.name for group in spawner.user.groups}
        for name, path in self.by_group.items():
            if name in groups:
                return path
        if self.policy is None:
            raise ConfigurationError(
                f"{spawner.user.name} is in none of the groups that may start a server "
                f"({', '.join(self.by_group)}); ask the hub's administrator to add you to one"
            )
        return self.files.checked("policy", self.policy(spawner)) if callable(self.policy) else self.policy

    def gpus_of(self, spawner: Spawner) -> str:
        """Return what the kernels of a server that starts ask of GPUs, as a variable's value.

        Raises:
            ConfigurationError: the administrator's function returned something else.
        """
        return encoded(self.gpus(spawner) if callable(self.gpus) else self.gpus)

    def _warn_of_unknown_groups(self, spawner: Spawner) -> None:
        from jupyterhub import orm  # noqa: PLC0415 - only the hub needs to have it

        for name in self.by_group.keys() - self.warned:
            if orm.Group.find(spawner.user.db, name) is None:
                self.warned.add(name)
                spawner.log.warning(
                    "OpenShell: hub.configure maps the group %r to a policy, but the hub has no such group, so "
                    "nobody gets that policy; correct the name, or create the group",
                    name,
                )


def encoded(gpus: Gpus | None) -> str:
    """Return a request for GPUs as a variable's value; nothing where the policy decides.

    Raises:
        ConfigurationError: it is wrong.
    """
    if not gpus:
        return ""
    if not isinstance(gpus, Mapping):
        raise ConfigurationError(f"gpus: {gpus!r} is not a mapping such as {{'count': 1, 'request': 'required'}}")
    checked("gpus", GpuPolicy, gpus)
    return json.dumps(dict(gpus))
