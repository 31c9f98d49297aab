"""The side of the server, as the user whose kernels are attacked: makes that user's world, and starts the kernels.

`python -m escapes.server_side FOLDER`, with tokens in its environment as a server has them. One JSON object a line is
asked on standard input, one answered on standard output; see `World` for what can be asked.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import resource
import shlex
import shutil
import signal
import site
import socket
import stat
import struct
import subprocess
import sys
import sysconfig
import tempfile
import termios
import time
import traceback
import urllib.request
from pathlib import Path

from jupyter_client.blocking import BlockingKernelClient
from support import kernels

HERE = Path(__file__).parent
IPC_RMID, GETVAL = 0, 12
libc = ctypes.CDLL(None)
FILES = {
    ".ssh/id_ed25519": "LEAK-private-key",
    ".bashrc": "# as it was\n",
    ".local/bin/tool": "#!/bin/sh\necho tool\n",
    "other/own.txt": "of another project\n",
}
FOLDERS = (".ipython/profile_default/startup", ".jupyter", ".local/share/jupyter/kernels", "notebooks", "empty")
LIVING = (
    "notebooks",
    ".local/share/jupyter/runtime",
    ".local/share/openshell/homes",
    "agent.sock",
    ".cache",
    ".ipython",
)
"""What changes while kernels do nothing wrong. IPython's folder does in plain kernels: only its startup files count."""
STARTUP = ".ipython/profile_default/startup"


