"""The GPUs of this machine with their load and their holders, for whoever looks after the machine."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openshell_kernel.gpu import discovery
from openshell_kernel.gpu.claims import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openshell_kernel.base.claims import Holder
    from openshell_kernel.base.hardware import Hardware

_MEBIBYTE = 1 << 20
_PATIENCE = 45.0  # seconds: there is no next start that could have the answer of a slow driver


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What there is, how busy it is, and who holds what, at one moment."""

    hardware: Hardware
    holders: tuple[Holder, ...]

    def to_json(self) -> str:
        """Return it for programs."""
        data: dict[str, Any] = {
            "hardware": dataclasses.asdict(self.hardware),
            "holders": [dataclasses.asdict(holder) for holder in self.holders],
        }
        return json.dumps(data, indent=2)

    def to_text(self) -> str:
        """Return it for people: two lines for each GPU or MIG device."""
        found = self.hardware
        versions = f", driver {found.driver_version}, CUDA {found.cuda_version}" if found.driver_version else ""
        return "\n".join([f"{found.detail}{versions}", *self._lines()])

    def _lines(self) -> Iterator[str]:
        for label, gpu, device in self.hardware.units:
            memory = f"{device.memory // _MEBIBYTE}" if device.memory is not None else "?"
            load = f"{device.used // _MEBIBYTE} of {memory} MiB used, {device.busy} % busy"
            holders = [holder.describe() for holder in self.holders if device.uuid in holder.uuids]
            state = f"held by {' and '.join(holders)}" if holders else "free"
            yield f"{label:<5} {device.name or 'unnamed'}, {load}, {device.uuid or 'no UUID'}"
            yield f"      {f'out of order: {gpu.fault}' if gpu.fault else state}"


def look(claims: str | None) -> Table:
    """Look at the machine. `claims` is the provisioner's `gpu_claims`, None for the default.

    Raises:
        ConfigurationError: there is no place for claims.
    """
    pipes = os.environ.get("CUDA_MPS_PIPE_DIRECTORY")
    hardware = asyncio.run(discovery.discover(timeout=_PATIENCE, mps_pipes=pipes, fresh=True, tell=_tell))
    return Table(hardware=hardware, holders=Registry(claims).holders())


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
