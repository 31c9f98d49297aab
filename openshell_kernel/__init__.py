"""A Jupyter kernel confined by an OpenShell policy.

The subpackages are the trust zones: `policy` (what is allowed), `gpu` (what hardware there is), `sandbox` (how it is
enforced), `server` (the trusted side, inside Jupyter) and `kernel` (the untrusted side, inside the sandbox).
"""

__version__ = "0.1.0"
