"""From a policy to a launch plan: load, discover, enrich. Shared by the provisioner and the standalone planner."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_core.paths import jupyter_runtime_dir

import openshell_kernel
from openshell_kernel.base.paths import is_within
from openshell_kernel.base.rights import known_abi
from openshell_kernel.base.threads import run_in_thread
from openshell_kernel.errors import ConfigurationError, PolicyError
from openshell_kernel.gpu import discovery
from openshell_kernel.policy import loading, modes, sources, trust, unenforced
from openshell_kernel.policy.effective import Origin
from openshell_kernel.policy.enrichment import enrich
from openshell_kernel.server.claims import Registry
from openshell_kernel.server.dirs.home import homes, settle, show_packages
from openshell_kernel.server.planning import (
    capabilities,
    gpus,
    interpreter,
    protected_paths,
    python_environments,
    seccomp_filter,
)
from openshell_kernel.server.planning.environment import compose, redirections
from openshell_kernel.server.planning.identity import hand_over, lend_connection, resolve
from openshell_kernel.server.planning.launch_plan import launch_plan
from openshell_kernel.server.planning.needs import runtime
from openshell_kernel.server.planning.search_path import search_path
from openshell_kernel.server.process import arguments
from openshell_kernel.server.settings import GPUS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from openshell_kernel.policy.effective import EffectivePolicy, Rule
    from openshell_kernel.policy.model import GpuPolicy, Policy
    from openshell_kernel.sandbox.plan import LaunchPlan
    from openshell_kernel.server.claims import Claim
    from openshell_kernel.server.dirs.private_dir import PrivateDir
    from openshell_kernel.server.planning.interpreter import Interpreter
    from openshell_kernel.server.planning.python_environments import Kept
    from openshell_kernel.server.settings import Settings

LAUNCHER = ("-I", "-m", "openshell_kernel.sandbox.launcher")
_OWN_PACKAGE = os.path.dirname(os.path.realpath(openshell_kernel.__file__))
_PATH = "PATH"
START = os.path.join(_OWN_PACKAGE, "kernel", "start.py")
"""What IPython kernels are started by. The Python that reads it need not have this package."""
_IPYKERNEL = ("ipykernel_launcher", "ipykernel")
_LAST_OPTION = 5  # as far as Python's own options may reach in a kernelspec's command
_EXTENSION = "--IPKernelApp.extra_extensions=openshell_kernel.kernel.magics"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPolicy:
    """A policy, where it was found, and the working directory and the server's root folder that it was found for.

    `workdir` is without symbolic links, and `linked` says why it was not reached straight, if it was not. Names are
    resolved once: what was judged is what counts, whatever a notebook does to its folders meanwhile. `notices` are what
    people should know of where the policy comes from.
    """

    policy: Policy
    source: sources.Source
    workdir: str
    linked: str
    root: str | None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A launch plan, the effective policy that it carries out, and the environment of the launcher itself.

    `claim` is what the kernel holds of the machine's GPUs: whoever starts it sees to the release.
    """

    plan: LaunchPlan
    effective: EffectivePolicy
    launcher_environment: dict[str, str]
    claim: Claim | None = None


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
    linked = protected_paths.why_not_link(folder, workdir, root=root, home=home)
    if linked:
        nearby += _nearby_by_name(folder, root=root, home=home)
    modes.mend(sources.shared(os.environ)[0].path)
    for folder_of_ours in (jupyter_runtime_dir(), str(homes())):
        modes.mend(folder_of_ours, private=True)
    source = sources.find(
        configured=settings.policy, environ=os.environ, nearby=nearby, required=settings.require_policy
    )
    store = trust.Store(trust.store_path(os.environ))
    trust.check_removed(source, () if settings.require_policy else nearby, store)
    near = source.kind is sources.SourceKind.NEARBY
    if near and linked:
        raise PolicyError(
            f"{source.path}: {linked}, and a notebook may have made it for this policy to count, or not to; open the "
            f"notebook in {workdir}, or name one policy for every notebook by {sources.VARIABLE}"
        )
    if near:
        policy = trust.load(source.path, store)
    else:
        file = loading.read(source.path)
        sources.check_linked_source(source, file.links)
        policy = loading.decode(file.content, name=source.path)
    policy, notices = _with_operators_gpus(policy, settings.gpus)
    return LoadedPolicy(policy=policy, source=source, workdir=workdir, linked=linked, root=root, notices=notices)


