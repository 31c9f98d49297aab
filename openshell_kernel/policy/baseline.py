"""The baselines as data: what a workload needs whatever its policy says, and the failure that each entry prevents.

Sources: OpenShell's proxy and GPU baselines; the drivers' and runtimes' own documentation; failures that were seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.base.hardware import Extra
from openshell_kernel.policy.effective import DEVICE_RIGHTS, PROC_WRITE_RIGHTS, READ_RIGHTS, WRITE_RIGHTS, Access

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openshell_kernel.base.hardware import Hardware
    from openshell_kernel.policy.effective import GpuSelection


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A path that a baseline grants where it exists, with Landlock's rights and the reason shown to users.

    A `required` need that cannot be granted stops the start; the kernel could not run without it.
    """

    path: str
    access: Access
    rights: tuple[str, ...]
    reason: str
    required: bool = False


def reading(path: str, reason: str, *, required: bool = False) -> Need:
    """Need to read, list and execute what is at and beneath a path."""
    return Need(path=path, access=Access.READ_ONLY, rights=READ_RIGHTS, reason=reason, required=required)


def writing(path: str, reason: str, rights: tuple[str, ...] = WRITE_RIGHTS, *, required: bool = False) -> Need:
    """Need to change what is at and beneath a path."""
    return Need(path=path, access=Access.READ_WRITE, rights=rights, reason=reason, required=required)


def data(path: str, reason: str) -> Need:
    """Need to read and list what is at and beneath a path, and to run nothing there."""
    return Need(path=path, access=Access.READ_ONLY, rights=("read_file", "read_dir"), reason=reason)


GPU_NODE_REASON = "the GPU itself: CUDA opens it and speaks ioctl to it"

_COMM = "CUDA writes /proc/<pid>/task/<tid>/comm; refused, cuInit returns 304 from driver 550 on"

GPU = (
    reading("/run/nvidia-persistenced", "NVML connects to this daemon; refused, it reports INSUFFICIENT_PERMISSIONS"),
    reading("/usr/lib/wsl", "the driver's libraries under WSL2"),
    writing("/dev/nvidiactl", "the driver's control node: without it neither CUDA nor NVML starts", DEVICE_RIGHTS),
    writing("/dev/nvidia-uvm", "unified memory: without it cuInit fails", DEVICE_RIGHTS),
    writing("/dev/nvidia-uvm-tools", "unified memory: from driver 570 on, error 304 without it", DEVICE_RIGHTS),
    writing("/dev/nvidia-modeset", "display and Vulkan contexts of the driver", DEVICE_RIGHTS),
    writing("/dev/dxg", "the GPU under WSL2", DEVICE_RIGHTS),
    writing("/proc", _COMM, PROC_WRITE_RIGHTS),
)  # fmt: skip
"""OpenShell's GPU baseline, without the GPUs' own nodes, which `gpu` adds."""

_DRIVER_STATE = "CUDA looks whether the driver's modules are loaded"
_TOPOLOGY = "how devices are connected: NCCL plans by it, and CUDA on GB300 crashes in cuInit without it"
GPU_READS = (
    reading("/opt/nvidia", "NVIDIA's compilers, tools and libraries; on Jetson those of the driver"),
    reading("/opt/cuda", "the CUDA toolkit, where a distribution puts it: nvcc, ptxas, libdevice"),
    data("/etc/nvidia", "the driver's settings for the machine: CUDA reads application profiles here"),
    data("/run/nvidia-topologyd", "NCCL reads the machine's topology here"),
    *(
        data(f"/sys/module/{module}/{name}", _DRIVER_STATE)
        for module in ("nvidia", "nvidia_uvm", "nvidia_modeset", "nvidia_drm", "nvidia_peermem", "nvidia_fs")
        for name in ("initstate", "version")
    ),
    data("/sys/class/drm", _TOPOLOGY),
    data("/sys/devices/system/memory", _TOPOLOGY),
)
"""What CUDA and NCCL read besides, where it exists. What they read in /proc is covered by /proc."""

JETSON = (
    data("/etc/nv_tegra_release", "the release of Jetson's software: libraries choose by it"),
    data("/sys/devices/soc0", "which chip this is: CUDA on Jetson gives 801 without it"),
    data("/sys/module/tegra_fuse", "which chip this is: CUDA on Jetson gives 801 without it"),
    data("/sys/firmware/devicetree/base", "which board this is, behind /proc/device-tree"),
)
_JETSON_REASON = "the GPU of a Jetson, its memory and its engines"

