"""The users of the example's hub, and what one of them has put into the home folder."""

import json

# Which of the example's policies each of them gets.
POLICIES = {"alice": "students", "bob": "staff", "carol": "policy"}


def furnish(home, escaped):
    """Fill a home with what a user could put there to have code run unconfined, or another policy: see test_escapes."""
    unconfined = {
        "argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Unconfined",
        "language": "python",
    }
    files = {
        ".config/openshell/policy.yaml": f"version: 1\nfilesystem_policy: {{read_write: [{home}]}}\n",
        ".jupyter/serverconfig/jupyter_server_config.json": language_server(escaped),
        "node_modules/bash-language-server/bin/main.js": program(escaped),
        "node_modules/bash-language-server/out/cli.js": program(escaped),
    }
    for name in ("openshell-gpu", "evil"):
        files[f".local/share/jupyter/kernels/{name}/kernel.json"] = json.dumps(unconfined)
        files[f".ipython/kernels/{name}/kernel.json"] = json.dumps(unconfined)
    for name in ("jupyter", "jupyter_server", "jupyter_lab", "jupyter_notebook"):
        files[f".jupyter/{name}_config.py"] = f"open({str(escaped / name)!r}, 'w')\n"
    for path, content in files.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(content)


def language_server(escaped):
    """Return a configuration of jupyter_lsp, as `PUT /api/config/jupyter_server_config` writes it."""
    specification = {
        "argv": ["touch", str(escaped / "configured language server")],
        "languages": ["python"],
        "mime_types": ["text/x-python"],
        "version": 2,
    }
    return json.dumps({"LanguageServerManager": {"language_servers": {"evil": specification}}})


def program(escaped):
    """Return a program for Node.js that leaves a trace."""
    return f"require('fs').writeFileSync({str(escaped / 'language server of node_modules')!r}, '')"
