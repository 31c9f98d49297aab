"""A process that confines itself as on an older Linux and then tries to empty a file; prints what came of it, as JSON.

Reads {"abi": number or null, "readable": [path, ...], "writable": [path, ...], "program": hex, "attempt": name, "path":
path} from stdin. A Landlock ruleset that handles only the rights of an older ABI leaves open what that ABI does.
"""

import ctypes
import errno
import json
import os
import sys

from openshell_kernel.base import rights
from openshell_kernel.base.libc import set_no_new_privs
from openshell_kernel.base.rules import Access, Origin, Rule
from openshell_kernel.sandbox.layers.contract import Context
from openshell_kernel.sandbox.layers.landlock import Landlock
from openshell_kernel.sandbox.layers.seccomp import Seccomp
from openshell_kernel.sandbox.ruleset import Support

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
    set_no_new_privs()
    rules = tuple(
        Rule(name, Access.READ_ONLY, given, Origin.RUNTIME_BASELINE, "", required=True)
        for given, names in ((rights.READ, request["readable"]), (rights.WRITE, request["writable"]))
        for name in names
    )
    context = Context(support=Support(abi=request["abi"], release=""), rules=rules)
    if request["abi"] is not None:
        layer = Landlock(Landlock.takes(rules=rules), context)
        layer.prepare()
        layer.enforce()
    if request["program"]:
        Seccomp(Seccomp.takes(program=bytes.fromhex(request["program"]), detail=""), context).enforce()
    try:
        attempt(path)
        outcome = "ok"
    except OSError as error:
        outcome = errno.errorcode[error.errno]
    json.dump({"outcome": outcome, "left": os.stat(path).st_size}, sys.stdout)


main()
