"""The trusted side, inside Jupyter."""
