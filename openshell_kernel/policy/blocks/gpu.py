"""`jupyter.gpu`: which GPUs a kernel is to have."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import InitErrorDetails

from openshell_kernel.base.hardware import Extra
from openshell_kernel.policy.blocks.block import Block
from openshell_kernel.policy.blocks.errors import at, invalid, show
from openshell_kernel.policy.blocks.kinds import ListOf, word_of
from openshell_kernel.policy.effective import GpuRequest
from openshell_kernel.policy.in_json_schema import AsWritten

MAX_GPUS = 1024
_DEVICE = re.compile(
    r"[0-9]{1,4}(:[0-9]{1,4})?"  # NVML's index of a GPU, and of a MIG device on it
    r"|([Gg][Pp][Uu]|[Mm][Ii][Gg])-[0-9A-Fa-f-]{4,36}"
    r"|[Mm][Ii][Gg]-[Gg][Pp][Uu]-[0-9A-Fa-f-]{36}/[0-9]{1,3}/[0-9]{1,3}"  # before driver 470
    r"|([0-9A-Fa-f]{4,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]"  # PCI
)


def _check_device(value: object) -> object:
    # YAML has an index as a number.
    text = str(value) if type(value) is int else value
    if isinstance(text, str) and _DEVICE.fullmatch(text):
        return text
    raise invalid(
        f"{show(value)} is not the name of a GPU",
        "write its index, its UUID (GPU-... or MIG-...) or its PCI address, as `nvidia-smi -L` and `nvidia-smi -q` "
        "show them",
    )


def _device(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "anyOf": [{**schema, "pattern": f"^({_DEVICE.pattern})$"}, {"type": "integer", "minimum": 0, "maximum": 9999}]
    }


class GpuPolicy(Block):
    """Which GPUs a kernel is to have.

    `auto` takes what is there, `none` takes nothing, and `required` does not start without. Either `count` asks for
    so many that no other kernel holds, or `devices` names them; without both, all are meant. `extras` are families of
    devices beside the GPUs.
    """

    request: Annotated[GpuRequest, word_of(GpuRequest)] = GpuRequest.AUTO
    count: Annotated[int, Field(ge=1, le=MAX_GPUS)] | None = None
    devices: Annotated[
        ListOf[Annotated[str, BeforeValidator(_check_device), AsWritten(_device)]], Field(max_length=MAX_GPUS)
    ] = ()
    extras: ListOf[Annotated[Extra, word_of(Extra)]] = ()

    @classmethod
    def _limits(cls, data: object) -> list[InitErrorDetails]:
        if not isinstance(data, Mapping):
            return []
        found = []
        if data.get("count") is not None and data.get("devices"):
            problem = "count and devices exclude each other"
            found.append(invalid(problem, "remove one: count picks GPUs, devices names them"))
        pointless = [key for key in ("count", "devices", "extras") if data.get(key)]
        if data.get("request") == GpuRequest.NONE and pointless:
            problem = f"request: none contradicts {' and '.join(pointless)}"
            found.append(invalid(problem, "remove one of them"))
        return [at((), error) for error in found]
