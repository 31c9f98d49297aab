"""Confine programs, and Jupyter's kernels, by an OpenShell policy.

    import openshell_kernel

    policy = openshell_kernel.load_policy("policy.yaml")
    with openshell_kernel.run(["python3", "script.py"], policy=policy) as process:
        process.wait()

Importing the package loads nothing else: a name is loaded when it is first asked for. The subpackages are not public.
They are the trust zones: `policy` (what is allowed), `gpu` (what hardware there is), `sandbox` (how it is enforced),
`server` (the trusted side, inside Jupyter), `kernel` (the untrusted side, inside the sandbox) and `api` (this).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openshell_kernel.api.confining import confine
    from openshell_kernel.api.explaining import Explanation, explain
    from openshell_kernel.api.policies import effective_policy, load_policy
    from openshell_kernel.api.process import Process, run
    from openshell_kernel.errors import (
        ConfigurationError,
        ConfinementError,
        LaunchError,
        OpenShellError,
        PolicyError,
        ProgramError,
    )
    from openshell_kernel.policy.effective import EffectivePolicy
    from openshell_kernel.policy.explain import Action
    from openshell_kernel.policy.loading import InvalidPolicyError
    from openshell_kernel.policy.model import Policy
    from openshell_kernel.sandbox.report import Report

__version__ = "0.1.0"

__all__ = [
    "Action",
    "ConfigurationError",
    "ConfinementError",
    "EffectivePolicy",
    "Explanation",
    "InvalidPolicyError",
    "LaunchError",
    "OpenShellError",
    "Policy",
    "PolicyError",
    "Process",
    "ProgramError",
    "Report",
    "confine",
    "effective_policy",
    "explain",
    "load_policy",
    "run",
]

if not TYPE_CHECKING:
    _HOMES = {
        "Action": "policy.explain",
        "ConfigurationError": "errors",
        "ConfinementError": "errors",
        "EffectivePolicy": "policy.effective",
        "Explanation": "api.explaining",
        "InvalidPolicyError": "policy.loading",
        "LaunchError": "errors",
        "OpenShellError": "errors",
        "Policy": "policy.model",
        "PolicyError": "errors",
        "Process": "api.process",
        "ProgramError": "errors",
        "Report": "sandbox.report",
        "confine": "api.confining",
        "effective_policy": "api.policies",
        "explain": "api.explaining",
        "load_policy": "api.policies",
        "run": "api.process",
    }

    def __getattr__(name: str) -> object:
        """Load a public name: the launcher and the kernel import this package too, and need none of them."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from pkgutil import resolve_name  # noqa: PLC0415 - see above

        value = globals()[name] = resolve_name(f"{__name__}.{_HOMES[name]}:{name}")
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
