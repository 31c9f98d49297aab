"""The launcher, run by a Python in which this package is not installed: the first argument names folders to import from.

So that a test can start it as a user who cannot reach the environment that the tests run in.
"""

import sys

sys.path[:0] = sys.argv[1].split(":")

from openshell_kernel.sandbox import launcher  # noqa: E402 - it is found only now

sys.exit(launcher.main(sys.argv[2:]))
