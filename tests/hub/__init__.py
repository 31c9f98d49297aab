"""A real JupyterHub behind its real proxy, used through the REST API as a browser does."""
