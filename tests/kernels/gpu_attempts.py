"""Runs a confined kernel where this script is run, and prints as JSON what it could do with the GPUs and /proc."""

import json
import logging
import sys

from support import kernels

ATTEMPTS = """
import errno, fcntl, glob, json, os, subprocess, sys, termios, threading

def attempt(function):
    try:
        return function() or "ok"
    except OSError as error:
        return errno.errorcode[error.errno]

def node(path):
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8))
    finally:
        os.close(fd)

def comm():
    with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w") as stream:
        stream.write("renamed")

def read(path):
    with open(path, "rb") as stream:
        stream.read()

def in_thread(function):
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(attempt(function)))
    thread.start()
    thread.join()
    return outcome[0]

CHILD = '''
import errno, threading
try:
    open(f"/proc/self/task/{threading.get_native_id()}/comm", "w").write("renamed")
    print("ok")
except OSError as error:
    print(errno.errorcode[error.errno])
'''
sysfs = [*glob.glob("/sys/class/net/*/mtu"), *glob.glob("/sys/bus/pci/devices/*/vendor")]
nodes = ["nvidiactl", "nvidia0", "nvidia3", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"]
print(json.dumps({
    "nodes": {name: attempt(lambda: node("/dev/" + name)) for name in nodes},
    "comm": attempt(comm),
    "comm in a thread": in_thread(comm),
    "comm in a child": subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True).stdout.strip(),
    "sysfs": {path: attempt(lambda: read(path)) for path in sysfs},
    "create in proc": attempt(lambda: open("/proc/new", "x")),
}))
"""


def main():
    logging.basicConfig(level=logging.INFO)
    with kernels.started(cwd=sys.argv[1], configuration=json.loads(sys.argv[2])) as kernel:
        outcome = json.loads(kernel.run(ATTEMPTS).text)
        outcome["snapshot"] = kernel.record()
        outcome["text"] = kernel.run("%policy show").text
    json.dump(outcome, sys.stdout)


main()
