"""A JupyterHub whose users run OpenShell GPU kernels and no others. Copy it, or its end, to your jupyterhub_config.py.

The environment that starts the users' servers needs `pip install openshell-kernel[lab,hub]`.
"""

from openshell_kernel.server import hub

c = get_config()  # noqa: F821 - JupyterHub defines it

# Your own settings come first.
c.Spawner.default_url = "/lab"
# A home directory is never granted, so a notebook in it cannot write beside itself. c.Spawner.notebook_dir lets users
# begin in a folder of it, which must exist, for example "~/notebooks". Settings of the provisioner are options of the
# users' servers, in c.Spawner.args: "--OpenShellProvisioner.gpu_claims=/srv/claims".

# Then this, as the last statement: it adds to what is set above. The groups are JupyterHub's, from its admin page or
# your authenticator. If a user is in several of them, the first in this order counts. Users must be able to read the
# policies, and only you may write them and the folders on their way. Otherwise the hub does not start. If the users'
# servers run in containers that have these files, add policies_in_containers=True. With unmatched="refuse" instead of
# policy, users in none of these groups get no server. gpus={"count": 1, "request": "required"} gives every kernel one
# GPU, whatever its policy says. Like policy, it may be a function of the user's spawner.
hub.configure(
    c,
    policy="/etc/openshell/policy.yaml",
    group_policies={
        "staff": "/etc/openshell/staff.yaml",
        "students": "/etc/openshell/students.yaml",
    },
)
