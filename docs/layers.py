"""The page about the layers of protection, made from the layers: python docs/layers.py > docs/layers.md."""

import sys

from openshell_kernel.sandbox.layers.contract import Need
from openshell_kernel.sandbox.layers.table import LAYERS

HEAD = """\
# Layers of protection

Each layer is a module in `openshell_kernel/sandbox/layers`. `%policy show` says of each whether it is enforced, and
`%policy verify` tries it. A kernel does not start where a required layer is missing;
`c.OpenShellProvisioner.required = {"NAME": False}` starts it all the same, and `True` requires one more.
"""
NEEDS = {
    Need.ALWAYS: "Always required.",
    Need.UNLESS_WAIVED: "Required, unless the operator waives it.",
    Need.IF_ASKED: "Required only where the operator asks for it.",
}


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for layer in LAYERS.values():
        open_without = "\n".join(f"- **{item.what}**: {item.why}." for item in layer.residual)
        head = f"## {layer.title} (`{layer.name}`)\n\n{layer.covers} {NEEDS[layer.need]}"
        parts.append(f"{head}\n\nWithout it:\n\n{open_without}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
