"""From a file to `Policy`. All that is wrong with the file is reported at once, with line and column."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from functools import lru_cache

from pydantic import ValidationError

from openshell_kernel.errors import PolicyError
from openshell_kernel.policy.blocks.block import unknown_keys
from openshell_kernel.policy.blocks.errors import UNKNOWN_KEY
from openshell_kernel.policy.document import Document, Key, Node, Violation
from openshell_kernel.policy.model import Policy

MAX_FILE_BYTES = 1024 * 1024

_SHOWN_VIOLATIONS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """What was read: the bytes, the real path of the very file that they came from, and how many names it has."""

    path: str
    content: bytes
    links: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """A policy and what its author should know of the text, or None and what is wrong with it, in file order."""

    policy: Policy | None
    violations: tuple[Violation, ...]


class InvalidPolicyError(PolicyError):
    """A policy was read and is not valid; `violations` holds everything that is wrong, in file order."""

    def __init__(self, name: str, violations: tuple[Violation, ...]) -> None:
        lines = [f"{name}:{violation}" for violation in violations[:_SHOWN_VIOLATIONS]]
        if len(violations) > _SHOWN_VIOLATIONS:
            lines.append(f"{name}: and {len(violations) - _SHOWN_VIOLATIONS} more mistakes; correct these first")
        super().__init__("\n".join(lines))
        self.violations = violations


def load(path: str | os.PathLike[str]) -> Policy:
    """Read a policy file once and return its policy.

    Raises:
        PolicyError: the file cannot be read, is not a regular file, is too large, or is not text.
        InvalidPolicyError: the file is not a valid policy.
    """
    name = os.fspath(path)
    return decode(read(name).content, name=name)


def decode(content: bytes, *, name: str) -> Policy:
    """Return the policy that the bytes of a file say; `name` stands for the file in errors, and in its notices.

    Raises:
        InvalidPolicyError: it is not a valid policy; with every violation.
    """
    return _policy(lint(content), name)


def parse(text: str, *, name: str) -> Policy:
    """Return the policy that a YAML text says, as `decode` does.

    Raises:
        InvalidPolicyError: with every violation.
    """
    return _policy(_parse(text), name)


def _policy(findings: Findings, name: str) -> Policy:
    if findings.policy is None:
        raise InvalidPolicyError(name, findings.violations)
    notices = tuple(f"{name}:{violation}" for violation in findings.violations)
    return findings.policy.with_notices(notices) if notices else findings.policy


def lint(content: bytes) -> Findings:
    """Return all that is to be said of the bytes of a policy file."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        problem, remedy = f"not UTF-8 ({error.reason})", "save the file as UTF-8"
        violation = Violation(line=line, column=column, key="", problem=problem, remedy=remedy)
        return Findings(policy=None, violations=(violation,))
    return _parse(text)


def read(name: str, *, follow: bool = True) -> File:
    """Read a file that should be a policy once, from one descriptor.

    Raises:
        PolicyError: it cannot be read, is not a regular file, is too large, or, without `follow`, is a symbolic link.
    """
    # Without O_NONBLOCK, opening a FIFO would hang the server that starts the kernel.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(name, flags)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise PolicyError(f"{name}: not a regular file; name a YAML file")
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(MAX_FILE_BYTES + 1)
            path = os.readlink(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        if not follow and getattr(error, "errno", None) == errno.ELOOP:
            raise PolicyError(f"{name}: a symlink; put the policy itself there, or name the link's target") from None
        reason = getattr(error, "strerror", None) or error
        raise PolicyError(
            f"{name}: the policy cannot be read: {reason}; correct the path or the file's permissions"
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise PolicyError(
            f"{name}: larger than {MAX_FILE_BYTES} bytes; a policy is short, so check that this is the right file"
        )
    return File(path=path, content=content, links=status.st_nlink)


@lru_cache(maxsize=16)
def _parse(text: str) -> Findings:
    # By content, not by name: a kernel start reads its file anew, and pays for parsing only what has changed.
    document = Document(text)
    policy = None
    if document.root is not None:
        try:
            policy = Policy.model_validate(document.root.to_json())
        except ValidationError as error:
            _report(document, document.root, error)
        if document.violations:
            policy = None
        elif policy is not None:
            _report_unknown(document, document.root, policy)
    violations = sorted(document.violations, key=lambda violation: (violation.line, violation.column))
    return Findings(policy=policy, violations=tuple(violations))


def _report_unknown(document: Document, root: Node, policy: Policy) -> None:
    for key, meant in unknown_keys(policy):
        index = _index(root, key, at_key=True)
        if index is not None:
            document.report(index, key, "unknown key, kept and not enforced", meant)


def _report(document: Document, root: Node, error: ValidationError) -> None:
    for line in error.errors(include_url=False):
        index = _index(root, line["loc"], at_key=line["type"] == UNKNOWN_KEY)
        if index is not None:
            document.report(index, line["loc"], line["ctx"]["problem"], line["ctx"]["remedy"])


def _index(root: Node, key: Key, *, at_key: bool) -> int | None:
    """Return where a value stands, or the mapping that lacks it; None where it was reported already."""
    node, index = root, root.index
    for step in key:
        if node.bad:
            return None
        if isinstance(node.value, dict) and step in node.value:
            entry = node.value[str(step)]
            node, index = entry.node, entry.index if at_key else entry.node.index
        elif isinstance(node.value, list) and isinstance(step, int):
            node = node.value[step]
            index = node.index
        else:
            break
    return None if node.bad else index