class World:
    """A home with secrets and settings, a victim, a Jupyter server and another kernel; and the kernels that attack."""

    def __init__(self, folder):
        self.home = Path(folder, "home")
        self.packages = sysconfig.get_path("purelib")
        self.outside = (
            Path(self.packages, "escape.pth"),
            Path(sys.prefix, "share/jupyter/kernels/escape/kernel.json"),
            Path(sys.prefix, "bin/escape"),
        )
        self.kernels = {}
        self.exits = contextlib.ExitStack()
        self.victim = None
        self.victim_targets = {}
        self.server = None
        self.neighbour = None
        try:
            self._make()
            self.pristine = self.state()
        except BaseException:
            self.close()
            raise

    # What can be asked.

    def start(self, name, spec, policy=None, cwd="notebooks", *, leak=False, terminal=False):
        """Start a kernel; answers with the refusal, if it is refused.

        With `leak`, a secret is open to be inherited; with `terminal`, the server was started in one.
        """
        path = self.home / ".config/openshell/policy.yaml"
        if policy is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(policy)
        stack = contextlib.ExitStack()
        secret = os.open(self.home / ".ssh/id_ed25519", os.O_RDONLY)
        os.set_inheritable(secret, True)
        options = {"pass_fds": (secret,)} if leak else {}
        if terminal:
            self.keyboard, screen = os.openpty()
            stack.callback(os.close, self.keyboard)
            stack.callback(os.close, screen)
            options |= {"stdout": screen, "stderr": screen}
        try:
            kernel = stack.enter_context(kernels.started(spec, cwd=self.home / cwd, **options))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            return {"refused": f"{type(error).__name__}: {error}"}
        finally:
            os.close(secret)
            path.unlink(missing_ok=True)
        self.kernels[name] = (kernel, stack)
        output = kernel.run(Path(HERE, "payload.py").read_text())
        return {"refused": "", "error": output.error}

    def in_servers_kernels(self, options, token, specs, code, *, by_shell=False):
        """Start a server with these options and through it one kernel after the other; return what the code gave."""
        outputs = []
        with self._running_server(*options, by_shell=by_shell) as (_, port):
            for spec in specs:
                request = urllib.request.Request(
                    f"http://127.0.0.1:{port}/api/kernels",
                    data=json.dumps({"name": spec, "path": ""}).encode(),
                    headers={"Authorization": f"token {token}"},
                )
                with urllib.request.urlopen(request) as answer:  # noqa: S310 - the address is that of the server started here
                    number = json.load(answer)["id"]
                path = self.home / f".local/share/jupyter/runtime/kernel-{number}.json"
                client = BlockingKernelClient(connection_file=str(path))
                client.load_connection_file()
                client.start_channels()
                try:
                    client.wait_for_ready(timeout=kernels.SECONDS)
                    output = kernels.Kernel(None, client).run(code)
                finally:
                    client.stop_channels()
                outputs.append({"text": output.text, "error": output.error})
        return outputs

    def has(self, name):
        return name in self.kernels

    def stop(self, name):
        self.kernels.pop(name)[1].close()

    def stop_all(self):
        for name in list(self.kernels):
            self.stop(name)

    def empty_workspace(self):
        for path in (self.home / "notebooks").iterdir():
            if path.name != "set-uid-id":
                self.remove(path)

    def restart(self, name):
        """Restart a kernel as a user does; answers with the refusal, if it is refused."""
        kernel, _ = self.kernels[name]
        try:
            kernel.manager.restart_kernel(now=True)
            kernel.client.wait_for_ready(timeout=kernels.SECONDS)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            return {"refused": f"{type(error).__name__}: {error}"}
        return {"refused": "", "error": kernel.run(Path(HERE, "payload.py").read_text()).error}

    def run(self, name, code):
        output = self.kernels[name][0].run(code)
        return {"text": output.text, "error": output.error}

    def attack(self, name, expression):
        """Let a kernel try an attack on the world as it was at first."""
        self.repair()
        if "overheard" in expression:
            self.neighbour.client.execute("import time\nfor _ in range(20):\n    print('LEAK-output'); time.sleep(0.1)")
        output = self.run(name, f"print(json.dumps(attempt({expression!r}, {self.targets()!r})))")
        if output["error"]:
            return {"outcome": output["error"], "evidence": output["text"], "changed": self.changes()}
        return {**json.loads(output["text"].splitlines()[-1]), "changed": self.changes()}

    def snapshot(self, name):
        return json.loads(self.run(name, "%policy show --json")["text"])

    def type(self, text):
        """Type into the terminal that the server was started in."""
        os.write(self.keyboard, text.encode())

    def make_folder(self, path):
        Path(self.home, path).mkdir()

    def make_pipe(self, path):
        os.mkfifo(Path(self.home, path))

    def exists(self, path):
        return os.path.lexists(Path(self.home, path))

    def remove(self, path):
        path = Path(self.home, path)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    # The world.

    def targets(self):
        """Return what the attacks know. Of a user's machine, an attacker knows the common paths."""
        return {
            **self.victim_targets,
            "home": str(self.home),
            "workspace": str(self.home / "notebooks"),
            "secret": str(self.home / ".ssh/id_ed25519"),
            "server": os.getpid(),
            "url": f"http://127.0.0.1:{self.port}/",
            "runtime": str(self.home / ".local/share/jupyter/runtime"),
            "neighbour": self.neighbour.manager.connection_file,
            "neighbour_pid": self.neighbour.pid,
            "packages": self.packages,
            "user_site": site.getusersitepackages(),
            "prefix": sys.prefix,
            "set_uid_program": str(self.home / "notebooks/set-uid-id"),
            "device": os.stat(self.home).st_dev,
        }

    def state(self):
        """Return what an attack could change, by name."""
        found = {}
        for folder, names, files in os.walk(self.home):
            here = os.path.relpath(folder, self.home)
            names[:] = [name for name in names if os.path.normpath(os.path.join(here, name)) not in LIVING]
            for name in [*names, *files]:
                path = os.path.normpath(os.path.join(here, name))
                if path not in LIVING:
                    found[path] = self._file(self.home / path)
        for name in sorted(os.listdir(self.home / STARTUP)):
            if name != "README":
                found[f"{STARTUP}/{name}"] = self._file(self.home / STARTUP / name)
        found.update({str(path): self._file(path) for path in self.outside if os.path.lexists(path)})
        return {**found, **self._victim()}

    def changes(self):
        now = self.state()
        return sorted(name for name in now.keys() | self.pristine.keys() if now.get(name) != self.pristine.get(name))

    def repair(self):
        changed = self.changes()
        if any(name.startswith("victim") for name in changed):
            self._end_victim()
            self._start_victim()
        for name in changed:
            if not name.startswith("victim") and name not in self.pristine:
                self.remove(name)
        if changed:
            self._plant()
        left = self.changes()
        if left:
            raise RuntimeError(f"the world cannot be repaired: {left}")

    def close(self):
        self.stop_all()
        for path in self.outside:
            self.remove(path)
        self.exits.close()
        self._end_victim()

    @staticmethod
    def _file(path):
        status = os.lstat(path)
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        modified = status.st_mtime_ns if stat.S_ISREG(status.st_mode) else 0
        return (status.st_mode, modified, hashlib.sha256(content).hexdigest(), _attributes(path))

    def _victim(self):
        pid = self.victim.pid
        if not self._answers():
            return {"victim": "does not answer"}
        with open(self.victim_targets["terminal"], "rb", 0) as terminal:
            typed = struct.unpack("i", fcntl.ioctl(terminal, termios.FIONREAD, bytes(4)))[0]
        with open(f"/proc/{pid}/mem", "rb", 0) as memory:
            memory.seek(self.victim_targets["address"])
            text = memory.read(self.victim_targets["size"]).decode()
        return {
            "victim's oom_score_adj": Path(f"/proc/{pid}/oom_score_adj").read_text(),
            "victim's coredump_filter": Path(f"/proc/{pid}/coredump_filter").read_text(),
            "victim's limits": resource.prlimit(pid, resource.RLIMIT_NOFILE),
            "victim's priority": os.getpriority(os.PRIO_PROCESS, pid),
            "victim's input": typed,
            "victim's messages": _messages(self.victim_targets["mailbox"]),
            "victim's semaphore": libc.semctl(self.victim_targets["semaphore"], 0, GETVAL),
            "victim's memory": text,
        }

    def _answers(self):
        """Whether the victim still does its work: a signal that was sent is delivered before it does any more."""
        try:
            with socket.create_connection(("127.0.0.1", self.victim_targets["tcp"]), timeout=2) as client:
                return bool(client.recv(1))
        except OSError:
            return False

    def _make(self):
        self._plant()
        self._start_victim()
        self.neighbour = self.exits.enter_context(kernels.started("openshell-gpu", cwd=self.home / "empty"))
        self._start_server()

    def _plant(self):
        for name in FOLDERS:
            Path(self.home, name).mkdir(parents=True, exist_ok=True)
        if not os.path.islink(self.home / "link"):
            os.symlink("other/own.txt", self.home / "link")
        for name, text in FILES.items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # In place where it is there, so that what holds it open goes on holding it.
            path.chmod(0o600) if path.exists() else None
            path.write_text(text)
            path.chmod(0o700 if name.endswith("tool") else 0o600)
            os.utime(path, (1_700_000_000, 1_700_000_000))
            for attribute in os.listxattr(path):
                os.removexattr(path, attribute)

    def _start_victim(self):
        self.victim = subprocess.Popen(
            [sys.executable, "-I", str(HERE / "victim.py"), str(self.home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.victim_targets = json.loads(self.victim.stdout.readline())

    def _end_victim(self):
        if self.victim is not None:
            # It may have been stopped.
            self.victim.send_signal(signal.SIGCONT)
            with contextlib.suppress(BrokenPipeError):
                self.victim.communicate()
            # What would outlive it. It may have been killed, or have failed before it had them.
            Path(f"/dev/shm/openshell-escapes-{self.victim.pid}").unlink(missing_ok=True)
            libc.mq_unlink(f"/openshell-escapes-{self.victim.pid}".encode())
            if self.victim_targets:
                libc.msgctl(self.victim_targets["mailbox"], IPC_RMID, None)
                libc.semctl(self.victim_targets["semaphore"], 0, IPC_RMID)

    def _start_server(self):
        self.server, self.port = self.exits.enter_context(self._running_server())

    @contextlib.contextmanager
    def _running_server(self, *options, by_shell=False):
        """Run a Jupyter server, by a shell if it is to have one above it; give its process and its port."""
        words = ["--ServerApp.port=0", "--no-browser", f"--ServerApp.root_dir={self.home}/notebooks", *options]
        if os.getuid() == 0:
            words.append("--allow-root")
        command = [sys.executable, "-m", "jupyter_server", *words]
        if by_shell:
            command = ["sh", "-c", f"{shlex.join(command)} & echo $! >{self.home}/notebooks/pid; wait"]
        with tempfile.TemporaryFile() as log, contextlib.ExitStack() as stack:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            stack.callback(process.wait)
            pid_file = self.home / "notebooks/pid"
            deadline = time.monotonic() + kernels.SECONDS
            while by_shell and not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
                time.sleep(0.05)
            pid = int(pid_file.read_text()) if by_shell else process.pid
            stack.callback(os.kill, pid, signal.SIGTERM)
            path = self.home / f".local/share/jupyter/runtime/jpserver-{pid}.json"
            while not _listens(path):
                if time.monotonic() > deadline or process.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(log.read().decode())
                time.sleep(0.05)
            yield process, json.loads(path.read_text())["port"]


def _listens(path):
    """Whether a server is there; it writes where it will listen before it does."""
    try:
        socket.create_connection(("127.0.0.1", json.loads(path.read_text())["port"]), timeout=1).close()
    except (OSError, ValueError):
        return False
    return True


def _messages(number):
    """Return how many bytes and messages a System V queue holds."""
    lines = [line.split() for line in Path("/proc/sysvipc/msg").read_text().splitlines()[1:]]
    return next(tuple(words[3:5]) for words in lines if words[1] == str(number))


def _attributes(path):
    return {
        name: os.getxattr(path, name, follow_symlinks=False).hex() for name in os.listxattr(path, follow_symlinks=False)
    }


def main(folder):
    answers = os.fdopen(os.dup(1), "w")
    # Whatever else writes to standard output, the kernels among them, must not come between the answers.
    os.dup2(2, 1)
    with contextlib.closing(World(folder)) as world:
        for line in sys.stdin:
            question = json.loads(line)
            try:
                answer = {"answer": getattr(world, question["do"])(*question["with"], **question["and"])}
            except Exception:  # noqa: BLE001 - told to the test
                answer = {"failed": traceback.format_exc()}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
