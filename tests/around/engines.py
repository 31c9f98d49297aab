"""A server extension as ipyparallel's, dask-labextension's and jupyter-server-proxy's: a request starts a program.

A module of its own, which the tests put on a server's path; see test_extensions.
"""

import os
import subprocess

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web


class Engines(APIHandler):
    """Starts an engine."""

    @web.authenticated
    def post(self):
        subprocess.run(["touch", os.environ["ENGINE_RAN"]], check=True)
        self.set_status(201)


def _jupyter_server_extension_points():
    return [{"module": "engines"}]


def _load_jupyter_server_extension(server):
    route = url_path_join(server.web_app.settings["base_url"], "engines")
    server.web_app.add_handlers(".*$", [(route, Engines)])
