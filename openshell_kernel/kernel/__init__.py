"""The untrusted side, inside the sandbox."""
