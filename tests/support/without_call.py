"""Runs a program where one system call is answered with an error, as by a kernel without it or a container's profile.

`python -m support.without_call CALL ERRNO-NAME PROGRAM ARGUMENTS...`. A seccomp filter stands in for the older kernel.
"""

import ctypes
import errno
import os
import struct
import sys

CALLS = {
    "x86_64": {"seccomp": 317, "memfd_create": 319, "unshare": 272},
    "aarch64": {"seccomp": 277, "memfd_create": 279, "unshare": 97},
}
EVERYWHERE = {"landlock_create_ruleset": 444, "open_tree": 428, "mount_setattr": 442}
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
RET_ERRNO, RET_ALLOW = 0x00050000, 0x7FFF0000
LOAD_NUMBER, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def main():
    number, code = {**EVERYWHERE, **CALLS[os.uname().machine]}[sys.argv[1]], getattr(errno, sys.argv[2])
    instructions = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (LOAD_NUMBER, 0, 0, 0),
            (JUMP_EQUAL, 0, 1, number),
            (RETURN, 0, 0, RET_ERRNO | code),
            (RETURN, 0, 0, RET_ALLOW),
        )
    )
    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(instructions) // 8, instructions)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)
    ):
        raise SystemExit(os.strerror(ctypes.get_errno()))
    os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
