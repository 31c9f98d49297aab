"""Attacks on real kernels: each is tried in an OpenShell GPU kernel and in a plain one, as root and as another user.

`attacks.py` is the table, one line an attack. `payload.py` holds their code; it is sent into the kernels as text.
`server_side.py` runs as the user whose kernels they are: it makes the world that is attacked and starts the kernels.
"""
