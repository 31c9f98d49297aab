"""The baselines as data: what a workload needs whatever its policy says, and the failure that each entry prevents.

Sources: OpenShell's proxy and GPU baselines; the drivers' and runtimes' own documentation; failures that were seen.
"""

from __future__ import annotations

from dataclasses import dataclass

from openshell_kernel.policy.effective import DEVICE_RIGHTS, PROC_WRITE_RIGHTS, READ_RIGHTS, WRITE_RIGHTS, Access


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

GPU = (
    reading("/run/nvidia-persistenced", "NVML connects to this daemon; refused, it reports INSUFFICIENT_PERMISSIONS"),
    reading("/usr/lib/wsl", "the driver's libraries under WSL2"),
    writing("/dev/nvidiactl", "the driver's control node: without it neither CUDA nor NVML starts", DEVICE_RIGHTS),
    writing("/dev/nvidia-uvm", "unified memory: without it cuInit fails", DEVICE_RIGHTS),
    writing("/dev/nvidia-uvm-tools", "unified memory: from driver 570 on, error 304 without it", DEVICE_RIGHTS),
    writing("/dev/nvidia-modeset", "display and Vulkan contexts of the driver", DEVICE_RIGHTS),
    writing("/dev/dxg", "the GPU under WSL2", DEVICE_RIGHTS),
    writing("/proc", "CUDA writes /proc/<pid>/task/<tid>/comm; refused, cuInit returns 304", PROC_WRITE_RIGHTS),
)  # fmt: skip
"""OpenShell's GPU baseline, without the numbered nodes, which discovery adds."""

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
"""The part of the runtime baseline that every kernel shares; `openshell_kernel.server.runtime` adds the rest."""
