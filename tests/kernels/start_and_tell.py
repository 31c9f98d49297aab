"""Starts an OpenShell GPU kernel with this configuration, and prints as JSON what came of it."""

import json
import logging
import sys

from jupyter_client.manager import KernelManager
from support import kernels


def main():
    configuration, cwd, code = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
    manager = KernelManager(kernel_name="openshell-gpu", log=logging.getLogger("jupyter"))
    manager.kernel_spec.metadata["kernel_provisioner"]["config"] = configuration
    try:
        manager.start_kernel(cwd=cwd)
    except Exception as error:  # noqa: BLE001 - the test looks at any
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        return
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=kernels.SECONDS)
        kernel = kernels.Kernel(manager, client)
        output = kernel.run(code)
        shown = kernel.run("%policy show")
        print(json.dumps({"text": output.text, "error_in_cell": output.error, "shown": shown.text}))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


main()
