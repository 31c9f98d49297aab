"""Sample snapshots: the JSON that the launcher writes, and the sealed memory file that it leaves."""

import dataclasses
import fcntl
import json
import os
from typing import Any

from openshell_kernel.base import wire
from openshell_kernel.base.hardware import Gpu, Hardware, Status
from openshell_kernel.base.rules import Kind
from openshell_kernel.policy.effective import (
    DEVICE_RIGHTS,
    PROC_WRITE_RIGHTS,
    READ_RIGHTS,
    WRITE_RIGHTS,
    Access,
    Compatibility,
    Conflict,
    EffectivePolicy,
    GpuSelection,
    Origin,
    Promotion,
    Rule,
    Skipped,
    Unenforced,
)
from openshell_kernel.sandbox.layers.table import LAYERS
from openshell_kernel.sandbox.report import LayerReport, LayerStatus, Report

ALL_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
FILE_RIGHTS = ("execute", "read_file", "write_file", "truncate")


def rule(
    path: str,
    access: Access = Access.READ_ONLY,
    origin: Origin = Origin.POLICY,
    reason: str = "listed in the policy",
    rights: tuple[str, ...] | None = None,
) -> Rule:
    if rights is None:
        rights = READ_RIGHTS if access is Access.READ_ONLY else WRITE_RIGHTS
    return Rule(path=path, access=access, rights=rights, origin=origin, reason=reason)


def effective(*rules: Rule, **changes: Any) -> EffectivePolicy:
    values: dict[str, Any] = {
        "source": "/home/ada/.config/openshell/policy.yaml",
        "compatibility": Compatibility.HARD_REQUIREMENT,
        "rules": rules,
        "hardware": Hardware(status=Status.NO_LIBRARY, detail="no NVIDIA driver library was found"),
        "declared": {"version": 1, "filesystem_policy": {"include_workdir": True}},
    }
    return EffectivePolicy(**{**values, **changes})


def rich_policy() -> EffectivePolicy:
    """A policy with something of everything: two GPUs, a promotion, a conflict, skipped paths, network policies."""
    read_write, baseline, gpu = Access.READ_WRITE, Origin.RUNTIME_BASELINE, Origin.GPU_BASELINE
    python = "the interpreter and its libraries: without it Python does not start"
    return effective(
        rule("/usr"),
        rule("/etc", reason="listed in the policy"),
        rule("/data/imagenet"),
        rule("/srv/models/weights.safetensors", rights=("execute", "read_file")),
        rule("/tmp", read_write),
        rule(
            "/home/ada/projects/vision",
            read_write,
            Origin.WORKDIR,
            "the notebook's folder, because the policy says include_workdir",
        ),
        rule(
            "/proc",
            read_write,
            Origin.PROMOTION,
            "CUDA names its threads in /proc/<pid>/task/<tid>/comm: read-only, cuInit fails with error 304",
            PROC_WRITE_RIGHTS,
        ),
        rule("/dev/nvidia0", read_write, gpu, "the first GPU", DEVICE_RIGHTS),
        rule("/dev/nvidia1", read_write, gpu, "the second GPU", DEVICE_RIGHTS),
        rule(
            "/dev/nvidiactl",
            read_write,
            gpu,
            "the driver's control node: without it no GPU is found",
            DEVICE_RIGHTS,
        ),
        rule("/dev/nvidia-uvm", read_write, gpu, "unified memory: without it cuInit fails", DEVICE_RIGHTS),
        rule(
            "/run/nvidia-persistenced",
            origin=gpu,
            reason="NVML connects to it: refused, NVML reports no permission",
        ),
        rule("/dev/null", read_write, baseline, "subprocess.DEVNULL", DEVICE_RIGHTS),
        rule("/dev/ptmx", read_write, baseline, "!command in a cell needs a terminal", DEVICE_RIGHTS),
        rule("/dev/shm", read_write, baseline, "multiprocessing's semaphores and shared memory"),
        *(rule(f"/opt/python/lib/part{i:02}", origin=baseline, reason=python) for i in range(40)),
        rule("/usr/lib/wsl", origin=gpu, reason="the driver under WSL2"),
        promotions=(
            Promotion(
                path="/proc",
                origin=gpu,
                reason="CUDA writes /proc/<pid>/task/<tid>/comm while it initialises",
            ),
        ),
        conflicts=(Conflict(path="/dev/nvidia-modeset", origin=gpu, reason="only OpenGL needs it"),),
        skipped=(
            Skipped(path="/dev/dxg", access=read_write, origin=gpu, why="does not exist"),
            Skipped(path="/usr/lib/wsl", access=Access.READ_ONLY, origin=gpu, why="does not exist"),
        ),
        notices=("The folder holds a .git folder: hooks that are written there run outside the sandbox.",),
        unenforced=(
            Unenforced(
                what="network_policies",
                why="Hosts and programs are not filtered; the kernel has the network of its host.",
            ),
            Unenforced(what="process", why="The kernel runs as the user who started it."),
        ),
        hardware=Hardware(
            status=Status.OK,
            detail="2 GPUs",
            present=True,
            driver_version="580.65.06",
            cuda_version="13.0",
            gpus=tuple(
                Gpu(
                    index=i,
                    minor=i,
                    uuid=f"GPU-0000000{i}",
                    name="NVIDIA H100 80GB HBM3",
                    memory=85520809984,
                    pci_address=f"00000000:{0x1B + i:02X}:00.0",
                )
                for i in range(2)
            ),
            nodes=("/dev/nvidia0", "/dev/nvidia1", "/dev/nvidiactl", "/dev/nvidia-uvm"),
        ),
        selection=GpuSelection(
            granted=True,
            devices=("0", "1"),
            visible="GPU-00000000,GPU-00000001",
            nodes=("/dev/nvidia0", "/dev/nvidia1"),
        ),
        declared={
            "version": 1,
            "filesystem_policy": {
                "include_workdir": True,
                "read_only": ["/usr", "/etc", "/data/imagenet", "/srv/models/weights.safetensors", "/proc/"],
                "read_write": ["/tmp"],
            },
            "landlock": {"compatibility": "hard_requirement"},
        },
    )


