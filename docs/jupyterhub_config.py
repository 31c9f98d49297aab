"""A JupyterHub whose users run OpenShell GPU kernels and no others. Copy it, or its end, to your jupyterhub_config.py.

The environment that starts the users' servers needs `pip install openshell-kernel[lab,hub]`.
"""

from openshell_kernel.server import hub

c = get_config()  # noqa: F821 - JupyterHub defines it

# Your own settings come first.
c.Spawner.default_url = "/lab"
# A notebook in a home directory cannot write beside itself, because a home is never granted: c.Spawner.notebook_dir
# lets users begin in a folder of it, which must exist, for instance "~/notebooks". Settings of the provisioner are
# options of the users' servers, in c.Spawner.args: "--OpenShellProvisioner.gpu_claims=/srv/claims".

# Then this, as the last statement: it adds to what is set above. The groups are JupyterHub's, as its admin page or
# your authenticator has them; of several policies, the first in this order applies. Policies must be readable for
# the users, and they and the folders on their way writable for you only: the hub does not start otherwise. Where the
# users' servers run in containers that have these files, add policies_in_containers=True. With unmatched="refuse" in
# the place of policy, users in none of these groups get no server. gpus={"count": 1, "request": "required"} gives every
# kernel one GPU, whatever its policy says; like policy, it may be a function of the user's spawner.
hub.configure(
    c,
    policy="/etc/openshell/policy.yaml",
    group_policies={
        "staff": "/etc/openshell/staff.yaml",
        "students": "/etc/openshell/students.yaml",
    },
)
