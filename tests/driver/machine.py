"""A machine with one GPU, in a private mount namespace: NVIDIA's own libraries over the stand-in for its kernel driver.

Run as root: `python -m driver.machine LIBRARIES STAND-IN SCRIPT ARGUMENTS...`. The nodes have the driver's numbers,
behind which there is nothing: what the sandbox lets through is answered with ENXIO, and from there on by the stand-in,
which is loaded into every program. /proc and /sys show what the libraries look for. Only this namespace sees any of it.
"""

import os
import runpy
import sys

from support import gpu_machine

MAJOR = 195  # Linux's Documentation/admin-guide/devices.txt; minors: nv-chardev-numbers.h of NVIDIA's kernel modules
NODES = {"nvidia0": 0, "nvidia-modeset": 254, "nvidiactl": 255}
DYNAMIC = range(511, 383, -1)  # what Linux's drivers without a number of their own are given, in this order
PCI_ADDRESS = "0000:01:00.0"  # as the stand-in says


def registered():
    """Return the numbers and names of Linux's character devices."""
    with open("/proc/devices") as stream:
        characters = stream.read().partition("\n\n")[0]
    return {int(number): name for number, name in (line.split(None, 1) for line in characters.splitlines()[1:])}


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as stream:
        stream.write(text)


def replace(folder, texts):
    """Put files into the place of a folder of /proc or /sys."""
    gpu_machine.mount("-t", "tmpfs", "tmpfs", folder)
    for name, text in texts.items():
        write(f"{folder}/{name}", text)


def add_driver(memory):
    """Show a loaded driver whose module for unified memory has this number."""
    state = {"initstate": "live\n", "version": "0\n"}
    replace("/sys/module", {f"{name}/{key}": state[key] for name in ("nvidia", "nvidia_uvm") for key in state})
    devices = {**registered(), MAJOR: "nvidia", memory: "nvidia-uvm"}
    listed = "".join(f"{number:3} {name}\n" for number, name in devices.items())
    write("/run/lock/devices", f"Character devices:\n{listed}\nBlock devices:\n")
    gpu_machine.mount("--bind", "/run/lock/devices", "/proc/devices")
    parameters = "ModifyDeviceFiles: 1\nDeviceFileUID: 0\nDeviceFileGID: 0\nDeviceFileMode: 438\n"
    replace("/proc/driver", {"nvidia/params": parameters, f"nvidia/gpus/{PCI_ADDRESS}/information": ""})


def main():
    library, stand_in, script, *arguments = sys.argv[1:]
    gpu_machine.enter()
    memory = next(number for number in DYNAMIC if number not in registered())
    nodes = {name: os.makedev(MAJOR, minor) for name, minor in NODES.items()}
    nodes |= {"nvidia-uvm": os.makedev(memory, 0), "nvidia-uvm-tools": os.makedev(memory, 1)}
    gpu_machine.make_devices(nodes)
    add_driver(memory)
    gpu_machine.make_etc_writable()
    write("/etc/ld.so.preload", f"{stand_in}\n")
    os.environ["LD_LIBRARY_PATH"] = library
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
