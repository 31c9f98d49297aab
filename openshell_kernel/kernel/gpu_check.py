"""Whether CUDA works in this sandbox: `gpu_probe` is run and watched, and its steps told as they come."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from openshell_kernel.policy.effective import EffectivePolicy

SECONDS = 120.0
_PROBE = (sys.executable, "-I", "-m", "openshell_kernel.kernel.gpu_probe")
_CRASHED = "the driver's library crashed: update or reinstall the driver, and see dmesg"
_BROKEN = "this kernel's Python cannot run openshell_kernel.kernel.gpu_probe: install the package again"
TOOLS = """What the sandbox refuses to debuggers and profilers; run them outside:
  cuda-gdb  does not work: it traces the program that it debugs, and ptrace is refused
  ncu       reads the GPU's counters only where the driver lets everybody (NVreg_RestrictProfilingToAdminUsers=0):
            no capability is left to anybody in here, root among them
  nsys      has no samples of processors and no view of the whole machine, as perf_event_open is refused: what is left
            is --sample=none --cpuctxsw=none
"""
"""From what these tools are documented to need; the sources are ptrace(2), perf_event_open(2) and NVIDIA's pages on
ERR_NVGPUCTRPERM and on Nsight Systems."""
_CONTROL = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/dxg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was tried, how it went, and for a failure what is likely to be missing."""

    step: str
    ok: bool
    detail: str = ""
    hint: str = ""


def check(
    effective: EffectivePolicy,
    tell: Callable[[Step], None],
    *,
    seconds: float = SECONDS,
    command: Sequence[str] = _PROBE,
) -> tuple[Step, ...]:
    """Try the GPUs that a kernel was given, tell each step as it ends, and return all of them.

    Without any GPU there is nothing to try, and no step.
    """
    selection = effective.selection
    if not selection.granted:
        return ()
    steps: list[Step] = []

    def add(step: Step) -> None:
        steps.append(step)
        tell(step)

    there = [node for node in _CONTROL if node in effective.hardware.nodes]
    # Of several MIG devices, CUDA lets one process use the first only.
    number = str(1 if selection.capabilities else len(selection.devices)) if selection.devices else "-"
    process = subprocess.Popen(
        [*command, number, *there, *selection.nodes], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, bufsize=0
    )
    try:
        if not _relay(process, add, time.monotonic() + seconds):
            hint = "a GPU that hangs needs a reset or a restart of the machine; see dmesg"
            add(Step(step="the check ends", ok=False, detail=f"nothing more within {seconds:g} s", hint=hint))
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
    if process.returncode < 0 and all(step.ok for step in steps):
        add(Step(step="the check ends", ok=False, detail=f"a crash (signal {-process.returncode})", hint=_CRASHED))
    elif not steps:
        add(Step(step="the check starts", ok=False, detail=f"exit status {process.returncode}", hint=_BROKEN))
    return tuple(steps)


def _relay(process: subprocess.Popen[bytes], add: Callable[[Step], None], deadline: float) -> bool:
    """Pass on the steps that the probe prints; return whether it came to its end in time."""
    stream = process.stdout
    if stream is None:
        return True
    buffer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            piece = os.read(stream.fileno(), 1 << 16)
            if not piece:
                process.wait()
                return True
            *lines, buffer = (buffer + piece).split(b"\n")
            for line in lines:
                add(Step(**json.loads(line)))
    return False
