"""JupyterHub: every user's server starts confined kernels only, with the policy of the user's group.

In `jupyterhub_config.py`, as the last statement (docs/jupyterhub_config.py is a whole example)::

    from openshell_kernel.server import hub
    hub.configure(c, policy="/etc/openshell/policy.yaml", group_policies={"staff": "/etc/openshell/staff.yaml"})

What this confines is the code that runs in kernels. The user's server itself is not confined; it obeys the person at
the browser, with the rights of the person's account:

- It shows and saves whatever the account may read and write beneath `c.Spawner.notebook_dir`, by default the home
  folder, and follows symbolic links out of it, which a kernel may have made. A policy does not withhold files from a
  person; the permissions of the file system do.
- A kernel that can reach the server and knows a token of it can do the same. None of the server's tokens is passed to
  it, but a person may type one into a cell.
- Server extensions that you allow may run programs unconfined. JupyterLab's own `POST /lab/api/build` runs Node.js on
  JupyterLab's sources, where the account may write to the environment.
- Whoever has another way onto the machine, such as SSH, is not held by a hub at all.
- What a policy lists beneath a folder that another kernel may write is granted wherever a symbolic link leads there.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from jupyterhub.app import JupyterHub
from jupyterhub.spawner import LocalProcessSpawner, SimpleLocalProcessSpawner
from traitlets import TraitError

from openshell_kernel.errors import ConfigurationError, OpenShellError
from openshell_kernel.hub.choice import Choice, Files, Gpus, PolicyPath, Spawner, encoded
from openshell_kernel.policy import sources
from openshell_kernel.server import confined_only
from openshell_kernel.server.answers import answer
from openshell_kernel.server.settings import GPUS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_ENVIRONMENT = {
    # Python runs the code that it finds in the home folder's site-packages, when it starts.
    "PYTHONNOUSERSITE": "1",
}


def configure(
    c: Any,  # noqa: ANN401 - traitlets' configuration object, which has no usable type
    *,
    policy: PolicyPath | Callable[[Spawner], PolicyPath] | None = None,
    group_policies: Mapping[str, PolicyPath] | None = None,
    unmatched: Literal["policy", "refuse"] = "policy",
    gpus: Gpus | Callable[[Spawner], Gpus | None] | None = None,
    policies_in_containers: bool = False,
    extensions: Iterable[str] = (),
) -> None:
    """Make every single-user server of this hub start confined kernels only.

    Call it last in `jupyterhub_config.py`. It sets `c.Spawner.args`, `environment` and `disable_user_config`, and
    adds to what is there. It switches off what would be a way around the sandbox: terminals, the users' own
    kernelspecs, configuration and packages (`pip install --user`), JupyterLab's extension manager, exports that start
    LaTeX or a browser, the home folder's export templates, and server extensions that are not known to start no
    programs: `openshell_kernel.server.confined_only` lists all of it. A kernel whose notebook lies outside
    `c.Spawner.notebook_dir`, where a symbolic link leads, starts in that folder instead. What stays open stands at the
    top of this module.

    Other settings of the provisioner belong into `c.Spawner.args`, as in
    `c.Spawner.args = ["--OpenShellProvisioner.gpu_claims=/srv/claims"]`.

    Args:
        c: the configuration object of `jupyterhub_config.py`.
        policy: absolute path of the policy file for everybody; without it, the built-in policy. A user's own
            `openshell/policy.yaml` does not count. Or a function that returns it for a user's spawner whenever a server
            starts: `lambda spawner: PATHS[spawner.user_options["policy"]]`, with a form of the hub's.
        group_policies: policy files by group. For a user in several of them, the first in this order applies. A group
            that the hub does not know when a server starts is warned of in its log.
        unmatched: what becomes of users in none of these groups: they get `policy`, or are told that no server starts.
        gpus: what every kernel asks of GPUs, as in a policy's `jupyter.gpu`, which does not count then:
            `{"count": 1, "request": "required"}`. Or a function of the spawner that returns it; where it is empty, or
            None, the policy decides. It is for each kernel, not for all kernels of a user together.
        policies_in_containers: the policy files are where the users' servers are, and not on this machine: they are not
            looked at here, but when a kernel starts.
        extensions: server extensions that are on, although they are not known to start no programs.

    Raises:
        ConfigurationError: a path is not absolute, a file is not there, or users cannot read it or could have written
            it, `gpus` or the name of a group or an extension is wrong, or another setting contradicts these.
        PolicyError: a policy file is wrong.
    """
    files = Files(in_containers=policies_in_containers, one_account=_has_one_account(c))
    choice = Choice(
        policy=_default(policy, unmatched, files),
        by_group=_by_group({} if group_policies is None else group_policies, files),
        gpus=gpus if callable(gpus) else _checked_gpus(gpus or {}),
        files=files,
    )
    if unmatched == "refuse" and not choice.by_group:
        raise ConfigurationError(
            "unmatched='refuse' starts a server for nobody, because group_policies is empty; add a group"
        )
    _check_replacement(c)
    _check_provisioner(c)
    options = confined_only.options(extensions)
    c.Spawner.args.extend(_additional(options, c.Spawner.args))
    c.Spawner.environment.update({**_ENVIRONMENT, sources.VARIABLE: _chooser(choice, options)})
    if gpus is not None:
        c.Spawner.environment.update({GPUS_VARIABLE: _teller("gpus", choice.gpus_of)})
    c.Spawner.disable_user_config = True


def _chooser(choice: Choice, options: Sequence[str]) -> Callable[[Spawner], str]:
    """Return the function that JupyterHub calls, whenever a server starts, for the value of a variable."""

    def policy_of(spawner: Spawner) -> str:
        missing = [option for option in options if option not in spawner.args]
        if missing or not spawner.disable_user_config:
            raise ConfigurationError(
                f"the server of {spawner.user.name} would start unconfined kernels, because its Spawner.args or "
                "disable_user_config changed after hub.configure(c); call that last in jupyterhub_config.py, "
                "and set args only as c.Spawner.args"
            )
        _warn_of_one_account(spawner)
        return choice.policy_of(spawner)

    return _teller("policy", policy_of)


def _teller(trait: str, function: Callable[[Spawner], str]) -> Callable[[Spawner], str]:
    """Return the function with its refusals as the hub shows them to the user whose server does not start.

    `trait` is that of the provisioner which would count instead of what the function returns.
    """
    option = f"--OpenShellProvisioner.{trait}"

    def telling(spawner: Spawner) -> str:
        try:
            if any(given.partition("=")[0] == option for given in spawner.args):
                raise ConfigurationError(
                    f"c.Spawner.args: {option} would override what hub.configure decides for each user; remove it"
                )
            return function(spawner)
        except OpenShellError as error:
            refused = answer(error)
            refused.jupyterhub_message = str(error)  # type: ignore[attr-defined]
            raise refused from None

    return telling


def _has_one_account(c: Any) -> bool:  # noqa: ANN401
    """Return whether the configuration names a spawner that starts all servers under the hub's own account."""
    named = c.JupyterHub.spawner_class if "spawner_class" in c.JupyterHub else LocalProcessSpawner
    with contextlib.suppress(TraitError, ImportError):
        kind = JupyterHub.class_traits()["spawner_class"].validate(None, named)
        return issubclass(kind, SimpleLocalProcessSpawner)
    # JupyterHub itself will say what is wrong with it.
    return False


