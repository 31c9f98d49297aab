"""A process that confines itself as on an older Linux and then tries to empty a file; prints what came of it, as JSON.

Reads {"abi": number or null, "readable": [path, ...], "writable": [path, ...], "program": hex, "attempt": name, "path":
path} from stdin. A Landlock ruleset that handles only the rights of an older ABI leaves open what that ABI does.
"""

import ctypes
import errno
import json
import os
import sys

from openshell_kernel.policy.effective import READ_RIGHTS, WRITE_RIGHTS
from openshell_kernel.sandbox import landlock, seccomp
from openshell_kernel.sandbox.plan import PlanRule

NEITHER = 3
LIBC = ctypes.CDLL(None, use_errno=True)


def ftruncate(path):
    with open(path, "r+b") as stream:
        stream.truncate(0)


def creat(path):
    fd = LIBC.creat(path.encode(), 0o644)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "creat")


ATTEMPTS = {
    "truncate": lambda path: os.truncate(path, 0),
    "truncate through a descriptor's name": lambda path: os.truncate(f"/proc/self/fd/{os.open(path, os.O_PATH)}", 0),
    "open to read": lambda path: os.open(path, os.O_RDONLY | os.O_TRUNC),
    "open to neither": lambda path: os.open(path, NEITHER | os.O_TRUNC),
    "open to neither, without emptying": lambda path: os.open(path, NEITHER),
    "open to write": lambda path: os.open(path, os.O_WRONLY | os.O_TRUNC),
    "ftruncate": ftruncate,
    "creat": creat,
}


def main():
    request = json.load(sys.stdin)
    attempt, path = ATTEMPTS[request["attempt"]], request["path"]
    landlock.set_no_new_privs()
    if request["abi"] is not None:
        rules = [PlanRule(name, READ_RIGHTS, required=True) for name in request["readable"]]
        rules += [PlanRule(name, WRITE_RIGHTS, required=True) for name in request["writable"]]
        landlock.prepare(rules, landlock.Support(abi=request["abi"], release="")).enforce()
    if request["program"]:
        seccomp.install(bytes.fromhex(request["program"]), detail="", required=True)
    try:
        attempt(path)
        outcome = "ok"
    except OSError as error:
        outcome = errno.errorcode[error.errno]
    json.dump({"outcome": outcome, "left": os.stat(path).st_size}, sys.stdout)


main()
