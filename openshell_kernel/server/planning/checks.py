"""What no sandbox is given, whatever its policy says: one list of checks, all of which run before every start."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_core.paths import jupyter_runtime_dir

from openshell_kernel.base.paths import is_within
from openshell_kernel.errors import ConfigurationError, PolicyError
from openshell_kernel.policy import sources, trust
from openshell_kernel.policy.effective import Origin
from openshell_kernel.server.planning.command import OWN_PACKAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from openshell_kernel.policy.effective import Rule
    from openshell_kernel.policy.sources import Source
    from openshell_kernel.server.planning.interpreter import Interpreter
    from openshell_kernel.server.planning.python_environments import Kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What a sandbox is about to be given.

    Attributes:
        source: where its policy comes from.
        rules: what it may do where.
        kept: the environments that stay read-only although a rule grants a folder above them.
        pythons: the Pythons that start this kernel and the next one.
    """

    source: Source
    rules: tuple[Rule, ...]
    kept: Kept
    pythons: tuple[Interpreter, ...]

    @property
    def writable(self) -> tuple[str, ...]:
        """The paths that the sandbox may write."""
        return tuple(rule.path for rule in self.rules if "write_file" in rule.rights)


def check_servers_keys(granted: Granted) -> None:
    """Make sure that no kernel is given the keys of Jupyter's servers and kernels without a policy that says so."""
    keys = os.path.realpath(jupyter_runtime_dir())
    for rule in granted.rules:
        if rule.origin is not Origin.POLICY and is_within(keys, os.path.realpath(rule.path)):
            raise ConfigurationError(
                f"{keys}: keys of Jupyter's servers and kernels are here, and the kernel would get {rule.path} "
                f"({rule.origin.value}: {rule.reason}); set JUPYTER_RUNTIME_DIR to a folder elsewhere"
            )


def check_own_code(granted: Granted) -> None:
    """Make sure that no sandbox is given the Python that starts the next one, or a part of it that is run."""
    pythons, kept = granted.pythons, granted.kept
    whole = _real(path for python in pythons for path in (*python.prefixes, *python.import_path))
    parts = _real((*(path for python in pythons for path in _run_parts(python)), OWN_PACKAGE))
    for rule in granted.rules:
        if "write_file" not in rule.rights or rule.origin is Origin.RUNTIME_BASELINE:
            continue
        real = os.path.realpath(rule.path)
        inside = [path for path in sorted(whole | parts) if is_within(path, real) and not kept.holds(path)]
        found = [f"which holds {path}" for path in inside]
        found += [f"which lies in {path}" for path in sorted(parts) if is_within(real, path)]
        if found:
            raise PolicyError(
                f"{granted.source.describe()}: the sandbox may write {rule.path} ({rule.origin.value}), "
                f"{found[0]}, and the kernels' Python runs from there. It could change the code that confines "
                f"it; {_remedy(rule, kept.problem if inside else '')}"
            )


def check_source(granted: Granted) -> None:
    """Make sure that the sandbox cannot write its own next policy."""
    # The built-in policy lies in the environment, which may lie beside the notebook.
    if not granted.kept.holds(os.path.realpath(granted.source.path)):
        sources.check_writable_source(granted.source, granted.writable)


def check_shared_sources(granted: Granted) -> None:
    """Make sure that the sandbox cannot put a policy where one would count for other notebooks."""
    sources.check_writable_shared(granted.source, sources.shared(os.environ), granted.writable)


def check_trust_store(granted: Granted) -> None:
    """Make sure that the sandbox cannot change what says which policies near notebooks are trusted."""
    trust.check_writable_store(trust.store_path(os.environ), granted.source, granted.writable)


CHECKS: tuple[Callable[[Granted], None], ...] = (
    check_servers_keys,
    check_own_code,
    check_source,
    check_shared_sources,
    check_trust_store,
)
"""Each raises; the pipeline runs them all. A new check is one more function here."""


def check_granted(granted: Granted) -> None:
    """Run every check.

    Raises:
        PolicyError: the policy gives the sandbox what no policy may give.
        ConfigurationError: what every kernel needs lies where Jupyter's keys do.
    """
    for check in CHECKS:
        check(granted)


def _remedy(rule: Rule, problem: str) -> str:
    """Return what to do; `problem` says what keeps the environment from staying read-only in a writable folder."""
    if rule.origin is Origin.PROXY_BASELINE:
        return (
            f"network_policies add {rule.path} to the policy: move the Python environment out of {rule.path}, "
            "or remove network_policies, which are not enforced here"
        )
    could = f"; it could stay read-only there, but for one thing: {problem}" if problem else ""
    return f"take narrower paths{could}"


def _run_parts(python: Interpreter) -> Iterator[str]:
    """Yield the folders of a Python in which every file may be run: its programs', and of its imports its own."""
    yield os.path.dirname(python.executable)
    for path in python.import_path:
        if any(is_within(path, prefix) for prefix in python.prefixes):
            yield path


def _real(paths: Iterable[str]) -> set[str]:
    return {os.path.realpath(path) for path in paths}
