"""A program in the place of a kernel: it verifies the report in its own record, and prints what it found as JSON.

The first argument names folders to import from.
"""

import json
import os
import sys

sys.path[:0] = sys.argv[1].split(":")

from openshell_kernel.base import wire  # noqa: E402 - it is found only now
from openshell_kernel.sandbox.report import Report  # noqa: E402
from openshell_kernel.sandbox.verify import verify  # noqa: E402

with open(int(os.environ["OPENSHELL_SNAPSHOT_FD"]), "rb") as stream:
    stream.seek(0)
    record = json.load(stream)
# As the kernel does: what it starts has no claim to it.
print(json.dumps(wire.encode(verify(wire.decode(Report, record["report"])))))
