"""The stub kernel: stands in for a kernel that was refused, and answers every cell with the reason.

Jupyter has no way to tell a person why a restart failed: the notebook would say "restarting" for ever. So the
provisioner starts this program in the kernel's place, on the same sockets, until a restart succeeds. A client that
ignores provisioners does not even learn why a first start failed: there, `standalone` becomes this program.

It runs no code of anybody's: it understands the messages of Jupyter's protocol and replies to them, reads no file but
its connection file, and imports neither IPython nor ipykernel, which would run the files of a profile. It is started
by the launcher nevertheless, with the tightest plan that lets it run; see `stub.plan`. What the machine
cannot enforce, which may be the very reason of the refusal, is no obstacle to it.

Source: Messaging in Jupyter, https://jupyter-client.readthedocs.io/en/stable/messaging.html
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
from typing import TYPE_CHECKING, Any

import zmq
from jupyter_client.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

REASON_VARIABLE = "OPENSHELL_STUB_REASON"
WHAT_VARIABLE = "OPENSHELL_STUB_WHAT"
LANGUAGE_VARIABLE = "OPENSHELL_STUB_LANGUAGE"
"""How the trusted side passes the reason, what was refused, and the language of the kernel that this one stands in for.

What was refused is a participle: the kernel was not `started`, or `restarted`.
"""

_PROTOCOL = "5.3"
_POLL_MILLISECONDS = 1000
_LINGER_MILLISECONDS = 500
# What IPython's kernel says of itself: a notebook that is saved now must not change its metadata.
_PYTHON = {
    "name": "python",
    "version": platform.python_version(),
    "mimetype": "text/x-python",
    "codemirror_mode": {"name": "ipython", "version": 3},
    "pygments_lexer": "ipython3",
    "nbconvert_exporter": "python",
    "file_extension": ".py",
}


class StubKernel:
    """A kernel that is always idle and never does anything."""

    def __init__(self, connection: dict[str, Any], *, what: str, reason: str, language: str, parent: int) -> None:
        self._what = what
        self._reason = reason
        self._language = language
        self._parent = parent
        self._count = 0
        self._stopping = False
        key = str(connection["key"]).encode()
        self._session = Session(key=key, signature_scheme=connection["signature_scheme"])
        self._context = zmq.Context()
        self._shell, self._control, self._stdin, self._heartbeat, self._iopub = (
            self._bound(connection, name, kind)
            for name, kind in (
                ("shell", zmq.ROUTER),
                ("control", zmq.ROUTER),
                ("stdin", zmq.ROUTER),
                ("hb", zmq.REP),
                ("iopub", zmq.PUB),
            )
        )

    def run(self) -> None:
        """Answer until a shutdown is requested or the server is gone."""
        poller = zmq.Poller()
        for socket in (self._shell, self._control, self._heartbeat):
            poller.register(socket, zmq.POLLIN)
        self._publish("status", {"execution_state": "starting"}, {})
        # The server may have been killed without a chance to end its kernels.
        while not self._stopping and os.getppid() == self._parent:
            for socket, _ in poller.poll(_POLL_MILLISECONDS):
                frames = socket.recv_multipart()
                if socket is self._heartbeat:
                    socket.send_multipart(frames)
                else:
                    self._receive(socket, frames)
        self._context.destroy(linger=_LINGER_MILLISECONDS)

    def _receive(self, socket: zmq.Socket[bytes], frames: list[bytes]) -> None:
        try:
            identities, rest = self._session.feed_identities(frames, copy=True)
            message = self._session.deserialize(rest, content=True, copy=True)
            kind, content = message["msg_type"], dict(message["content"])
        except Exception:  # noqa: BLE001 - whatever is sent, signed or not, must not silence the reason
            return
        self._publish("status", {"execution_state": "busy"}, message)
        if kind.endswith("_request"):
            reply = self._reply(kind, content, message)
            self._session.send(socket, f"{kind.removesuffix('_request')}_reply", reply, message, ident=identities)
        self._publish("status", {"execution_state": "idle"}, message)

    def _reply(self, kind: str, content: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
        if kind == "execute_request":
            return self._answer_cell(content, message)
        if kind == "shutdown_request":
            self._stopping = True
            self._publish("shutdown_reply", {"status": "ok", "restart": bool(content.get("restart"))}, message)
            return {"status": "ok", "restart": bool(content.get("restart"))}
        cursor = content.get("cursor_pos", 0)
        harmless: dict[str, dict[str, Any]] = {
            "kernel_info_request": {
                "protocol_version": _PROTOCOL,
                "implementation": "openshell_stub",
                "implementation_version": "1",
                "language_info": self._language_info(),
                "banner": self._text(),
                "help_links": [],
            },
            "comm_info_request": {"comms": {}},
            "complete_request": {"matches": [], "cursor_start": cursor, "cursor_end": cursor, "metadata": {}},
            "history_request": {"history": []},
            "inspect_request": {"found": False, "data": {}, "metadata": {}},
            "interrupt_request": {},
            "is_complete_request": {"status": "unknown"},
        }
        if kind in harmless:
            return {"status": "ok", **harmless[kind]}
        return self._error()

    def _answer_cell(self, content: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
        if not content.get("silent"):
            self._count += 1
            given = {"code": content.get("code", ""), "execution_count": self._count}
            self._publish("execute_input", given, message)
            self._publish("error", self._error(), message)
        return {**self._error(), "execution_count": self._count, "user_expressions": {}, "payload": []}

    def _error(self) -> dict[str, Any]:
        return {
            "status": "error",
            "ename": f"KernelNot{self._what.capitalize()}",
            "evalue": self._reason,
            "traceback": self._text().splitlines(),
        }

    def _text(self) -> str:
        return (
            f"OpenShell: the kernel could not be {self._what}, and no cell runs.\n\n"
            f"{self._reason}\n\n"
            "Correct this, then restart the kernel."
        )

    def _language_info(self) -> dict[str, Any]:
        if self._language == "python":
            return _PYTHON
        return {"name": self._language, "version": "", "mimetype": "text/plain", "file_extension": ".txt"}

    def _publish(self, kind: str, content: dict[str, Any], parent: dict[str, Any]) -> None:
        self._session.send(self._iopub, kind, content, parent, ident=f"kernel.{self._session.session}.{kind}".encode())

    def _bound(self, connection: dict[str, Any], name: str, kind: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = _LINGER_MILLISECONDS
        if kind == zmq.ROUTER:
            # A client that connects again under its old name takes the place of its former connection.
            socket.router_handover = 1
        if connection.get("curve_secretkey"):
            socket.curve_secretkey = connection["curve_secretkey"].encode()
            socket.curve_publickey = connection["curve_publickey"].encode()
            socket.curve_server = True
        separator = "-" if connection["transport"] == "ipc" else ":"
        socket.bind(f"{connection['transport']}://{connection['ip']}{separator}{connection[f'{name}_port']}")
        return socket


def main(argv: Sequence[str]) -> int:
    """Refuse until the kernel is restarted or shut down; started by the provisioner and `standalone` only."""
    # Interrupting a kernel that does nothing must not end it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(argv[0], "rb") as stream:
        connection = json.load(stream)
    StubKernel(
        connection,
        what=os.environ[WHAT_VARIABLE],
        reason=os.environ[REASON_VARIABLE],
        language=os.environ[LANGUAGE_VARIABLE],
        parent=int(os.environ["JPY_PARENT_PID"]),
    ).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
