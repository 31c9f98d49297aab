"""The errors of this package: one type for each way of failing that a caller treats differently.

Every message says what is wrong, where, and what to do. It is shown to users as it stands: in JupyterLab's dialog,
by nbconvert, on a terminal.
"""

from openshell_kernel.base.text import printable


class OpenShellError(Exception):
    """Base of all errors that this package raises on purpose.

    Its message is made printable: the names in it may have been chosen by a notebook, and terminals obey some.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message, keep="\n"))


class PolicyError(OpenShellError):
    """A policy cannot be used: it cannot be read, parsed or validated, or its file is not trustworthy."""


class ConfigurationError(OpenShellError):
    """The operator's configuration (traits, kernelspec, environment variables) is wrong."""


class ConfinementError(OpenShellError):
    """The sandbox cannot be built as it was asked for. The kernel was not started."""


class LaunchError(OpenShellError):
    """The kernel process could not be started, or died before it was ready."""


class ProgramError(LaunchError):
    """A program that is to run confined is not there, or cannot be executed. Nothing was started."""


class SnapshotError(OpenShellError):
    """The record of the sandbox that `%policy` shows is missing or damaged."""
