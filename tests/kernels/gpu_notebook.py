"""Runs a notebook where this script is run, and prints its outputs as JSON."""

import json
import sys
from pathlib import Path

import nbclient
import nbformat

path = Path(sys.argv[1])
document = nbformat.read(path, as_version=4)
nbclient.NotebookClient(document, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()
json.dump([output for cell in document.cells for output in cell.get("outputs", [])], sys.stdout)