def applied(asked: Rule, problem: str = "") -> Rule:
    """What the launcher reports of one rule that it applied, or could not apply."""
    if problem:
        return asked._replace(problem=problem)
    kind = Kind.DEVICE if "ioctl_dev" in asked.rights else Kind.DIRECTORY if "read_dir" in asked.rights else Kind.FILE
    return asked._replace(resolved=asked.path, kind=kind)


def layer(name: str, status: LayerStatus = LayerStatus.ENFORCED, **changes: Any) -> LayerReport:
    """What the launcher reports of one layer."""
    values: dict[str, Any] = {"title": LAYERS[name].title, "detail": f"{name} is {status.value}", **changes}
    return LayerReport(name=name, status=status, **values)


OPEN_TUNABLES = layer("tunables", LayerStatus.ABSENT, detail="the operator lets /proc be written as root")


def record(policy: EffectivePolicy | None = None, **report: Any) -> dict[str, Any]:
    """The JSON that the launcher hands to the kernel; keywords replace fields of the report."""
    policy = policy or rich_policy()
    gone = {"/usr/lib/wsl": "No such file or directory"}
    achieved = Report(
        abi=7,
        release="6.18.44",
        layers=(
            layer("landlock", detail="Landlock ABI 7 decides about: execute, signals, abstract sockets"),
            layer("no_new_privs"),
            layer("capabilities", detail="none is left, and none can be regained"),
            OPEN_TUNABLES,
        ),
        rules=tuple(applied(item, gone.get(item.path, "")) for item in policy.rules),
    )
    return {
        "format": 2,
        "effective": dataclasses.replace(policy, rules=()).to_json(),
        "report": wire.encode(achieved._replace(**report)),
        "guarded": {"home": "", "places": []},
        "kernel": {
            "started": "2026-11-23T20:41:00+00:00",
            "python": "/opt/python/bin/python",
            "workdir": "/home/ada/projects/vision",
        },
    }


def unenforced(policy: EffectivePolicy | None = None) -> dict[str, Any]:
    """The record of a kernel that the operator let start on a system without Landlock."""
    policy = policy or rich_policy()
    missing = layer("landlock", LayerStatus.ABSENT, detail="this kernel was built without Landlock")
    rules = tuple(rule._replace(problem="Landlock is missing") for rule in policy.rules)
    return record(policy, abi=None, release="5.4.0", layers=(missing,), rules=rules)


def memfd(content: bytes | dict[str, Any], seals: int = ALL_SEALS) -> int:
    """A memory file with this content and these seals; its offset stands at the end, as the launcher leaves it."""
    fd = os.memfd_create("snapshot", os.MFD_ALLOW_SEALING)
    os.write(fd, content if isinstance(content, bytes) else json.dumps(content).encode())
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    os.set_inheritable(fd, True)
    return fd
