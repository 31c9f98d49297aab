"""What the sandbox does not enforce, owned up to: shown by `%policy show` beside what it does."""

from __future__ import annotations

from openshell_kernel.policy.effective import Unenforced

ALWAYS = (
    Unenforced(
        what="network",
        why="TCP, UDP, Unix sockets (docker.sock, the session bus) and every other connection are open to the notebook",
    ),
    Unenforced(
        what="environment variables",
        why="the notebook sees the variables of the server that started it, with any tokens among them",
    ),
    Unenforced(
        what="file metadata",
        why="Landlock does not restrict stat, chmod, chown, utime and extended attributes: ordinary permissions decide",
    ),
    Unenforced(
        what="system calls and privileges",
        why="no seccomp filter is installed and no capability is dropped: started as root, the notebook is root "
        "within these rules",
    ),
    Unenforced(what="CPU, memory and disk space", why="set limits with cgroups, for example in the JupyterHub spawner"),
    Unenforced(
        what="the notebook's own output",
        why="HTML and JavaScript in outputs run in the browser of who opens the notebook, with the server's rights",
    ),
    Unenforced(
        what="files in the working directory",
        why="what the notebook writes there may be run later by you: .git/hooks, .envrc, conftest.py, other notebooks, "
        "and a jupyter_server_config.py if you start Jupyter there",
    ),
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
    why="read and checked, but not applied: the kernel runs as the user that started it",
)
LANDLOCK_MISSING = Unenforced(
    what="everything", why="Landlock is missing and the operator let the kernel start without it"
)
