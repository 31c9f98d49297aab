"""A process that confines itself and prints what it can do then, as JSON: it never gets back out."""

import json
import os
import subprocess
import sys
import tempfile
import threading

import openshell_kernel
from openshell_kernel.errors import ConfinementError
from openshell_kernel.gpu import discovery
from openshell_kernel.sandbox import ruleset
from openshell_kernel.sandbox.probes import status


def outcome(action, *arguments):
    try:
        result = action(*arguments)
    except OSError as error:
        return error.strerror
    if hasattr(result, "close"):
        result.close()
    return "ok"


def report(policy, secret):
    done = openshell_kernel.confine(policy)
    return {
        "enforced": done.enforced,
        "layers": {layer.name: layer.status.value for layer in done.layers},
        "residual": [item.what for item in done.residual],
        "key": outcome(open, secret),
        "folder": outcome(open, "new", "w"),
        "temporary": outcome(tempfile.TemporaryFile),
        "home": outcome(open, os.path.join(os.path.expanduser("~"), "x"), "w"),
        "signal": outcome(os.kill, os.getppid(), 0),
        "child": subprocess.run(["cat", secret], capture_output=True).returncode,
        "again": outcome(os.chroot, "/"),
    }


def in_threads(policy):
    wait = threading.Event()
    thread = threading.Thread(target=wait.wait)
    thread.start()
    try:
        openshell_kernel.confine(policy)
    except openshell_kernel.ConfinementError as error:
        return {"error": str(error), "still": outcome(os.listdir, "/")}
    finally:
        wait.set()
        thread.join()
    return {}


def refused(policy):
    try:
        openshell_kernel.confine(policy)
    except openshell_kernel.OpenShellError as error:
        return {"error": f"{type(error).__name__}: {error}", "still": outcome(os.listdir, "/")}
    return {}


def in_late_threads(policy):
    end, wait = discovery.end, threading.Event()

    def end_and_start_another():
        end()
        threading.Thread(target=wait.wait).start()

    discovery.end = end_and_start_another
    try:
        return {**refused(policy), "no_new_privs": status()["NoNewPrivs"]}
    finally:
        wait.set()


def half(policy):
    def fail(_):
        raise ConfinementError("Linux refused")

    ruleset.restrict_self = fail
    return {**refused(policy), "no_new_privs": status()["NoNewPrivs"]}


def waiting(policy):
    openshell_kernel.confine(policy)
    print(os.environ["TMPDIR"], flush=True)
    sys.stdin.read()
    return {}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
