"""Run by an ordinary user: starts a kernel in a project that holds the kernel's environment; says what it could do.

`python in_a_project.py FOLDER ATTEMPTS`: the folder is this user's home, which is empty, and the second argument is the
code of a cell that prints a mapping.
"""

import json
import sys
import venv
from pathlib import Path

import ipykernel
from support import kernels

SPEC = {"display_name": "x", "language": "python"}
SPEC |= {"metadata": {"kernel_provisioner": {"provisioner_name": "openshell-provisioner"}}}


def main(home, attempts):
    project, spec = home / "project", home / ".local/share/jupyter/kernels/of-the-project"
    (project / "folder").mkdir(parents=True)
    (project / "mine.txt").write_text("mine")
    venv.create(project / ".venv", system_site_packages=True, with_pip=False)
    site = project / ".venv/lib/python{}.{}/site-packages/tests.pth".format(*sys.version_info)
    site.write_text(f"import site; site.addsitedir({str(Path(ipykernel.__file__).parents[1])!r})\n")
    (project / ".venv/lib/module.py").write_text("x = 1\n")
    spec.mkdir(parents=True)
    argv = [str(project / ".venv/bin/python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, **SPEC}))
    with kernels.started("of-the-project", cwd=project) as kernel:
        told = {
            "attempts": eval(kernel.run(f"ENVIRONMENT = {str(project / '.venv')!r}\n{attempts}").text, {}),  # noqa: S307 - our own repr
            "new": kernel.run("open('new.txt', 'w')").error,
            "shown": " ".join(kernel.run("%policy show --verbose").text.split()),
            "status": kernel.value("open('/proc/self/status').read()"),
            "user": kernel.value("__import__('os').stat('.').st_uid == __import__('os').getuid()"),
            "command": kernel.run("!echo works").text.strip(),
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
