"""Which kernels a server may start: only those that our provisioner confines."""

from __future__ import annotations

import os

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_core.paths import ENV_JUPYTER_PATH, SYSTEM_JUPYTER_PATH
from tornado.web import HTTPError

from openshell_kernel.errors import ConfigurationError

PROVISIONER = "openshell-provisioner"


class RefusedKernelError(NoSuchKernel, HTTPError):
    """There is no such kernel, or it would run unconfined.

    As HTTPError it is an answer with a reason; jupyter_server answers other errors of `POST /api/kernels` without.
    """

    def __init__(self, name: str) -> None:
        NoSuchKernel.__init__(self, name)
        HTTPError.__init__(self, 404, f"{name}: no such kernel, or it would run unconfined")


class ConfinedKernelSpecManager(KernelSpecManager):
    """Knows only kernelspecs that name our provisioner, and only those that the operator installed.

    `KernelSpecManager.allowed_kernelspecs` filters the list that users see; a REST call can still start what it
    hides. This class refuses in `get_kernel_spec`, through which every start goes, and it does not look into the
    user's own folders, where a kernelspec of the same name could shadow the installed one.
    """

    def _kernel_dirs_default(self) -> list[str]:
        return [os.path.join(path, "kernels") for path in (*ENV_JUPYTER_PATH, *SYSTEM_JUPYTER_PATH)]

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return a confined kernel's spec. Called for every start of a kernel and by the server's listings.

        Raises:
            RefusedKernelError: there is none of this name, or it would run unconfined.
        """
        try:
            spec = super().get_kernel_spec(kernel_name)
        except NoSuchKernel:
            raise RefusedKernelError(kernel_name) from None
        if not _is_confined(spec):
            self.log.warning("OpenShell: kernel %r is refused, because it would run unconfined", kernel_name)
            raise RefusedKernelError(kernel_name)
        return spec

    def find_kernel_specs(self) -> dict[str, str]:
        """Return the folders of the confined kernels by name. Called by the server to list kernels."""
        return {name: folder for name, folder in super().find_kernel_specs().items() if self._may_start(name)}

    def _may_start(self, kernel_name: str) -> bool:
        try:
            return _is_confined(super().get_kernel_spec(kernel_name))
        except NoSuchKernel:
            return False
        except Exception as error:  # noqa: BLE001 - a damaged kernel.json must not hide the other kernels
            self.log.warning(
                "OpenShell: kernel %r is left out, because its kernel.json is damaged: %s", kernel_name, error
            )
            return False


def check_not_shadowed(name: str) -> None:
    """Make sure that programs which know nothing of `ConfinedKernelSpecManager` find the same kernel by its name.

    Raises:
        ConfigurationError: they would find another one, or it is not installed.
    """
    try:
        ours = ConfinedKernelSpecManager().get_kernel_spec(name).resource_dir
    except NoSuchKernel:
        raise ConfigurationError(
            f"the confined kernel {name} is missing; install openshell-kernel again, without --user"
        ) from None
    found = KernelSpecManager().get_kernel_spec(name).resource_dir
    if os.path.realpath(found) != os.path.realpath(ours):
        raise ConfigurationError(f"{found} would be started instead of {ours}; remove it")


def _is_confined(spec: KernelSpec) -> bool:
    provisioner = spec.metadata.get("kernel_provisioner")
    return isinstance(provisioner, dict) and provisioner.get("provisioner_name") == PROVISIONER