def _with_operators_gpus(policy: Policy, request: GpuPolicy | None) -> tuple[Policy, tuple[str, ...]]:
    if request is None:
        return policy, ()
    overruled = policy.jupyter is not None and policy.jupyter.gpu not in (None, request)
    notice = f"the operator decides about GPUs (trait `gpus` or {GPUS_VARIABLE}), and not this policy's jupyter.gpu"
    return policy.with_gpu(request), (notice,) if overruled else ()


def _nearby_by_name(folder: str, *, root: str | None, home: str) -> tuple[str, ...]:
    """Return the folders whose policies would count if the working directory were where its name says."""
    return sources.nearby_folders(
        protected_paths.straight(folder, root=root, home=home),
        root=root and os.path.realpath(root),
        home=os.path.realpath(home),
        realpath=os.path.normpath,
        device=lambda _: 0,
    )


async def make_plan(
    loaded: LoadedPolicy,
    settings: Settings,
    *,
    trusted: dict[str, str],
    command: Sequence[str],
    environment: dict[str, str],
    kernelspec_environment: Collection[str],
    connection_file: str,
    private: PrivateDir,
    encrypted: bool,
    logs: Iterable[str] = (),
    claim: Claim | None = None,
    tell: Callable[[str], None] | None = None,
) -> Planned:
    """Discover the GPUs, enrich the policy and say what the launcher must do.

    `trusted` is the `trusted_environment`. `command` is the kernelspec's argv as Jupyter formatted it; `environment` is
    what Jupyter would give the kernel, and `kernelspec_environment` names what stands in the `env` of kernel.json.
    `encrypted` says whether Jupyter and the kernel talk so. `logs` are the files that servers log to. `claim` is what
    the kernel held of the GPUs before it was restarted. `tell` is told why the start takes long.

    Raises:
        PolicyError: the sandbox could write the policy that it is started from, or what the policy requires of GPUs
            is not to be had.
        ConfigurationError: the kernel's program is not found, or what every kernel reads holds Jupyter's keys.
        ConfinementError: a filter of system calls is required and cannot be made.
        LaunchError: the kernel's Python does not run, or its home is not what it should be.
    """
    workdir = loaded.workdir
    identity = resolve(loaded.policy.process, euid=os.geteuid())
    if os.geteuid() == 0:
        await run_in_thread(functools.partial(hand_over, private, uid=0, gid=0))
    jupyters = connection_file
    connection_file = lend_connection(jupyters, private, identity, encrypted=encrypted)
    executable = _executable(command[0], environment)
    home = str(Path.home())
    # Both ask child processes, at the same time.
    asking = run_in_thread(_inspect, executable, {**trusted, "HOME": home})
    compiling = run_in_thread(functools.partial(seccomp_filter.load, required=settings.require_seccomp))
    needs_gpu = loaded.policy.gpu.request == "required"
    inventory = await discovery.discover(
        timeout=settings.required_discovery_timeout if needs_gpu else settings.discovery_timeout,
        environ=trusted,
        mps_pipes=environment.get("CUDA_MPS_PIPE_DIRECTORY"),
        fresh=gpus.needs_a_fresh_look(loaded.policy.gpu),
        tell=tell,
    )
    python, server_python = await asking
    system_calls = await compiling
    hardware = gpus.hardware(inventory)
    registry = Registry(settings.gpu_claims)
    selection, held = await gpus.choose(
        loaded.policy.gpu, hardware, registry, visible=environment.get(gpus.VISIBLE), current=claim
    )
    with _released_on_error(held):
        store = trust.store_path(os.environ)
        shared = sources.shared(os.environ)
        own = [str(homes()), os.path.dirname(store), store, *(source.path for source in shared), *selection.records]
        if loaded.source.kind is not sources.SourceKind.NEARBY:
            # A trusted policy near the notebook may be rewritten by it: see sources.refuse_writable_source.
            own.append(loaded.source.path)
        pythons = [server_python, *([python] if python else [])]
        # A home that is kept lies in a folder of the server's user.
        kind = "ephemeral" if identity else settings.home or loaded.policy.home
        own_home = settle(kind, workdir=workdir, linked=loaded.linked, private=private)
        composed = compose(
            {_PATH: os.defpath, **environment},
            kernelspec=kernelspec_environment,
            redirected=redirections(own_home.path, temporary=str(private.temporary), runtime=str(private.runtime)),
            selected=gpus.variables(selection, nowhere=f"{private.runtime}/no-mps"),
            policy=loaded.policy.environment,
            settings=settings.environment,
        )
        packages = _user_site(python, environment)
        user_site = packages if packages and not identity and os.path.isdir(packages) else ""
        problem = show_packages(own_home.path, user_site) if user_site else ""
        words = kernel_command(command, None if packages is None else user_site)
        argv = [connection_file if word == jupyters else word for word in words]
        locks = [registry.lock] if selection.hold else []
        protected = protected_paths.protected(pythons, [*own, _OWN_PACKAGE], home=home, locks=locks, logs=logs)
        kept = await python_environments.keep(loaded.policy, workdir, protected, trusted)
        needed = runtime(
            python,
            executable=executable,
            script=START if START in argv else "",
            environment=composed,
            workdir=workdir,
            linked=loaded.linked,
            root=loaded.root,
            protected=protected,
            connection_file=connection_file,
            private=private,
            own_home=own_home,
            user_site=user_site,
            home=home,
            identity_applied=identity is not None,
            records=selection.records,
            kept=kept,
            notices=(*loaded.notices, *arguments.exposures(), *((problem,) if problem else ())),
        )
        effective = enrich(
            loaded.policy,
            hardware,
            needed,
            source=loaded.source.describe(),
            selection=selection,
            pinned=settings.baseline_conflicts,
        )
        exposed = protected_paths.exposures(
            effective.rules, [place for place in protected if place.secret or not kept.holds(place.path)]
        )
        powers = capabilities.judge(
            effective.rules, identity, private=str(private.path), own=(own_home.path, connection_file)
        )
        effective = _owning_up(effective, exposed, kept, powers, encrypted=encrypted)
        writable = [rule.path for rule in effective.rules if "write_file" in rule.rights]
        _check_granted(loaded.source, effective.rules, pythons, kept)
        _check_policies(loaded.source, shared, store, writable, kept)
        if identity is not None:
            await run_in_thread(functools.partial(hand_over, private, uid=identity.uid, gid=identity.gid))
        plan = launch_plan(
            loaded,
            settings,
            argv=(executable, *argv[1:]),
            environment=_with_programs(composed.values, effective, executable, loaded, settings),
            effective=effective,
            needed=needed,
            protected=protected,
            kept=kept,
            identity=identity,
            capabilities=powers.capabilities,
            seccomp_filter=system_calls,
            home=home,
        )
        return Planned(plan=plan, effective=effective, launcher_environment=trusted, claim=held)


