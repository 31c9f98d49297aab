"""No controlling terminal: a process can put words into its terminal's input, which the shell outside then runs.

Sources: credentials(7), ioctl_tty(2).
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import termios
from typing import TYPE_CHECKING

from openshell_kernel.base.rules import Unenforced
from openshell_kernel.sandbox.layers.contract import Layer, Need, NoParameters
from openshell_kernel.sandbox.probes import Probe, refused

if TYPE_CHECKING:
    from openshell_kernel.sandbox.report import LayerReport, Report

_TTY = "/dev/tty"


class Terminal(Layer[NoParameters]):
    """The session of whoever started this, and its controlling terminal, are left without becoming another process."""

    name = "terminal"
    title = "Terminal detached"
    covers = "The kernel cannot type into the terminal that Jupyter was started from."
    residual = (
        Unenforced(
            what="the terminal that Jupyter was started from",
            why="The notebook can read what is typed there, and type commands itself",
            wide_open=True,
        ),
    )
    need = Need.UNLESS_WAIVED

    def enforce(self) -> LayerReport:
        """Lead a session of this process's own, or let go of the terminal."""
        if os.getsid(0) != os.getpid():
            try:
                os.setsid()
            except PermissionError:
                # The leader of a process group cannot lead a session; it can still let go of the terminal.
                pass
            else:
                return self.enforced("a session of its own, without a controlling terminal")
        try:
            terminal = os.open(_TTY, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENOENT):
                return self.enforced("no controlling terminal")
            return self.absent(f"{_TTY}: {error.strerror}; the controlling terminal cannot be left")
        try:
            _let_go(terminal)
        except OSError as error:
            return self.absent(f"the controlling terminal cannot be left: {error.strerror}")
        return self.enforced("the controlling terminal was left")

    @classmethod
    def verify(cls, report: Report) -> tuple[Probe, ...]:  # noqa: ARG003 - the contract's
        """Open the controlling terminal, if there is one."""
        number = _terminal_of_self()
        # Where Landlock does not grant it, opening fails before Linux looks whether there is one.
        opened = refused(f"open {_TTY}", os.open, _TTY, os.O_RDWR | os.O_NOCTTY, by=("ENXIO", "ENOENT", "EACCES"))
        return (Probe("ask Linux for the controlling terminal", f"device {number}", number == 0), opened)


def _let_go(terminal: int) -> None:
    # The leader of a session that lets go is sent a hang-up.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        fcntl.ioctl(terminal, termios.TIOCNOTTY)
    finally:
        os.close(terminal)
        signal.signal(signal.SIGHUP, before)


def _terminal_of_self() -> int:
    """Return the device number of this process's controlling terminal, 0 for none: proc_pid_stat(5), tty_nr."""
    with open("/proc/self/stat", "rb") as stream:
        return int(stream.read().rpartition(b") ")[2].split()[4])
