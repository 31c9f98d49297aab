"""Paths as a policy writes them: absolute, normalised before they are checked."""

from functools import partial
from typing import Annotated

from pydantic import AfterValidator

from openshell_kernel.policy.blocks.errors import invalid, show
from openshell_kernel.policy.in_json_schema import matching

MAX_PATH_BYTES = 4096
NO_PARENT, _NOT_ROOT = r"(?!(.*/)?\.\.(/|$))", r"(?!(/|\./)*\.?$)"
"""What follows the first slash of a path: no `..`, and more than `/` in disguise."""


def normalise(path: str) -> str:
    """Collapse `//`, `.` and a trailing `/` of an absolute path, without looking at the file system."""
    if not path.startswith("/"):
        return path
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def _check_path(value: str, *, writable: bool) -> str:
    path = normalise(value)
    found = []
    if "\0" in path:
        found.append(("contains a NUL byte", "remove it"))
    if not path.startswith("/"):
        found.append(("must be absolute (start with '/')", "write the full path: ~ and variables are not expanded"))
    if ".." in path.split("/"):
        found.append(("contains a '..' traversal component", "write the path without it"))
    size = len(path.encode("utf-8", "surrogatepass"))
    if size > MAX_PATH_BYTES:
        found.append((f"exceeds the maximum length ({size} bytes > {MAX_PATH_BYTES})", "list a folder above it"))
    if writable and path == "/":
        found.append(("is overly broad as a read-write path", "list the folders that must be writable"))
    if found:
        problems, remedies = zip(*found, strict=True)
        raise invalid(f"path {show(value)} {' and '.join(problems)}", ", and ".join(remedies))
    return path


def check_glob(value: str) -> str:
    """Return a normalised pattern of absolute paths.

    Raises:
        PydanticCustomError: it is none.
    """
    path = normalise(value)
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        problem = f"{show(value)} is not an absolute path or pattern of paths"
        raise invalid(problem, "start it with '/', without '..'; * stands for a part of a name, ** for any")
    return path


ReadOnlyPath = Annotated[str, AfterValidator(partial(_check_path, writable=False)), matching(f"^/{NO_PARENT}")]
ReadWritePath = Annotated[
    str, AfterValidator(partial(_check_path, writable=True)), matching(f"^/{NO_PARENT}{_NOT_ROOT}")
]
