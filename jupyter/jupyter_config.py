"""Installed by openshell-kernel, for every Jupyter program of this environment: what notebooks write is not its code.

nbconvert takes templates, which are code, from the folder that it or its server was started in, before those that are
installed. Templates of your own stay possible, in jupyter_nbconvert_config.py or jupyter_server_config.py, which count
more: c.TemplateExporter.extra_template_basedirs = ["/my/templates"]

It also has Python import from there before all else, as `python -m jupyterlab` does. Modules of your own stay possible
by PYTHONPATH.

And a notebook that is exported as a script names the code that is to do so. It may name what is registered only.
"""

import os
import sys

c = get_config()  # noqa: F821 - Jupyter defines it
c.TemplateExporter.extra_template_basedirs = []

if sys.path[0] == os.getcwd():
    del sys.path[0]

# Where nbconvert is the program. A server loads it later, and our extension of the server with it.
if "nbconvert.exporters.script" in sys.modules:
    from openshell_kernel.server import exports

    exports.protect()
