"""An unconfined program of the user: what it holds, offers and is, others must not reach. Tells where as one JSON line.

Arguments: its home. It ends with its standard input.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import selectors
import socket
import struct
import sys
import termios
import tty

TEXT = "LEAK-memory-of-the-victim"
_IPC_PRIVATE, _IPC_CREAT, _IPC_RMID = 0, 0o1000, 0
_USER_KEYRING = -4

libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(TEXT.encode())


def own_terminal():
    """Become the leader of a session whose terminal this is."""
    _parent, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    tty.setraw(terminal)
    return os.ttyname(terminal)


def offering(selector, family, address):
    server = socket.socket(family)
    server.bind(address)
    server.listen()
    selector.register(server, selectors.EVENT_READ, family)
    return server.getsockname()


def serve(selector):
    """Answer everybody, in the one thread that signals stop too, until standard input ends."""
    while True:
        for key, _ in selector.select():
            if key.data is None:
                return
            connection, _ = key.fileobj.accept()
            with connection, contextlib.suppress(OSError):
                connection.send(TEXT.encode())


def segment():
    """Return System V shared memory that goes away with its last user, of any number of processes."""
    number = libc.shmget(_IPC_PRIVATE, 4096, _IPC_CREAT | 0o600)
    libc.shmat.restype = ctypes.c_void_p
    address = libc.shmat(number, None, 0)
    ctypes.memmove(address, TEXT.encode(), len(TEXT))
    libc.shmctl(number, _IPC_RMID, None)
    return number


def mailbox():
    """Return a System V message queue with one message in it."""
    number = libc.msgget(_IPC_PRIVATE, _IPC_CREAT | 0o600)
    if libc.msgsnd(number, struct.pack("l", 1) + TEXT.encode(), len(TEXT), 0) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return number


def semaphore():
    """Return a System V semaphore that nobody has taken."""
    number = libc.semget(_IPC_PRIVATE, 1, _IPC_CREAT | 0o600)
    if libc.semop(number, struct.pack("Hhh", 0, 1, 0), 1) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return number


def message_queue():
    """Return a small one: the sizes of all that a user has are limited."""
    name = f"/openshell-escapes-{os.getpid()}"
    attributes = (ctypes.c_long * 8)(0, 1, 16)
    if libc.mq_open(name.encode(), os.O_RDWR | os.O_CREAT, 0o600, attributes) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return name


def key():
    number = {"x86_64": 248, "aarch64": 217}[os.uname().machine]
    return libc.syscall(number, b"user", b"openshell-escapes", TEXT.encode(), len(TEXT), _USER_KEYRING)


def main(home):
    os.chdir(f"{home}/.ssh")
    # Another session than its parent's, so that the terminal can be its own.
    os.setsid()
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    agent = f"{home}/agent.sock"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(agent)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", 0))
    shared = f"/dev/shm/openshell-escapes-{os.getpid()}"
    with open(shared, "w") as stream:
        stream.write(TEXT)
    targets = {
        "victim": os.getpid(),
        "address": ctypes.addressof(buffer),
        "size": len(TEXT),
        "descriptor": os.open("id_ed25519", os.O_RDWR),
        "terminal": own_terminal(),
        "agent": offering(selector, socket.AF_UNIX, agent),
        "tcp": offering(selector, socket.AF_INET, ("127.0.0.1", 0))[1],
        "abstract": offering(selector, socket.AF_UNIX, f"\0openshell-escapes-{os.getpid()}").decode(),
        "udp": datagrams.getsockname()[1],
        "shared": shared,
        "segment": segment(),
        "queue": message_queue(),
        "mailbox": mailbox(),
        "semaphore": semaphore(),
        "key_number": key(),
    }
    print(json.dumps(targets), flush=True)
    serve(selector)
    libc.syscall(
        {"x86_64": 250, "aarch64": 219}[os.uname().machine], 9, targets["key_number"], _USER_KEYRING
    )  # KEYCTL_UNLINK


main(sys.argv[1])