_EXTRAS = {
    Extra.DISPLAY: ("windows: OpenGL and EGL on the X server", ("read_file", "read_dir")),
    Extra.DRI: ("the GPU's render node: OpenGL, Vulkan and video without a screen", DEVICE_RIGHTS),
    Extra.IMEX: ("memory shared over NVLink with GPUs of other machines", DEVICE_RIGHTS),
    Extra.NVSWITCH: ("the NVLink fabric between GPUs", DEVICE_RIGHTS),
    Extra.RDMA: ("network cards that reach the GPU's memory, and GDRCopy", DEVICE_RIGHTS),
    Extra.GDS: ("disks that reach the GPU's memory", DEVICE_RIGHTS),
    Extra.MPS: ("the pipes of the MPS server", ("read_file", "write_file", "read_dir")),
}
"""What a policy's `jupyter.gpu.extras` are for, and the rights that they take."""

_EXTRA_READS = {
    Extra.RDMA: (
        data("/sys/class/infiniband", "libibverbs finds network cards here"),
        data("/sys/class/infiniband_verbs", "libibverbs finds network cards here"),
    ),
    Extra.GDS: (
        data("/etc/cufile.json", "settings of GPUDirect Storage"),
        data("/run/udev", "GPUDirect Storage finds disks here"),
    ),
    Extra.IMEX: (data("/etc/nvidia-imex", "settings of IMEX"),),
}


_GLOO = "PyTorch's gloo looks for network cards among all devices, and stops where it may not"
OTHERS_GPU = writing(
    "/proc/self/task",
    "the kernel's own threads: CUDA names the one that it starts, although it is given no GPU; refused, cuInit returns "
    "304, an error, instead of 100, no device",
    PROC_WRITE_RIGHTS,
)
"""What a kernel needs on a machine whose GPUs it is not given. The rule holds for its own process only: children that
it starts are told 304."""


def without_gpu(hardware: Hardware) -> Iterator[Need]:
    """Yield what a kernel needs that is given no GPU, of the machine that it is on."""
    yield from (data(path, _GLOO) for path in hardware.pci_classes)
    if hardware.present:
        yield OTHERS_GPU


def gpu(hardware: Hardware, selection: GpuSelection) -> Iterator[Need]:
    """Yield what the selected GPUs need, of the machine that they are in."""
    yield from GPU
    yield from GPU_READS
    yield from (data(folder, _TOPOLOGY) for folder in hardware.topology)
    yield from (writing(node, GPU_NODE_REASON, DEVICE_RIGHTS) for node in selection.nodes)
    for node in selection.capabilities:
        reason = "opens the selected MIG device, and none beside it"
        yield Need(path=node, access=Access.READ_ONLY, rights=("read_file",), reason=reason)
    if hardware.jetson_nodes:
        yield from JETSON
        yield from (writing(node, _JETSON_REASON, DEVICE_RIGHTS) for node in hardware.jetson_nodes)
    for family in selection.extras:
        reason, rights = _EXTRAS[family.name]
        access = Access.READ_WRITE if "write_file" in rights else Access.READ_ONLY
        for path in family.paths:
            reason_for_all = f"the policy asks for {family.name}: {reason}"
            yield Need(path=path, access=access, rights=rights, reason=reason_for_all)
        yield from _EXTRA_READS.get(family.name, ())


_PROXY_REASON = "OpenShell's baseline for policies with network_policies"

PROXY = (
    *(reading(path, _PROXY_REASON) for path in ("/usr", "/lib", "/etc", "/app", "/var/log", "/proc", "/dev/urandom")),
    writing("/tmp", _PROXY_REASON),  # noqa: S108 - OpenShell's rule names this path
)
"""OpenShell's proxy baseline; it applies when a policy has network policies."""

_TERMINAL_RIGHTS = ("read_file", "write_file", "ioctl_dev")
_SHARED_MEMORY_RIGHTS = tuple(right for right in WRITE_RIGHTS if right != "execute")

