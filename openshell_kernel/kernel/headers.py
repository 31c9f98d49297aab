"""PyTorch's precompiled headers, kept from one start to the next: without them torch.compile begins cold each time.

Its compiler for processors, inductor, puts them into the folder of temporary files, whatever TORCHINDUCTOR_CACHE_DIR
says, and that folder is a new one for each kernel. Source: `default_cache_dir` in torch/_inductor/runtime.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def keep_headers(environ: Mapping[str, str]) -> None:
    """Lead inductor's folder among the temporary files to its cache, which lies in the kernel's home."""
    cache = environ.get(_CACHE)
    if not cache:
        return
    # Without a name of the user or a writable home there is nothing to keep.
    with contextlib.suppress(OSError, KeyError):
        user = re.sub(r'[\\/:*?"<>|]', "_", getpass.getuser())
        os.makedirs(cache, exist_ok=True)
        os.symlink(cache, os.path.join(tempfile.gettempdir(), f"torchinductor_{user}"))
