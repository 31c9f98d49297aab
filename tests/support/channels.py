"""Cells that are run through a server, over the websocket of a kernel."""

import json
import secrets

from support.kernels import Output


def run(channels, code):
    """Run a cell over an open websocket; return what it gave when the kernel is idle again."""
    output = Output()
    request = secrets.token_hex(16)
    message = {
        "channel": "shell",
        "header": {
            "msg_id": request,
            "msg_type": "execute_request",
            "username": "",
            "session": request,
            "version": "5.3",
        },
        "parent_header": {},
        "metadata": {},
        "content": {"code": code, "silent": False, "allow_stdin": False},
    }
    channels.send(json.dumps(message))
    while True:
        reply = json.loads(channels.recv())
        content = reply["content"]
        if reply["parent_header"].get("msg_id") != request:
            continue
        # On the other stream a kernel tells what it was not granted.
        if reply["msg_type"] == "stream" and content["name"] == "stdout":
            output.text += content["text"]
        elif reply["msg_type"] == "error":
            output.error = f"{content['ename']}: {content['evalue']}"
        elif reply["msg_type"] == "status" and content["execution_state"] == "idle":
            return output
