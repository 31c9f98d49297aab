"""The attacks, one line each: what it is about, what it does, and how it must end.

`code` is an expression over payload.py and the names that `World.targets` gives. An outcome is "works", the name of an
errno, or "nothing". Where the two users' outcomes differ, they are written as `both(root, ordinary)`; where the attack
cannot succeed in a plain kernel either, `cannot(outcome, why)` says so.
"""

from dataclasses import dataclass

WORKS = "works"
NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attack ends for each user, and why, where that is not a matter of course."""

    root: str
    ordinary: str
    why: str = ""

    def of(self, user):
        return self.root if user == "root" else self.ordinary


def both(root, ordinary, why=""):
    return Ending(root, ordinary, why)


def cannot(outcome, why):
    return Ending(outcome, outcome, why)


@dataclass(frozen=True, slots=True)
class Attack:
    """One way out. `inside` is how it must end in our kernel, `outside` in a plain one."""

    name: str
    code: str
    inside: Ending
    outside: Ending
    changes: bool = False
    listed: str = ""


def holds(name, code, inside="EACCES", outside=WORKS, *, changes=False):
    """Return an attack that must fail inside. With `changes`, its success outside alters what the world watches."""
    return Attack(name, code, _ending(inside), _ending(outside), changes)


def owned(listed, name, code, inside=WORKS, *, changes=False):
    """Return an attack that may succeed inside too; where it does, `%policy show` lists it under this heading."""
    return Attack(name, code, _ending(inside), _ending(WORKS), changes, listed)


def _ending(value):
    return value if isinstance(value, Ending) else Ending(value, value)


NO_ROOT = "only root has the privilege, without any sandbox"
HIDDEN = "ENOENT or EPERM"
"""Where /proc does not show the processes outside of the sandbox."""

UNREADABLE = Ending(HIDDEN, "EACCES", "only root can mount a /proc that does not show them")

FILES = (
    holds("a secret, directly", "read(secret)"),
    holds("a secret through a symbolic link in the workspace", "through_link(secret)"),
    holds("a secret through /proc/self/root", "read('/proc/self/root' + secret)"),
    holds("a secret through the server's root", "read(f'/proc/{server}/root{secret}')", UNREADABLE),
    holds("a secret through another process's working directory", "read(f'/proc/{victim}/cwd/id_ed25519')", UNREADABLE),
    holds("a secret through another process's descriptor", "read(f'/proc/{victim}/fd/{descriptor}')", UNREADABLE),
    holds("a secret through .. from the workspace", "read('../.ssh/id_ed25519')"),
    holds("a secret after a change of directory", "from_inside(home + '/.ssh', 'id_ed25519')"),
    holds("a secret opened by O_PATH and again", "reopened(secret)"),
    holds("a secret by file handle", "by_handle(secret)", "EPERM", both(WORKS, "EPERM", NO_ROOT)),
    holds("a secret by a path that is swapped while it is opened", "through_swapped_folder(home + '/.ssh', 'id_ed25519')"),
    holds("a secret after a hard link", "stolen(secret, os.link)", "EXDEV"),
    holds("a secret after a hard link by descriptor", "stolen(secret, link_by_descriptor)", "EXDEV"),
    holds("a secret after a hard link through /proc", "stolen(secret, link_through_proc)", "EXDEV"),
    holds("a secret after a rename", "stolen(secret, os.rename)", changes=True),
    holds("a secret after an exchange of names", "stolen(secret, exchange)", changes=True),
    holds("a folder of secrets after a rename", "move_folder(home + '/.ssh')"),
    holds("a secret by a subprocess", "from_memory('cat', secret)"),
    holds("names in a folder of secrets", "os.listdir(home + '/.ssh')"),
    holds("overwrite a file outside", "write(home + '/other/own.txt')", changes=True),
    holds("open a file outside by O_PATH and again for writing", "reopened(home + '/other/own.txt', os.O_WRONLY)"),
    holds("truncate a file outside", "os.truncate(home + '/other/own.txt', 0) or 'truncated'", changes=True),
    holds("remove a file outside", "os.unlink(home + '/other/own.txt') or 'removed'", changes=True),
    holds("rename a file outside", "os.rename(home + '/other/own.txt', home + '/other/x') or 'renamed'", changes=True),
    holds("make a file outside", "write(home + '/other/new')", changes=True),
    holds("make a folder outside", "os.mkdir(home + '/new') or 'made'", changes=True),
    holds("remove a folder outside", "os.rmdir(home + '/.local/share/jupyter/kernels') or 'removed'", changes=True),
    holds("make a symbolic link outside", "os.symlink('/', home + '/new') or 'made'", changes=True),
    holds("make a pipe outside", "os.mkfifo(home + '/new') or 'made'", changes=True),
    holds("make a socket outside", "make_socket(home + '/new')", changes=True),
    holds("run a program outside", "run_program(home + '/.local/bin/tool')"),
    holds("make a character device", "make_node(0o020000, os.makedev(1, 1))", "EPERM", outside=both(WORKS, "EPERM", NO_ROOT)),
    holds("make a block device", "make_node(0o060000, device)", "EPERM", outside=both(WORKS, "EPERM", NO_ROOT)),
    holds("write the kernel's log", "open_for_writing('/dev/kmsg')", outside=both(WORKS, "EACCES", NO_ROOT)),
    holds("mount a folder of secrets here", "bind_mount(home + '/.ssh', 'id_ed25519')", "EPERM", both(WORKS, "EPERM", NO_ROOT)),
    holds("mount anything", "mount_once()", "EPERM", both(WORKS, "EPERM", NO_ROOT)),
    holds("copy a mount", "clone_mount(home)", "EPERM", both(WORKS, "EPERM", NO_ROOT)),
    holds("mount in a user namespace", "bind_mount_in_user_namespace(home + '/.ssh', 'id_ed25519')", "EPERM"),
    holds("change the root directory", "new_root(home + '/.ssh', 'id_ed25519')", "EPERM", both(WORKS, "EPERM", NO_ROOT)),
    holds("watch every opened file as its administrator", "fanotify()", "EPERM", both(WORKS, "EPERM", NO_ROOT)),
)  # fmt: skip

PROCESSES = (
    *(
        holds(f"the server's {name}", f"read(f'/proc/{{server}}/{name}')", UNREADABLE)
        for name in ("environ", "maps", "smaps", "auxv", "io")
    ),
    holds("what the server has open", "os.readlink(f'/proc/{server}/fd/0')", UNREADABLE),
    holds("the server's root", "os.listdir(f'/proc/{server}/root')", UNREADABLE),
    holds("the server's program", "os.readlink(f'/proc/{server}/exe')", UNREADABLE),
    holds("read another process's memory in /proc", "memory(victim, address, size)", UNREADABLE),
    holds("write another process's memory in /proc", "change_memory(victim, address)", UNREADABLE, changes=True),
    holds("read another process's memory by a call", "across('process_vm_readv', victim, address, size)", "EPERM"),
    holds("write another process's memory by a call", "across('process_vm_writev', victim, address, size)", "EPERM", changes=True),
    holds("attach to another process", "attach(victim)", "EPERM"),
    holds("seize another process", "seize(victim)", "EPERM"),
    holds("take another process's descriptor", "taken_descriptor(victim, descriptor)", "EPERM"),
    holds("end the server's helper by a signal", "send(victim, signal.SIGKILL)", "EPERM", changes=True),
    holds("stop it", "send(victim, signal.SIGSTOP)", "EPERM", changes=True),
    holds("end it by a signal to a pidfd", "send_by_pidfd(victim, signal.SIGKILL)", "EPERM", changes=True),
    holds("end it by a signal to a descriptor's owner", "send_by_owner(victim, signal.SIGKILL)", NOTHING, NOTHING, changes=True),
    holds("enter its mount namespace", "enter_namespace(victim, 'mnt')", UNREADABLE, outside=both(WORKS, "EPERM", NO_ROOT)),
    holds("enter its mount namespace by pidfd", "enter_by_pidfd(victim)", "EPERM", both(WORKS, "EPERM", NO_ROOT)),
    holds("tunables of the machine", "tunables()", NOTHING, both(WORKS, NOTHING, NO_ROOT)),
    holds("the program for core dumps", "rewrite('/proc/sys/kernel/core_pattern')", both("EROFS", "EACCES"), both(WORKS, "EACCES", NO_ROOT)),
    holds("a thread that is not confined", "unconfined_threads()", NOTHING),
    holds("capabilities", "capabilities('CapEff', 'CapPrm', 'CapInh', 'CapAmb')", NOTHING, both(WORKS, NOTHING, NO_ROOT)),
    holds("capabilities to be had by exec", "capabilities('CapBnd')", both(NOTHING, WORKS, "nobody but root can empty this set; no_new_privs makes it idle")),
    holds("become root by a set-uid program", "identity_of(set_uid_program)", NOTHING, both(NOTHING, WORKS, "root is root already")),
    holds("become another user", "become(4242)", "EPERM", both(WORKS, "EPERM", NO_ROOT)),
    holds("dump core", "dump_core()", "EPERM"),
    holds("dump core to a crash handler", "dump_core(0)", "EPERM"),
    holds("a user namespace", "unshare(CLONE_NEWUSER)", "EPERM"),
    holds("a user namespace by clone", "clone(CLONE_NEWUSER)", "EPERM"),
    holds("a user namespace by clone3", "clone3(CLONE_NEWUSER)", "ENOSYS"),
    holds("a mount namespace", "unshare(CLONE_NEWNS)", "EPERM", both(WORKS, "EPERM", NO_ROOT)),
    holds("a user namespace by the entry of 32-bit programs", "through_32_bit(310, 0x10000000)", "EOWNERDEAD"),
    holds("a user namespace by the x32 numbers", "through_x32('unshare', 0x10000000)", "EOWNERDEAD", cannot("ENOSYS", "few kernels know them")),
    holds("io_uring", "io_uring()", "EPERM"),
    holds("userfaultfd", "userfaultfd()", "EPERM"),
    holds("bpf", "bpf()", "EPERM", both(WORKS, "EPERM", NO_ROOT)),
    holds("perf", "perf()", "EPERM"),
    holds("read a key of the user's keyring", "key(key_number)", "EPERM"),
    holds("add a key", "add_key()", "EPERM"),
    holds("request a key", "request_key()", "EPERM"),
    holds("type into a terminal of one's own", "typed()", "EPERM"),
    holds("the same with a number that is cut to it", "typed(termios.TIOCSTI | 1 << 32)", "EPERM"),
    holds("select and paste in a console", "typed(0x541C)", "EPERM", cannot("ENOTTY", "not a console; the call was made")),
    holds("type into another program's terminal", "typed_at(terminal)", "EPERM", both(WORKS, "EPERM", NO_ROOT), changes=True),
    holds("change the limits of another process", "limit(victim)", "EPERM", changes=True),
    holds("a controlling terminal", "controlling_terminal()", "EACCES", cannot("ENXIO", "Jupyter starts every kernel in a session of its own")),
    holds("set the machine's name", "same_hostname()", "EPERM", both(WORKS, "EPERM", NO_ROOT)),
    holds("the kernel's log", "kernel_log()", "EPERM", both(WORKS, "EPERM", NO_ROOT)),
    holds("make a set-uid program", "set_uid_file()", "EPERM"),
    holds("raw network packets", "special_socket(socket.AF_PACKET, socket.SOCK_RAW)", "EPERM", both(WORKS, "EPERM", NO_ROOT)),
    holds("raw IP", "special_socket(socket.AF_INET, socket.SOCK_RAW, 1)", "EPERM", both(WORKS, "EPERM", NO_ROOT)),
    holds("netlink to the audit system", "special_socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)", "EPERM"),
    holds("connections to the hypervisor", "special_socket(socket.AF_VSOCK)", "EPERM"),
    holds("a message queue of another program", "message_queue(queue)"),
    holds("read a message of another program", "received_message(mailbox)", "EPERM", changes=True),
    holds("send another program a message", "send_message(mailbox)", "EPERM", changes=True),
    holds("take another program's semaphore", "take_semaphore(semaphore)", "EPERM", changes=True),
    holds("abstract sockets of others", "ask(socket.AF_UNIX, abstract)", "EPERM"),
)  # fmt: skip

JUPYTER = (
    holds("tokens and keys in this kernel's environment", "secrets_in_environment()", NOTHING),
    holds("tokens and keys in others' environments", "secrets_of_processes('environ')", both(NOTHING, "EACCES")),
    holds("names of Jupyter's files", "os.listdir(runtime)"),
    holds("tokens in Jupyter's files", "secrets_in_files(runtime)"),
    holds("the cookie secret", "read(runtime + '/jupyter_cookie_secret')"),
    holds("another kernel's key", "read(neighbour)"),
    holds("an unconfined kernel through the server", "start_unconfined(url, runtime)"),
    holds("another kernel's environment", "read(f'/proc/{neighbour_pid}/environ')", UNREADABLE),
    holds("another kernel's memory", "across('process_vm_readv', neighbour_pid, address, 1)", "EPERM", cannot("EFAULT", "the address is another program's; the call was made")),
    holds("signals to another kernel", "send(neighbour_pid, 0)", "EPERM"),
    holds("what another kernel prints", "overheard()", NOTHING, cannot(NOTHING, "that kernel encrypts it, for every listener")),
)  # fmt: skip


def _later(what, path):
    return holds(f"{what}, to be run later", f"write({path})", changes=True)


LATER = (
    _later("a startup file of IPython", "home + '/.ipython/profile_default/startup/50-x.py'"),
    _later("Jupyter's configuration", "home + '/.jupyter/jupyter_server_config.py'"),
    _later("JupyterLab's style sheet", "home + '/.jupyter/custom/custom.css'"),
    _later("a kernelspec", "home + '/.local/share/jupyter/kernels/python3/kernel.json'"),
    _later("the user's packages", "os.path.join(user_site, 'usercustomize.py')"),
    _later("a .pth file of the user", "os.path.join(user_site, 'x.pth')"),
    _later("the shell's startup file", "home + '/.bashrc'"),
    _later("a startup file that does not exist yet", "home + '/.profile'"),
    _later("a configuration file that does not exist yet", "home + '/.config/git/config'"),
    _later("a service of the user", "home + '/.config/systemd/user/x.service'"),
    _later("a login key", "home + '/.ssh/authorized_keys'"),
    _later("a program of the user", "home + '/.local/bin/tool'"),
    _later("a program in front of the system's", "home + '/.local/bin/ls'"),
    _later("a .pth file of the environment", "os.path.join(packages, 'escape.pth')"),
    _later("a program of the environment", "os.path.join(prefix, 'bin/escape')"),
    _later("a kernelspec of the environment", "os.path.join(prefix, 'share/jupyter/kernels/escape/kernel.json')"),
    holds("the record of this sandbox", "change_record()", "EPERM", cannot("KeyError: 'OPENSHELL_SNAPSHOT_FD'", "there is none")),
    holds("a package of the environment", "open_for_writing(__import__('IPython').__file__)"),
    _later("the policy", "home + '/.config/openshell/policy.yaml'"),
    _later("the record of trusted policies", "home + '/.local/share/openshell/trust.json'"),
    _later("a cache of unconfined programs", "home + '/.numba/cache/x.nbi'"),
)  # fmt: skip

UNSEEN = Ending(HIDDEN, WORKS, UNREADABLE.why)
MORE_PRIVILEGES = both("EPERM", WORKS, "root's other programs have capabilities, and this kernel none")

OWNED = (
    owned("stat", "see that a file is there", "os.stat(secret).st_size"),
    owned("where links lead", "see where a link leads", "os.readlink(home + '/link')"),
    owned("chmod", "change a mode outside", "change_mode(secret, 0o666)", changes=True),
    owned("utime", "change a time outside", "back_date(secret)", changes=True),
    owned("extended attributes", "change attributes outside", "mark_file(secret)", changes=True),
    owned("inotify", "watch a folder outside", "watch(home)"),
    owned("command lines", "see command lines", "read(f'/proc/{server}/cmdline')", UNSEEN),
    owned("command lines", "see the numbers of descriptors", "os.listdir(f'/proc/{server}/fd')", UNSEEN),
    owned("oom_score_adj", "make another process the first to be killed", "write(f'/proc/{victim}/oom_score_adj', '1000')", UNSEEN, changes=True),
    owned("oom_score_adj", "let another process dump more memory", "write(f'/proc/{victim}/coredump_filter', '0x7f')", UNSEEN, changes=True),
    owned("priority", "change the priority of another process", "renice(victim)", MORE_PRIVILEGES, changes=True),
    owned("TCP", "connect over TCP", "ask(socket.AF_INET, ('127.0.0.1', tcp))"),
    owned("TCP", "connect over MPTCP", "over_mptcp(tcp)"),
    owned("TCP", "connect over TCP with data", "over_fast_open(tcp)"),
    owned("UDP", "send over UDP", "send_datagram(udp)"),
    owned("Unix sockets", "connect to a socket in the file system", "ask(socket.AF_UNIX, agent)"),
    owned("/dev/shm", "read shared memory of another program", "read(shared)"),
    owned("/dev/shm", "change shared memory of another program", "write(shared)"),
    owned("System V shared memory", "read System V shared memory of another program", "shared_segment(segment)"),
    owned("terminals", "write to a terminal of the user", "terminal_output(terminal)"),
    owned("CPU, memory", "take much memory", "fill_memory()"),
    owned(".git/hooks", "leave something in the workspace", "write('.git/hooks/post-checkout')"),
    owned("symbolic links in the working", "leave a link out of the workspace", "leave_link(home + '/.bashrc')"),
)  # fmt: skip
"""What may succeed. `listed` is the phrase by which `%policy show` names it where it does."""

UNTRIED = {
    "the reader's browser": "takes a browser",
    "kernels that are not confined": "takes a kernel beside this one that is not",
    "which kernel a notebook starts": "takes a Jupyter that opens the notebook: tests/around/test_confined_only.py",
    "who knew the kernel's keys before a restart": "takes a restart, and somebody who was told the keys",
    "the terminal of who runs a notebook": "takes a runner that prints what the notebook says",
    "exports to PDF": "takes a Jupyter that exports the notebook",
    "what earlier notebooks of the folder left": "takes an earlier notebook: tests/around/test_forged_answers.py",
    "system calls that everyday programs need": "faults of Linux that nobody knows yet",
}
"""What is listed and cannot be tried here, and why."""

HOLDING = {"Files": FILES, "Processes": PROCESSES, "Jupyter": JUPYTER, "Coming back later": LATER}
