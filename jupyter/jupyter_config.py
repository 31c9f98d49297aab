"""Installed by openshell-kernel, for every Jupyter program of this environment.

nbconvert takes its templates, which are code, from the folder that it or its server was started in, before those that
are installed. A notebook can write there. Templates of your own stay possible, in jupyter_nbconvert_config.py or
jupyter_server_config.py, which count more: c.TemplateExporter.extra_template_basedirs = ["/my/templates"]
"""

c = get_config()  # noqa: F821 - Jupyter defines it
c.TemplateExporter.extra_template_basedirs = []
