"""Adds what was seen on a machine with a GPU to docs/gpu-results.md; what stand-ins for hardware gave, never."""

import datetime as dt
import os
from pathlib import Path

MAJOR = 195  # Linux's Documentation/admin-guide/devices.txt: NVIDIA's graphics devices


class NoHardwareError(Exception):
    """What is seen here is not seen on NVIDIA's hardware; the message says by what that shows."""


def check_hardware(root="/"):
    """Check that NVIDIA's driver is behind the nodes, by what Linux itself says and no mount hides.

    Raises:
        NoHardwareError: it is not; or on WSL2 and Jetson, which have no such nodes.
    """
    root = Path(root)
    nodes = [root / "dev" / "nvidiactl", *root.glob("dev/nvidia[0-9]*")]
    others = [str(node) for node in nodes if _major(node) != MAJOR]
    if others:
        raise NoHardwareError(f"not NVIDIA's hardware: {', '.join(others)} has not the driver's number, {MAJOR}")
    for system, path in (("proc", "proc/devices"), ("sys", "sys/module/nvidia")):
        if _file_system(root / path) != _file_system(root / system):
            raise NoHardwareError(f"not NVIDIA's hardware: {root / path} is missing, or something is mounted there")
    registered = (root / "proc" / "devices").read_text().split("\n")
    if not any(line.split()[:1] == [str(MAJOR)] and "nvidia" in line for line in registered):
        raise NoHardwareError(f"not NVIDIA's hardware: {root / 'proc/devices'} names no driver with the number {MAJOR}")


def _major(node):
    return os.major(node.stat().st_rdev) if node.is_char_device() else None


def _file_system(path):
    return path.stat().st_dev if path.exists() else None


def add(page, title, header, rows, *, root="/"):
    """Append a section of this title with a table.

    Raises:
        NoHardwareError: see `check_hardware`.
    """
    check_hardware(root)
    today = dt.datetime.now(dt.timezone.utc).date().isoformat()
    table = [header, ["---"] * len(header), *rows]
    lines = ["| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |" for row in table]
    with page.open("a", encoding="utf-8") as stream:
        stream.write(f"\n## {today}: {title}\n\n" + "\n".join(lines) + "\n")
