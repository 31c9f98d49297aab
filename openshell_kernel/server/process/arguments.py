"""Tokens and passwords in the arguments of the server, and of the processes that started it.

Whoever can see a process in /proc can read its arguments, a confined kernel too, and a server's token starts kernels
that are not confined. What stands in the server's own arguments can be overwritten; of the others it can only be told.

Sources: proc(5), /proc/pid/cmdline and arg_start in /proc/pid/stat.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from typing import TYPE_CHECKING

from openshell_kernel.base.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = rb"[\w.-]*(?:token|password|secret)[\w.-]*"
# --name=value, NAME=value as in front of a command, and --name value. In the arguments of a shell, blanks and quotes
# stand where otherwise there are null characters.
_OPTION = re.compile(
    rb"(?<![^\0\s'\"?&])(?:(" + _NAME + rb")=['\"]?([^\0]+)|(--?" + _NAME + rb")[\0 ]+(?!-)([^\0]+))", re.IGNORECASE
)
_NO_SECRET = re.compile(rb"(true|false|none|[01]|\*+)(?=[\s'\"]|$)|['\"]*(?=\s|$)", re.IGNORECASE)
_ABOUT_A_SECRET = (b"file", b"path", b"dir", b"class", b"url")
_TELLING = 8  # bytes
# The fields of /proc/pid/stat that follow the name of the program, which may hold anything.
_PARENT, _ARG_START, _ARG_END = 1, 45, 46


def blank() -> None:
    """Overwrite the tokens and passwords in this process's own arguments, as others see them; sys.argv stays."""
    with open("/proc/self/stat", "rb") as stream:
        fields = _fields(stream.read())
    start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    if not start:
        return
    arguments = ctypes.string_at(start, end - start)
    for value in {arguments[first:last] for _, first, last in _secrets(arguments)}:
        # Wherever it stands: it may be repeated in another argument. A short one could be a part of anything.
        for match in re.finditer(re.escape(value), arguments) if len(value) >= _TELLING else ():
            ctypes.memset(start + match.start(), ord("*"), len(value))
    for _, first, last in _secrets(arguments):
        ctypes.memset(start + first, ord("*"), last - first)


def exposures() -> tuple[str, ...]:
    """Return what is to be told of this process and those above it: who shows a token or password, and the remedy."""
    found = []
    for pid in _lineage():
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline", "rb") as stream:
                options = dict.fromkeys(name for name, _, _ in _secrets(stream.read()))
            with open(f"/proc/{pid}/comm") as stream:
                program = stream.read().strip()
            found += [
                f"process {pid} ({printable(program)}) shows the value of {option} in its arguments. A notebook "
                "can read it there, and start unconfined kernels with a server's token: export JUPYTER_TOKEN "
                "before you start it, or write the token into Jupyter's configuration file"
                for option in options
            ]
    return tuple(found)


def _lineage() -> Iterator[int]:
    """Yield this process and all above it."""
    pid = os.getpid()
    while pid:
        yield pid
        try:
            with open(f"/proc/{pid}/stat", "rb") as stream:
                pid = int(_fields(stream.read())[_PARENT])
        except OSError:
            return


def _fields(stat: bytes) -> list[bytes]:
    return stat.rpartition(b")")[2].split()


def _secrets(arguments: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield the options that hold a secret, and where the secret begins and ends."""
    for match in _OPTION.finditer(arguments):
        group = 1 if match[1] is not None else 3
        name, value = match[group], match[group + 1]
        if not name.lower().endswith(_ABOUT_A_SECRET) and not _NO_SECRET.match(value):
            yield name.decode(errors="replace"), *match.span(group + 1)
