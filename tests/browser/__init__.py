"""A real JupyterLab in a real Chromium, used as a person uses it."""