def _with_programs(
    values: dict[str, str], effective: EffectivePolicy, executable: str, loaded: LoadedPolicy, settings: Settings
) -> dict[str, str]:
    """Return an environment whose PATH fits the sandbox; one that the policy or the operator sets stays as it is."""
    if _PATH in {**loaded.policy.environment.setting, **settings.environment.setting}:
        return values
    return {**values, _PATH: search_path(values[_PATH], effective.rules, first=os.path.dirname(executable))}


@contextlib.contextmanager
def _released_on_error(claim: Claim | None) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if claim is not None:
            claim.release()
        raise


def _owning_up(
    effective: EffectivePolicy, exposed: Iterable[str], kept: Kept, powers: capabilities.Powers, *, encrypted: bool
) -> EffectivePolicy:
    """Add what this machine and this start leave open."""
    abi = known_abi()
    left = (
        *(() if encrypted else (unenforced.CONNECTION,)),
        *((unenforced.KEPT,) if kept.paths else ()),
        *(() if abi is None else unenforced.before_abi(abi)),
        *map(unenforced.capability, powers.capabilities),
    )
    return dataclasses.replace(
        effective,
        notices=(*effective.notices, *exposed, *powers.notices),
        unenforced=(*effective.unenforced, *left),
        kept=kept.paths,
    )


def kernel_command(command: Sequence[str], user_site: str | None = None) -> list[str]:
    """Return the command that runs inside the sandbox.

    The kernelspec's own command is the launcher, which becomes ipykernel; any other command runs as it is, so that
    other kernelspecs can choose this provisioner too. But `-m`, with which they name ipykernel, imports from the
    notebook's folder: `kernel.start` does not. IPython kernels load `%policy`. `user_site` is the folder of the user's
    own packages, empty where there is none, and None where Python does not import the user's packages at all.
    """
    if tuple(command[1:4]) == LAUNCHER:
        rest = command[6:] if command[4:5] == ["--kernelspec"] else command[4:]
        command = [command[0], "-m", "ipykernel_launcher", *rest]
    for place in range(1, min(len(command) - 1, _LAST_OPTION)):
        flags, words, rest = command[1:place], command[place : place + 2], command[place + 2 :]
        if words[0] == "-m" and words[1] in _IPYKERNEL:
            packages = [] if user_site is None or {"-I", "-s"} & set(flags) else [f"--packages={user_site}"]
            return [command[0], *flags, "-s", START, *packages, *rest, _EXTENSION]
    return list(command)


