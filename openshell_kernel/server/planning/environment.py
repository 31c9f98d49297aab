"""Which environment variables a kernel is given: an allow-list of the server's, and what leads into its private home.

Pure: nothing is looked up here. Jupyter passes the server's whole environment on, tokens and all.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from openshell_kernel.policy.blocks.environment import SERVER_TOKENS
from openshell_kernel.policy.effective import Environment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from openshell_kernel.policy.model import EnvironmentPolicy

_ALLOWED = (
    # Who and where one is, and where programs are.
    *("PATH", "MANPATH", "LD_LIBRARY_PATH", "PYTHONPATH", "USER", "LOGNAME", "SHELL"),
    # Locale and time zone.
    *("LANG", "LANGUAGE", "LC_*", "TZ", "TZDIR"),
    # The terminal.
    *("TERM", "TERMINFO", "TERMINFO_DIRS", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE"),
    # How Python reads and writes text, and whether it leaves bytecode.
    *("PYTHONUTF8", "PYTHONIOENCODING", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED"),
    # Virtual environments. Not CONDA_*, where a channel's token may stand.
    *("VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "PYENV_ROOT", "PYENV_VERSION"),
    *("CONDA_PREFIX", "CONDA_PREFIX_*", "CONDA_DEFAULT_ENV", "CONDA_EXE", "CONDA_PYTHON_EXE", "CONDA_SHLVL"),
    *("CONDA_PROMPT_MODIFIER", "_CE_CONDA", "_CE_M", "MAMBA_EXE", "MAMBA_ROOT_PREFIX"),
    # GPUs, and what the frameworks that use them are told about them.
    *("CUDA_*", "CUDNN_*", "CUBLAS_*", "NVIDIA_*", "NCCL_*", "TORCH_CUDA_ARCH_LIST", "PYTORCH_ALLOC_CONF"),
    *("PYTORCH_CUDA_ALLOC_CONF", "XLA_FLAGS", "XLA_PYTHON_CLIENT_*", "TF_CPP_MIN_LOG_LEVEL"),
    *("TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR"),
    # What compiles at run time, as Triton and PyTorch do, and where they find it. Not TRITON_CACHE_DIR and the like.
    *("CC", "CXX", "TRITON_*_PATH"),
    # How many threads to compute with.
    *("OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "GOTO_*", "BLIS_*", "VECLIB_MAXIMUM_THREADS"),
    *("NUMEXPR_*", "NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER", "TBB_*", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS"),
    *("LOKY_MAX_CPU_COUNT",),
    # The way to the network, unless it holds a password, and whom to believe there.
    *("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO"),
    # Jupyter.
    *("JPY_SESSION_NAME", "JPY_PARENT_PID", "MPLBACKEND"),
)  # fmt: skip
"""What every kernel may have of the server's environment: names, and patterns of names."""

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO")
"""Those of them that name files which are read."""

_LISTS_OF_FOLDERS = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
_SECRET = re.compile(
    r"SECRET|PASSW(OR)?D|PASSPHRASE|CREDENTIAL|(TOKEN|KEY)S?(?![A-Z])|(^|_)(AUTH|COOKIE|PASS|PAT|PWD)(_|$)"
)
_USER_IN_URL = re.compile(r"://[^/\s]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A kernel's environment, and the record of how it came about."""

    values: dict[str, str]
    record: Environment


def redirections(home: str, *, temporary: str, runtime: str) -> dict[str, str]:
    """Return the variables that lead programs into a kernel's private folders.

    The defaults of most would lead there by HOME. They are named for programs that look the home up in the
    system's user database or that keep caches in the machine's /tmp.
    """
    cache = f"{home}/.cache"
    return {
        "HOME": home,
        "TMPDIR": temporary,
        "XDG_RUNTIME_DIR": runtime,
        "XDG_CACHE_HOME": cache,
        "XDG_CONFIG_HOME": f"{home}/.config",
        "XDG_DATA_HOME": f"{home}/.local/share",
        "XDG_STATE_HOME": f"{home}/.local/state",
        "IPYTHONDIR": f"{home}/.ipython",
        "JUPYTER_CONFIG_DIR": f"{home}/.jupyter",
        "JUPYTER_DATA_DIR": f"{home}/.local/share/jupyter",
        "JUPYTER_RUNTIME_DIR": f"{home}/.local/share/jupyter/runtime",
        "MPLCONFIGDIR": f"{home}/.config/matplotlib",
        "CUDA_CACHE_PATH": f"{home}/.nv/ComputeCache",
        "TRITON_CACHE_DIR": f"{home}/.triton/cache",
        "TORCHINDUCTOR_CACHE_DIR": f"{cache}/torchinductor",
        "TORCH_EXTENSIONS_DIR": f"{cache}/torch_extensions",
        "TORCH_HOME": f"{cache}/torch",
        "PYTORCH_KERNEL_CACHE_PATH": f"{cache}/torch/kernels",
        "JAX_COMPILATION_CACHE_DIR": f"{cache}/jax",
        "HF_HOME": f"{cache}/huggingface",
        "NUMBA_CACHE_DIR": f"{cache}/numba",
    }


def compose(
    server: Mapping[str, str],
    *,
    kernelspec: Collection[str],
    redirected: Mapping[str, str],
    selected: Mapping[str, str],
    policy: EnvironmentPolicy,
    settings: EnvironmentPolicy,
) -> Composed:
    """Return what a kernel is given of the server's environment, and what is added.

    `server` is the environment that Jupyter would start the kernel with; `kernelspec` names what stands in the `env`
    of kernel.json, which whoever installed the kernelspec has chosen. `selected` names the selected GPUs: they were
    chosen with regard to what the server says of them, so it replaces that. What the policy sets beats both these and
    the private folders, and what the operator sets beats the policy.
    """
    wanted = (*policy.passing, *settings.passing)
    named = {name: server[name] for name in (*wanted, *kernelspec) if name in server.keys() - SERVER_TOKENS}
    allowed = {name: _portable(name, value) for name, value in server.items() if _passes(name, value, wanted)}
    added = {
        **{name: value for name, value in redirected.items() if name not in named},
        **{name: value for name, value in named.items() if name in kernelspec},
        **selected,
        **policy.setting,
        **settings.setting,
    }
    values = {**{name: value for name, value in allowed.items() if value}, **named, **added}
    return Composed(
        values=values,
        record=Environment(
            passed=tuple(sorted(values.keys() - added.keys())),
            added=tuple(sorted(added)),
            withheld=tuple(sorted(server.keys() - values.keys())),
        ),
    )


def looks_secret(name: str) -> bool:
    """Return whether a variable of this name may well hold a token, a key or a password."""
    return _SECRET.search(name.upper()) is not None


def _passes(name: str, value: str, wanted: Iterable[str]) -> bool:
    if looks_secret(name) or name in SERVER_TOKENS:
        return False
    if any(fnmatchcase(name, pattern) for pattern in wanted):
        return True
    return not _holds_user(name, value) and any(fnmatchcase(name, pattern) for pattern in _ALLOWED)


def _holds_user(name: str, value: str) -> bool:
    """Return whether a value names a user, and perhaps the password, of a proxy or in a URL."""
    return "@" in value if name.lower().endswith("_proxy") else _USER_IN_URL.search(value) is not None


def _portable(name: str, value: str) -> str:
    """Leave out the folders that mean another one wherever a program stands; an empty one is the working directory."""
    if name not in _LISTS_OF_FOLDERS:
        return value
    return os.pathsep.join(folder for folder in value.split(os.pathsep) if os.path.isabs(folder))