def _warn_of_one_account(spawner: Spawner) -> None:
    if isinstance(spawner, SimpleLocalProcessSpawner):
        spawner.log.warning(
            "OpenShell: %s starts all users' servers under the hub's own account%s. Every user can read and "
            "change the files of the others and of the hub; choose another spawner, such as LocalProcessSpawner",
            type(spawner).__name__,
            ", which is root" if os.geteuid() == 0 else "",
        )


def _additional(options: Sequence[str], args: Any) -> list[str]:  # noqa: ANN401 - a list, or traitlets' promise of one
    """Return the options that are not among the administrator's, after making sure that none contradicts them."""
    # A promise remembers the first value that it gives.
    present = args if isinstance(args, list) else copy.deepcopy(args).get_value([])
    return confined_only.missing(
        options, present, who="c.Spawner.args: {given} contradicts hub.configure, which sets {wanted}"
    )


def _check_replacement(c: Any) -> None:  # noqa: ANN401
    """Make sure that no kind of spawner has an environment of its own, which would count instead of ours."""
    for name in c:
        if name.endswith("Spawner") and name != "Spawner" and "environment" in c[name]:
            raise ConfigurationError(
                f"c.{name}.environment would replace c.Spawner.environment, which names the users' policies; "
                "write c.Spawner.environment instead"
            )


def _check_provisioner(c: Any) -> None:  # noqa: ANN401
    """Make sure that no setting is meant for the users' servers and stands where only the hub reads it."""
    for trait in c["OpenShellProvisioner"] if "OpenShellProvisioner" in list(c) else ():
        raise ConfigurationError(
            f"c.OpenShellProvisioner.{trait} has no effect in the hub's configuration, because the users' "
            f"servers start the kernels; add '--OpenShellProvisioner.{trait}=...' to c.Spawner.args, before "
            "hub.configure(c)"
        )


def _default(policy: object, unmatched: object, files: Files) -> str | Callable[[Spawner], PolicyPath] | None:
    if unmatched not in ("policy", "refuse"):
        raise ConfigurationError(f"unmatched: must be 'policy' or 'refuse', not {unmatched!r}")
    if unmatched == "refuse":
        if policy is not None:
            raise ConfigurationError(
                "policy is for users in none of the groups, but unmatched='refuse' starts no server for them; "
                "remove one"
            )
        return None
    if callable(policy):
        return policy
    return sources.BUILT_IN if policy is None else files.checked("policy", policy)


def _checked_gpus(gpus: Gpus) -> Gpus:
    encoded(gpus)
    return gpus


def _by_group(group_policies: object, files: Files) -> dict[str, str]:
    if not isinstance(group_policies, Mapping):
        raise ConfigurationError(
            f"group_policies: {group_policies!r} does not map groups to policies; write {{'GROUP': 'POLICY FILE'}}"
        )
    for name in group_policies:
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"group_policies: {name!r} is not the name of a group")
    return {name: files.checked(f"group_policies[{name!r}]", path) for name, path in group_policies.items()}
