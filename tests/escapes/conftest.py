"""Starts the server's side as root and as an ordinary user, once for all attacks."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PLAIN_PYTHON = "OPENSHELL_PLAIN_PYTHON"
EXPECT_PLAIN = "OPENSHELL_EXPECT_PLAIN"
ENDS_WITHIN = 120

# The widest that the product gives of its own accord: /proc as with a GPU.
POLICY = """
version: 1
filesystem_policy: {include_workdir: true, read_only: [/usr], read_write: [/proc]}
"""


class Side:
    """The server's side as one user, in a process of its own: asks it, and gives its answers."""

    def __init__(self, user, folder, process, errors):
        self.user = user
        self.folder = folder
        self.set_uid_program = os.getuid() == 0
        self._process = process
        self._errors = errors

    def ask(self, what, *arguments, **options):
        question = json.dumps({"do": what, "with": arguments, "and": options})
        # Where it has died, its last words are told below.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(question + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the server's side has died: {self.errors()[-3000:]}"
        answer = json.loads(line)
        assert "failed" not in answer, answer["failed"] + self.errors()[-3000:]
        return answer["answer"]

    def errors(self):
        return Path(self._errors.name).read_text(errors="replace")

    def kernel(self, kind):
        """Return the name of the kernel that serves all attacks of its kind, started at the first."""
        if not self.ask("has", kind):
            options = {"policy": POLICY} if kind == "openshell-gpu" else {}
            assert self.ask("start", kind, kind, **options) == {"refused": "", "error": ""}
        return kind


@pytest.fixture(scope="module", params=["root", "ordinary"])
def side(request, landlock_abi):
    """One user with a world of secrets; attacks go through its kernels."""
    user = request.param
    python, uid = _account(user)
    base = Path(tempfile.mkdtemp(prefix="openshell-escapes-", dir="/var/tmp"))
    base.chmod(0o755)
    # Another user may not be able to read this checkout.
    shutil.copytree(TESTS / "escapes", base / "code/escapes")
    shutil.copytree(TESTS / "support", base / "code/support")
    for name in ("home", "tmp"):
        (base / name).mkdir(0o700)
        os.chown(base / name, uid, uid)
    if os.getuid() == 0:
        _set_uid_program(base / "home/notebooks", uid)
    environment = {
        "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(base / "home"),
        "TMPDIR": str(base / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "JUPYTER_TOKEN": "LEAK-server-token",
        "JUPYTERHUB_API_TOKEN": "LEAK-hub-token",
        "JPY_API_TOKEN": "LEAK-old-hub-token",
        "AWS_SECRET_ACCESS_KEY": "LEAK-cloud-key",
        "DATABASE_URL": "postgres://someone:LEAK-password@db/x",
        "NVIDIA_API_KEY": "LEAK-model-key",
        "CONFIGPROXY_AUTH_TOKEN": "LEAK-proxy-token",
        "PLAINLY_NAMED": "LEAK-without-telling-name",
    }
    with open(base / "errors", "w+") as errors:
        process = subprocess.Popen(
            [python, "-m", "escapes.server_side", str(base)],
            cwd=base / "code",
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            **({"user": uid, "group": uid, "extra_groups": []} if uid != os.getuid() else {}),
        )
        side = Side(user, base, process, errors)
        try:
            side.ask("targets")
            yield side
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait(ENDS_WITHIN)
            process.stdout.close()
            shutil.rmtree(base)


def _set_uid_program(folder, uid):
    """Put a program of root's into the workspace that tells as whom it runs; only root can make one."""
    folder.mkdir()
    os.chown(folder, uid, uid)
    program = folder / "set-uid-id"
    shutil.copyfile("/usr/bin/id", program)
    program.chmod(0o4755)


def _account(user):
    """Return the Python and the uid to be this user with; the ordinary user is who owns that Python's environment."""
    if (user == "root") == (os.getuid() == 0):
        return Path(sys.executable), os.getuid()
    if user == "root":
        pytest.skip("these tests do not run as root")
    python = os.environ.get(PLAIN_PYTHON)
    if not python:
        reason = f"{PLAIN_PYTHON} names no Python of an ordinary user with this package installed"
        assert os.environ.get(EXPECT_PLAIN) != "1", reason
        pytest.skip(reason)
    uid = os.stat(Path(python).parent).st_uid
    assert uid, f"{PLAIN_PYTHON}: {python} belongs to root: give its environment to an ordinary user"
    _same_package(python, uid)
    return Path(python), uid


def _same_package(python, uid):
    """Make sure that it is this package that is attacked, and not what was installed there some time ago."""
    import openshell_kernel  # noqa: PLC0415

    question = "import openshell_kernel; print(openshell_kernel.__file__)"
    answer = subprocess.run(
        [python, "-I", "-c", question], capture_output=True, text=True, check=True, user=uid, cwd="/"
    )
    theirs, ours = Path(answer.stdout.strip()).parent, Path(openshell_kernel.__file__).parent
    for path in sorted(ours.rglob("*.py")):
        other = theirs / path.relative_to(ours)
        same = other.exists() and other.read_bytes() == path.read_bytes()
        assert same, f"{other} is not {path}: install it again"