def _user_site(python: Interpreter | None, environment: Mapping[str, str]) -> str | None:
    """Return where the user's own packages would be, or None if unconfined programs do not import them."""
    return None if python is None or "PYTHONNOUSERSITE" in environment else python.user_site or None


def _executable(name: str, environment: dict[str, str]) -> str:
    found = name if os.path.isabs(name) else shutil.which(name, path=environment.get("PATH"))
    if found is None or not os.path.isabs(found):
        raise ConfigurationError(f"{name}: the kernel's program is not found; give its full path in kernel.json's argv")
    return found


def _check_granted(source: sources.Source, rules: Iterable[Rule], pythons: Iterable[Interpreter], kept: Kept) -> None:
    """Make sure that the sandbox is given neither Jupyter's keys nor the code that confines the next one."""
    rules = tuple(rules)
    _check_held_keys(rules)
    _check_own_code(source, pythons, [rule for rule in rules if rule.origin is not Origin.RUNTIME_BASELINE], kept)


def _check_policies(
    source: sources.Source, shared: Iterable[sources.Source], store: str, writable: Sequence[str], kept: Kept
) -> None:
    """Make sure that the sandbox can change no policy that counts, and not what says which do."""
    # The built-in policy lies in the environment, which may lie beside the notebook.
    if not kept.holds(os.path.realpath(source.path)):
        sources.check_writable_source(source, writable)
    sources.check_writable_shared(source, shared, writable)
    trust.check_writable_store(store, source, writable)


def _check_own_code(source: sources.Source, pythons: Iterable[Interpreter], rules: Iterable[Rule], kept: Kept) -> None:
    """Make sure that no sandbox is given the Python that starts the next one, or a part of it that is run."""
    pythons = tuple(pythons)
    whole = {os.path.realpath(path) for python in pythons for path in (*python.prefixes, *python.import_path)}
    parts = {os.path.realpath(path) for python in pythons for path in _run_parts(python)} | {_OWN_PACKAGE}
    for rule in rules:
        if "write_file" not in rule.rights:
            continue
        real = os.path.realpath(rule.path)
        inside = [path for path in sorted({*whole, *parts}) if is_within(path, real) and not kept.holds(path)]
        found = [f"which holds {path}" for path in inside]
        found += [f"which lies in {path}" for path in sorted(parts) if is_within(real, path)]
        if found:
            remedy = "take narrower paths"
            if kept.problem and inside:
                remedy += f"; it could stay read-only there, but for one thing: {kept.problem}"
            if rule.origin is Origin.PROXY_BASELINE:
                remedy = (
                    f"the policy's network_policies bring {rule.path} with them: move the Python environment out of "
                    f"{rule.path}, or remove network_policies, which are not enforced here"
                )
            raise PolicyError(
                f"{source.describe()}: the sandbox may write {rule.path} ({rule.origin.value}), {found[0]}, from "
                f"which the kernels' Python is run: it could change the code that confines it; {remedy}"
            )


def _run_parts(python: Interpreter) -> Iterator[str]:
    """Yield the folders of a Python in which every file may be run: its programs', and of its imports its own."""
    yield os.path.dirname(python.executable)
    for path in python.import_path:
        if any(is_within(path, prefix) for prefix in python.prefixes):
            yield path


def _check_held_keys(rules: Iterable[Rule]) -> None:
    """Make sure that no kernel is given the keys of Jupyter's servers and kernels without a policy that says so."""
    keys = os.path.realpath(jupyter_runtime_dir())
    for rule in rules:
        if rule.origin is not Origin.POLICY and is_within(keys, os.path.realpath(rule.path)):
            raise ConfigurationError(
                f"{keys}: here lie keys of Jupyter's servers and kernels, and the kernel would be given {rule.path} "
                f"({rule.origin.value}: {rule.reason}); set JUPYTER_RUNTIME_DIR to a folder elsewhere"
            )


def trusted_environment(loaded: LoadedPolicy) -> dict[str, str]:
    """Return the environment of children that are not confined, or not yet."""
    listed = loaded.policy.filesystem_policy.read_write if loaded.policy.filesystem_policy else ()
    return interpreter.scrubbed(os.environ, [loaded.workdir, str(homes()), *listed])


def _inspect(executable: str, environ: dict[str, str]) -> tuple[Interpreter | None, Interpreter]:
    """Return the kernel's Python, if it is one, and the server's."""
    is_python = os.path.basename(executable).startswith("python")
    return (
        interpreter.inspect(executable, environ) if is_python else None,
        interpreter.inspect(sys.executable, environ),
    )
