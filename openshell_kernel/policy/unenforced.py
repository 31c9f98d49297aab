"""What the sandbox does not enforce, owned up to: shown by `%policy show` beside what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openshell_kernel.policy.effective import Unenforced

if TYPE_CHECKING:
    from collections.abc import Iterable

ALWAYS = (
    Unenforced(
        what="the reader's browser",
        why=(
            "JavaScript in an output runs in the reader's browser, with the reader's rights in Jupyter. Showing one "
            "output is enough: the script can start a kernel that is not confined, if Jupyter has one. Under jupyter "
            "openshell lab Jupyter has none, but the script still reads and writes files through Jupyter. To run what "
            "you do not trust, use no browser: jupyter openshell execute"
        ),
        wide_open=True,
    ),
    Unenforced(
        what="network",
        why=(
            "TCP, UDP and all other protocols are open. The notebook can send whatever it may read to any host. It "
            "can also reach services of this machine that obey anyone who connects, such as a debugger's port or a "
            "server without a token"
        ),
        wide_open=True,
    ),
    Unenforced(
        what="Unix sockets",
        why=(
            "Landlock does not restrict connecting to a socket that has a path: docker.sock, the session bus, tmux, "
            "an agent's socket, or the forkserver of another kernel. Whatever listens there acts outside of the "
            "sandbox. Two notebooks can also hand each other what they have open, such as files or a GPU. That GPU "
            "counts as free once the kernel that was given it has ended"
        ),
        wide_open=True,
    ),
    Unenforced(
        what="which kernel a notebook starts",
        why=(
            "A notebook names its own kernel. In a Jupyter that has other kernels, it may start one that is not "
            "confined. These commands start confined kernels only: jupyter openshell lab, notebook, server, execute, "
            "papermill and nbconvert"
        ),
    ),
    Unenforced(
        what="the terminal of who runs a notebook",
        why=(
            "Commands such as jupyter execute, nbconvert and papermill print a notebook's errors and outputs as they "
            "are. A notebook can forge lines there, and send control sequences to your terminal"
        ),
    ),
    Unenforced(
        what="kernels that are not confined",
        why=(
            "A python3 kernel beside this one is not encrypted: it uses ports of the loopback interface, and this "
            "notebook can listen to it"
        ),
    ),
    Unenforced(
        what="file metadata",
        why=(
            "Landlock does not restrict stat, chmod, chown, utime, extended attributes, inotify, or seeing where "
            "links lead. Only file permissions decide, and a notebook that runs as root owns root's files. With chmod "
            "it can open your files to other users of the machine, or close them to you"
        ),
    ),
    Unenforced(
        what="system calls that everyday programs need",
        why=(
            "The seccomp layer refuses a list of dangerous system calls, where it is active. All others are open to "
            "the notebook, and so are the bugs in how Linux answers them"
        ),
    ),
    Unenforced(
        what="terminals and shared memory of the same user's other programs",
        why="All programs share the folders /dev/pts and /dev/shm. A notebook can read and write what lies there",
    ),
    Unenforced(
        what="who knew the kernel's keys before a restart",
        why=(
            "A restart keeps the keys of encryption, because Jupyter's open connections cannot change them. Another "
            "kernel that was told them can overhear this one. Programs with their own client, such as papermill and "
            "jupyter console, also keep the key by which they send code"
        ),
    ),
    Unenforced(
        what="priority, scheduling and System V shared memory of the same user's other programs",
        why="Only the permissions of Linux decide, and they look at the user only",
    ),
    Unenforced(
        what="CPU, memory, disk space and the number of processes",
        why="Set limits with cgroups, for example in the JupyterHub spawner",
    ),
    Unenforced(
        what="files in the working directory",
        why=(
            "You may later run what the notebook writes there, or a program may do so: .git/hooks, .envrc, "
            "conftest.py, other notebooks, or a Python environment that runs no kernel. Python imports modules from "
            "there, for example with python -m papermill, or if PYTHONPATH has an empty or relative entry: use "
            "jupyter openshell papermill. Editors and language servers read the folder's settings, which may name "
            "programs. A pipe or an endless file can make a program that opens it wait or run out of memory, "
            "including Jupyter's server"
        ),
    ),
    Unenforced(
        what="exports to PDF",
        why=(
            "Jupyter runs LaTeX or a browser on the notebook, outside of the sandbox. LaTeX can put any of your files "
            "into the PDF. An image in the notebook's text is enough to start it. This export is off under jupyter "
            "openshell lab, notebook, server and nbconvert, and in a hub"
        ),
    ),
    Unenforced(
        what="symbolic links in the working directory",
        why=(
            "A notebook can replace a file with a symlink. When Jupyter then saves to that name, it overwrites the "
            "link's target, for example ~/.bashrc. So do papermill and nbconvert: let papermill and nbconvert write "
            "to another folder. If you open such a link in JupyterLab, the notebook gets a copy of the target, as a "
            "checkpoint"
        ),
    ),
    Unenforced(
        what="what earlier notebooks of the folder left",
        why=(
            "A new kernel runs none of it on its own. But cells import modules beside the notebook and packages from "
            "the private home, and the programs that they start read settings there. These stay confined, but they "
            "can change what %policy prints from then on. Trust it in a new kernel, before other cells"
        ),
    ),
)

MPS = Unenforced(
    what="the MPS server",
    why=(
        "The policy does not ask for MPS, and CUDA is led away from it. But its socket has a path, and nothing here "
        "decides who connects. Code that names that folder uses the GPUs of the MPS server, whatever this kernel was "
        "given"
    ),
)
CONNECTION = Unenforced(
    what="the connection to Jupyter",
    why=(
        "It is not encrypted. Another kernel can overhear what this one prints and receives, but cannot send it "
        "anything. Update to jupyter_client 8.9 and ipykernel 7.3, which encrypt it"
    ),
)
NETWORK_POLICIES = Unenforced(
    what="network_policies",
    why="They are read and checked, but nothing filters connections: the notebook reaches any host",
)
NETWORK_MIDDLEWARES = Unenforced(
    what="network_middlewares", why="They are read and checked, but no proxy runs that could apply them"
)
PROCESS = Unenforced(
    what="process.run_as_user and run_as_group",
    why=(
        "They are read and checked, but not applied: only root can become another user, and the server runs as an "
        "ordinary one"
    ),
)
KEPT = Unenforced(
    what="Python environments beside the notebook that run no kernel, are new, or share files",
    why=(
        "Environments that run your kernels, and those in the same folders, are read-only if they were there when "
        "this kernel started. A newer one is read-only from the next start on. If a file of one has another name (a "
        "hard link) in a writable folder, it can be changed by that name. A kernel with other mounts can also hand "
        "over an open folder by a Unix socket, and the environment in it is then writable"
    ),
)
SHARED_NODE = Unenforced(
    what="which of the GPUs are used",
    why=(
        "On WSL2 and Jetson all GPUs are reached through the same devices. CUDA_VISIBLE_DEVICES names the selected "
        "ones, but code can set it differently"
    ),
)


def unknown(blocks: Iterable[str]) -> Unenforced:
    """Return what is left open by a policy's blocks that this version does not know."""
    return Unenforced(
        what=", ".join(blocks),
        why="This version does not know such a block. It is kept, but what it demands is not enforced",
    )


def driver(version: str | None) -> Unenforced:
    """Return what giving a GPU leaves open; `version` is the driver's."""
    named = f"NVIDIA driver {version}" if version else "the NVIDIA driver (version unknown)"
    return Unenforced(
        what="the GPU and its driver",
        why=f"All ioctl calls of {named} are open to the notebook, and so are its bugs. Its control devices also show "
        "the other GPUs. Memory, time and power of the given GPUs are not limited. A notebook that runs as root can "
        "read the memory of PCI devices in /sys, if Linux shows it",
    )


def extras(names: Iterable[str]) -> Unenforced:
    """Return what the policy's GPU extras leave open."""
    return Unenforced(
        what=f"what is reached through the GPU extras ({', '.join(names)})",
        why="Other programs share these: screens, links between GPUs and machines, network cards, disks or the MPS "
        "server. Their own permissions decide",
    )
