"""Make the README's picture, on a machine with stand-ins for two GPUs. Run it as root in the tests' folder::

    python -m browser.screenshot PICTURE HOME

HOME is where the user in the picture lives; it is furnished and stays. The picture also shows the path of the Python
that runs this: let it be one that a reader could have.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from fakes import nvml
from playwright.sync_api import expect
from support import gpu_machine

from browser import lab, server

NOTEBOOK = "analysis.ipynb"
POLICY = """\
version: 1
filesystem_policy:
  include_workdir: true
  read_only: [/usr, /proc, {home}/datasets]
  read_write: [{home}/results]
landlock:
  compatibility: hard_requirement
jupyter:
  gpu: {{request: required, count: 1}}
"""
GPUS = (nvml.gpu(0, used=61 << 30, busy=88), nvml.gpu(1))


SHORTEN_RELEASE = """() => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode())
        walker.currentNode.data = walker.currentNode.data.replace(/(Linux \\d+\\.\\d+)[\\w.+-]*/, "$1");
}"""


def main(picture: Path, home: Path) -> None:
    """Let a notebook show its policy and be refused a key, in JupyterLab, and photograph that."""
    path = shutil.which("chromium")
    if path is None:
        sys.exit("no chromium on PATH")
    with server.running(home) as jupyterlab, lab.chromium(path) as browser:
        furnish(home, jupyterlab.notebooks)
        page = browser.new_page(viewport={"width": 1280, "height": 1160}, device_scale_factor=1.5)
        page.goto(f"{jupyterlab.url}lab/tree/{NOTEBOOK}?reset&token={jupyterlab.token}")
        lab.wait_until_idle(page, "OpenShell GPU")
        page.keyboard.press("Control+b")
        expect(page.locator("#jp-left-stack")).to_be_hidden()
        lab.run_cell(page, f"!cat {home}/.ssh/id_ed25519")
        lab.run_cell(page, "%policy show")
        page.keyboard.press("Escape")
        page.locator(".jp-Notebook:visible").locator(".jp-WindowedPanel-outer").evaluate("panel => panel.scrollTop = 0")
        # Of the machine that the picture is taken on, only the version of Linux is of interest.
        page.evaluate(SHORTEN_RELEASE)
        page.screenshot(path=picture)
        jupyterlab.end_sessions()


def furnish(home: Path, notebooks: Path) -> None:
    """Give the user a policy, the folders that it names, a key and a notebook."""
    for folder in ("datasets", "results", ".ssh", ".config/openshell"):
        (home / folder).mkdir(parents=True)
    (home / ".config" / "openshell" / "policy.yaml").write_text(POLICY.format(home=home))
    (home / ".ssh" / "id_ed25519").write_text("a key\n")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell()],
        metadata={"kernelspec": {"name": "openshell-gpu", "display_name": "OpenShell GPU", "language": "python"}},
    )
    nbformat.write(notebook, notebooks / NOTEBOOK)


def on_a_machine_with_gpus(arguments: list[str]) -> None:
    """Run this program again where there are two GPUs."""
    with tempfile.TemporaryDirectory() as folder:
        library = nvml.build(Path(folder) / "driver")
        nvml.configure(library, *GPUS)
        nodes = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset", "nvidia0", "nvidia1")
        subprocess.run(
            [sys.executable, "-m", "support.gpu_machine", library, __file__, "--here", *arguments],
            env={**os.environ, "PYTHONPATH": os.getcwd(), gpu_machine.GPU_NODES: ",".join(nodes)},
            check=True,
        )


if __name__ == "__main__":
    if sys.argv[1] == "--here":
        main(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        on_a_machine_with_gpus(sys.argv[1:])
