"""Real kernels through jupyter_client: start one, run cells, and see what is left when it is gone."""

import contextlib
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from jupyter_client.manager import KernelManager

SECONDS = 60


@dataclass
class Output:
    """What one cell gave: text of its streams and results, rich data, and the name and value of its error."""

    text: str = ""
    data: dict = field(default_factory=dict)
    error: str = ""


class Kernel:
    """A running kernel and its client."""

    def __init__(self, manager, client):
        self.manager = manager
        self.client = client

    @property
    def pid(self):
        return self.manager.provisioner.pid

    def run(self, code, seconds=SECONDS):
        output = Output()

        def hook(message):
            content = message["content"]
            if message["msg_type"] == "stream":
                output.text += content["text"]
            elif message["msg_type"] == "error":
                output.error = f"{content['ename']}: {content['evalue']}"
            elif message["msg_type"] in ("execute_result", "display_data"):
                output.data.update(content["data"])
                output.text += content["data"].get("text/plain", "")

        # After an error a kernel aborts what else it finds waiting, and the next cell may come that early.
        reply = self.client.execute_interactive(code, output_hook=hook, timeout=seconds, stop_on_error=False)
        assert reply["content"]["status"] != "aborted"
        return output

    def json(self, code, seconds=SECONDS):
        """Run what prints JSON, whatever a library prints besides."""
        text = self.run(code, seconds).text
        return json.JSONDecoder().raw_decode(text, text.index("{"))[0]

    def restart(self, **arguments):
        """Restart it, and wait for it, or for the one that tells why it could not be restarted."""
        self.manager.restart_kernel(**arguments)
        self.client.wait_for_ready(timeout=SECONDS)

    def shown(self):
        """Return what `%policy show` prints, wherever it breaks lines."""
        return " ".join(self.run("%policy show").text.split())

    def record(self):
        """Return the record of the sandbox, after merging."""
        return self.json("%policy show --json")

    def value(self, expression):
        """Evaluate an expression in the kernel; it must succeed."""
        output = self.run(f"print(repr({expression}))")
        assert not output.error, output.error
        return eval(output.text, {})  # noqa: S307 - a repr that the test asked for


@contextlib.contextmanager
def started(name="openshell-gpu", *, cwd, configuration=None, **arguments):
    """Start a kernel as clients do, with this configuration in its kernelspec; shut it down at the end."""
    manager = KernelManager(kernel_name=name)
    if configuration:
        manager.kernel_spec.metadata["kernel_provisioner"]["config"] = configuration
    manager.start_kernel(cwd=str(cwd), **arguments)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=SECONDS)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def processes(session):
    """Return the living processes of a session, which a kernel leads."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, _, _, its_session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(its_session) == session and state != "Z":
                    found.append(int(entry.name))
    return found


def descriptors():
    """Return this process's open files and sockets, but for the listing itself."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found


def eventually(condition, what):
    """Wait until a condition holds that another process brings about."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not seen: {what}"
        time.sleep(0.02)
