"""The launch plan: what the launcher must do, as JSON that crosses from the trusted side into the new process.

The plan is handed over through a pipe or in an anonymous file, never on disk and never in arguments: it holds the
environment. Its parts are no dataclasses, which take several times as long to build at every start of the launcher.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from openshell_kernel.base import wire
from openshell_kernel.base.values import AbsolutePath, Text
from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox.layers.table import LAYERS
from openshell_kernel.sandbox.report import LANDLOCK

if TYPE_CHECKING:
    from openshell_kernel.base.rules import Rule

FORMAT = 3

_OTHER_VERSION = (
    "another version of openshell_kernel made the launch plan: the package was upgraded or downgraded under "
    "the running server. Nothing was started; stop Jupyter's server and start it again. Restarting the kernel "
    "does not help"
)


def why_not_command(words: tuple[str, ...]) -> str:
    """Return why words are no command; empty where they are one."""
    return "" if words and words[0].startswith("/") else "its first word is not an absolute path"


def why_not_variable(name: str) -> str:
    """Return why a name is none of an environment variable; empty where it is."""
    return "not the name of a variable" if not name or "=" in name or "\0" in name else ""


class LaunchPlan(NamedTuple):
    """Everything the launcher needs; it looks up nothing else.

    Attributes:
        argv: the kernel's command; the first word is an absolute path.
        cwd: the kernel's working directory.
        environment: the kernel's whole environment.
        layers: the protections by name, each with its parameters.
        required: those of them without which nothing is started.
        record: JSON object that is handed to the kernel beside what was achieved; nothing is, where it is empty.
    """

    argv: Annotated[tuple[Text, ...], why_not_command]
    cwd: AbsolutePath
    environment: dict[Annotated[str, why_not_variable], Text]
    layers: dict[str, Any]
    required: tuple[str, ...]
    record: dict[str, Any]

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What Landlock is to grant."""
        return self.layers[LANDLOCK].rules if LANDLOCK in self.layers else ()

    def with_layer(self, name: str, parameters: object) -> LaunchPlan:
        """Return the same plan with other parameters for a layer."""
        return self._replace(layers={**self.layers, name: parameters})

    def to_bytes(self) -> bytes:
        """Return the plan as JSON."""
        return json.dumps({"format": FORMAT, **wire.encode(self)}).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> LaunchPlan:
        """Read a plan, by allow-list: whatever is not exactly as `to_bytes` writes it is refused.

        Raises:
            ConfinementError: the plan is damaged, or another version of this package wrote it; nothing may be started
                from it.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            raise _damaged("it is not JSON") from None
        if not isinstance(data, dict) or type(data.get("format")) is not int:
            raise _damaged("it is not an object with a format")
        if data.pop("format") != FORMAT:
            raise ConfinementError(_OTHER_VERSION)
        try:
            return _with_parameters(wire.decode(cls, data))
        except wire.WrongKeysError:
            raise ConfinementError(_OTHER_VERSION) from None
        except wire.WireError as error:
            raise _damaged(str(error)) from None


def _with_parameters(plan: LaunchPlan) -> LaunchPlan:
    """Return the plan with the layers' parameters as their own types."""
    missing = {name for name, layer in LAYERS.items() if not layer.may_be_left_out} - set(plan.layers)
    if missing:
        raise wire.WrongKeysError(f"layer {min(missing)!r} is missing").within(".layers")
    layers = {}
    for name, data in plan.layers.items():
        if name not in LAYERS:
            raise wire.WrongKeysError(f"unknown layer {name[:40]!r}").within(".layers")
        try:
            layers[name] = wire.decode(LAYERS[name].takes, data)
        except wire.WireError as error:
            raise error.within(f".layers.{name}") from None
    unknown = set(plan.required) - set(layers)
    if unknown:
        raise wire.WireError(f"{min(unknown)[:40]!r} is required and has no parameters").within(".required")
    return plan._replace(layers=layers)


def _damaged(what: str) -> ConfinementError:
    return ConfinementError(f"the launch plan is damaged: {what}; nothing was started. Start the kernel again.")