SYSTEM = (
    reading("/usr", "programs, libraries and shared data of the system"),
    reading("/bin", "the shell and other programs, where /bin is not in /usr"),
    reading("/sbin", "ldconfig and other programs, where /sbin is not in /usr"),
    reading("/lib", "shared libraries and the dynamic loader"),
    reading("/lib32", "shared libraries and the dynamic loader"),
    reading("/lib64", "shared libraries and the dynamic loader"),
    reading("/nix/store", "programs and libraries of Nix"),
    data("/etc/ld.so.cache", "the dynamic loader finds libraries through it"),
    data("/etc/ld.so.conf", "ldconfig, which Triton and ctypes.util call"),
    data("/etc/ld.so.conf.d", "ldconfig, which Triton and ctypes.util call"),
    data("/etc/passwd", "names of users: getpass, os.path.expanduser, the shell"),
    data("/etc/group", "names of groups: ls -l, grp"),
    data("/etc/nsswitch.conf", "how the C library looks up names"),
    data("/etc/hosts", "names of hosts"),
    data("/etc/host.conf", "names of hosts"),
    data("/etc/resolv.conf", "names of hosts"),
    data("/run/systemd/resolve", "names of hosts: resolv.conf leads here"),
    data("/etc/gai.conf", "names of hosts"),
    data("/etc/services", "names of ports"),
    data("/etc/protocols", "names of protocols"),
    data("/etc/localtime", "the time zone"),
    data("/etc/timezone", "the time zone"),
    data("/etc/locale.alias", "the locale"),
    data("/etc/locale.conf", "the locale"),
    data("/etc/os-release", "the system's name: platform, pip"),
    data("/etc/debian_version", "the system's name: platform, pip"),
    data("/etc/lsb-release", "the system's name: platform, pip"),
    data("/etc/machine-id", "joblib and D-Bus tell machines apart by it"),
    data("/etc/mime.types", "mimetypes guesses types of files by it"),
    data("/etc/ssl/certs", "certificate authorities for TLS"),
    data("/etc/ssl/openssl.cnf", "OpenSSL reads it when it is loaded"),
    data("/etc/pki/tls", "certificate authorities for TLS"),
    data("/etc/pki/ca-trust", "certificate authorities for TLS"),
    data("/etc/ca-certificates", "certificate authorities for TLS"),
    data("/etc/crypto-policies", "OpenSSL reads it when it is loaded"),
    data("/etc/fonts", "fonts for plots"),
    data("/etc/matplotlibrc", "matplotlib's settings for the machine"),
    data("/etc/ipython", "IPython's settings for the machine"),
    data("/etc/gitconfig", "git stops when it may not read it"),
    data("/etc/pip.conf", "pip's settings for the machine"),
    data("/etc/xdg/pip", "pip's settings for the machine"),
    data("/etc/terminfo", "terminals: !commands, pexpect"),
    data("/etc/inputrc", "readline in subprocesses"),
    data("/etc/OpenCL", "OpenCL finds its drivers here"),
    data("/etc/vulkan", "Vulkan finds its drivers here"),
    data("/var/cache/fontconfig", "fonts for plots"),
    data("/sys/devices/system/cpu", "how many processors there are: NumPy, PyTorch, OpenMP"),
    data("/sys/devices/system/node", "memory nodes: NumPy, PyTorch, NCCL"),
    data("/sys/class/net", "network interfaces: gloo and NCCL choose among them"),
    data("/sys/bus/pci/devices", "which devices there are: gloo and NCCL look for network cards"),
    data("/proc", "memory, processors and processes: torch.compile, free, lscpu, ps, the end of the kernel's children"),
    data("/sys/fs/cgroup", "limits of the container on memory and processors"),
    data("/sys/kernel/mm/transparent_hugepage", "memory allocators ask for it"),
    writing("/dev/null", "programs discard output here", ("read_file", "write_file", "truncate")),
    writing("/dev/zero", "memory mappings", ("read_file", "write_file")),
    writing("/dev/full", "programs test for a full disk with it", ("read_file", "write_file")),
    data("/dev/urandom", "random numbers"),
    data("/dev/random", "random numbers"),
    writing("/dev/ptmx", "!commands run in a pseudo-terminal", _TERMINAL_RIGHTS),
    writing("/dev/pts", "!commands run in a pseudo-terminal", (*_TERMINAL_RIGHTS, "read_dir")),
    writing("/dev/shm", "shared memory: multiprocessing, DataLoader workers, NCCL, CUDA", _SHARED_MEMORY_RIGHTS),  # noqa: S108 - as Linux names it
)
"""The part of the runtime baseline that every kernel shares; `openshell_kernel.server.planning.needs` adds the rest."""
