"""What the sandbox does not enforce, owned up to: shown by `%policy show` beside what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openshell_kernel.policy.effective import Unenforced

if TYPE_CHECKING:
    from collections.abc import Iterable

ALWAYS = (
    Unenforced(
        what="the reader's browser",
        why="JavaScript in an output runs in the browser of whoever shows the notebook, with that person's rights in "
        "Jupyter. One cell is enough to start a kernel that is not confined, where Jupyter has one. Started by "
        "jupyter openshell lab, Jupyter has none, but the script still reads and writes files through it. Run what "
        "you do not trust without a browser: jupyter openshell execute",
        wide_open=True,
    ),
    Unenforced(
        what="network",
        why="TCP, UDP and every other protocol are open to the notebook: it can send whatever it may read to any host, "
        "and reach services of this machine that run what they are told, such as a debugger's port or a server "
        "without a token",
        wide_open=True,
    ),
    Unenforced(
        what="Unix sockets",
        why="Landlock does not restrict who connects to a socket that has a path: docker.sock, the session bus, "
        "tmux, an agent's socket, or the forkserver of another kernel. Whatever listens there does what it is told, "
        "outside of the sandbox. And two notebooks can hand each other what they have open: one then uses files or a "
        "GPU of the other's, and that GPU counts as free when the other's kernel has ended",
        wide_open=True,
    ),
    Unenforced(
        what="which kernel a notebook starts",
        why="a notebook names its kernel itself: opened or run by a Jupyter that has others, it may start one that is "
        "not confined. jupyter openshell lab, notebook, server, execute, papermill and nbconvert start confined ones "
        "only",
    ),
    Unenforced(
        what="the terminal of who runs a notebook",
        why="jupyter execute, nbconvert and papermill print errors and outputs as they are: a notebook can forge lines "
        "there, and steer the terminal",
    ),
    Unenforced(
        what="kernels that are not confined",
        why="a python3 kernel beside this one talks in the clear, over ports of the loopback interface: this "
        "notebook can listen to it",
    ),
    Unenforced(
        what="file metadata",
        why="Landlock does not restrict stat, chmod, chown, utime, extended attributes, inotify and seeing where links "
        "lead: ordinary permissions decide, and a notebook that runs as root owns root's files. By chmod it can open "
        "your files to other users of the machine, or close them to you",
    ),
    Unenforced(
        what="system calls that everyday programs need",
        why="seccomp, where it is active, refuses a list of dangerous calls; the others, and faults in how Linux "
        "answers them, are open to the notebook",
    ),
    Unenforced(
        what="terminals and shared memory of the same user's other programs",
        why="/dev/pts and /dev/shm are one folder for all: a notebook can read and write what lies there",
    ),
    Unenforced(
        what="who knew the kernel's keys before a restart",
        why="the keys of encryption stay, as Jupyter's open connections cannot change them: another kernel that was "
        "told them can overhear this one; and where a program has a client of its own, as papermill and jupyter "
        "console have, the key stays by which it may send code",
    ),
    Unenforced(
        what="priority, scheduling and System V shared memory of the same user's other programs",
        why="ordinary permissions decide, and they look at the user only",
    ),
    Unenforced(
        what="CPU, memory, disk space and the number of processes",
        why="set limits with cgroups, for example in the JupyterHub spawner",
    ),
    Unenforced(
        what="files in the working directory",
        why="what the notebook writes there may be run later by you, or by a program that you start there: .git/hooks, "
        ".envrc, conftest.py, other notebooks, a Python environment that runs no kernel, and Python modules where you "
        "run Python itself, as in python -m papermill, or where PYTHONPATH has an empty or relative entry: use jupyter "
        "openshell papermill. An editor or a language server reads the folder's settings, which may name programs. And "
        "a pipe or an endless file in the place of one makes programs that open it, Jupyter's server too, wait or run "
        "out of memory",
    ),
    Unenforced(
        what="exports to PDF",
        why="Jupyter runs LaTeX or a browser outside of the sandbox on what the notebook says, and LaTeX puts any file "
        "of yours into the PDF when it is told to; an image in the notebook's text is enough to start it. It is off "
        "under jupyter openshell lab, notebook, server and nbconvert, and in a hub",
    ),
    Unenforced(
        what="symbolic links in the working directory",
        why="programs outside follow those that the notebook makes: in the place of a file that Jupyter saves, or "
        "papermill or nbconvert writes, one leads what is written into any file of yours, also one that a shell runs; "
        "let papermill and nbconvert write to another folder. In the place of a file that you open in JupyterLab, one "
        "gives the notebook a copy of any file of yours, as a checkpoint",
    ),
    Unenforced(
        what="what earlier notebooks of the folder left",
        why="a new kernel runs none of it by itself. But cells import modules beside the notebook and packages in its "
        "private home, and programs that they start read the settings there: confined as they are, they can change "
        "what %policy answers from then on. Believe it in a new kernel, before other cells",
    ),
)

MPS = Unenforced(
    what="the MPS server",
    why="the policy does not ask for it, and CUDA is led away from it, but its socket has a path, and nothing here "
    "decides who connects: code that names the folder uses the GPUs of the MPS server, whatever this kernel was given",
)
CONNECTION = Unenforced(
    what="the connection to Jupyter",
    why="it is not encrypted: another kernel can overhear what this one prints and is sent, though not send anything; "
    "jupyter_client 8.9 and ipykernel 7.3 encrypt it",
)
NETWORK_POLICIES = Unenforced(
    what="network_policies",
    why="read, checked and kept, but nothing filters connections: the notebook reaches any host",
)
NETWORK_MIDDLEWARES = Unenforced(
    what="network_middlewares", why="read, checked and kept, but no proxy runs that could apply them"
)
PROCESS = Unenforced(
    what="process.run_as_user and run_as_group",
    why="read and checked, but not applied: the server was started as an ordinary user, and only root can become "
    "somebody else",
)
KEPT = Unenforced(
    what="Python environments beside the notebook that run no kernel, are new, or share files",
    why="those that run your kernels, and those in the same folders, are read-only where they were there when this "
    "kernel started; one that is made later is so from the next start on. A file of one that has another name (hard "
    "link) in a writable folder can be changed by that name, and all of it through an open folder that a kernel with "
    "other mounts hands over by a Unix socket",
)
SHARED_NODE = Unenforced(
    what="which of the GPUs are used",
    why="on WSL2 and Jetson all GPUs are reached through the same devices: CUDA_VISIBLE_DEVICES names the selected "
    "ones, and code can set it differently",
)


def unknown(blocks: Iterable[str]) -> Unenforced:
    """Return what is left open by a policy's blocks that this version does not know."""
    return Unenforced(
        what=", ".join(blocks),
        why="this version does not know such a block: it is kept, and whatever it demands is not enforced",
    )


def driver(version: str | None) -> Unenforced:
    """Return what giving a GPU leaves open; `version` is the driver's."""
    named = f"NVIDIA driver {version}" if version else "the NVIDIA driver, whose version is not known"
    return Unenforced(
        what="the GPU and its driver",
        why=f"{named}: its ioctl calls are open to the notebook, and with them its faults; its control devices tell of "
        "the other GPUs too; memory, time and power of the given GPUs are not limited. "
        "A notebook that runs as root can read the memory of PCI devices in /sys, where Linux shows it",
    )


def extras(names: Iterable[str]) -> Unenforced:
    """Return what the policy's GPU extras leave open."""
    return Unenforced(
        what=f"what is reached through the GPU extras ({', '.join(names)})",
        why="screens, links between GPUs and machines, network cards, disks or the MPS server, which other programs "
        "share: their own permissions decide",
    )
