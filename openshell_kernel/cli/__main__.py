"""`python -m openshell_kernel.cli`, which is `jupyter openshell`."""

import sys

from openshell_kernel.cli import main

sys.exit(main())
