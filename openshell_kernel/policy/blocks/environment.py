"""`jupyter.environment`: the variables that a kernel gets besides those that every kernel gets."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from openshell_kernel.policy.blocks.block import Block
from openshell_kernel.policy.blocks.errors import invalid, show
from openshell_kernel.policy.blocks.kinds import ListOf, MappingOf
from openshell_kernel.policy.in_json_schema import AsWritten, matching

MAX_VARIABLES = 256
MAX_VALUE_BYTES = 65536
SERVER_TOKENS = frozenset(
    {
        "CONFIGPROXY_AUTH_TOKEN",
        "JPY_API_TOKEN",
        "JPY_COOKIE_SECRET",
        "JUPYTERHUB_API_TOKEN",
        "JUPYTERHUB_COOKIE_SECRET",
        "JUPYTERHUB_CRYPT_KEY",
        "JUPYTER_TOKEN",
        "JUPYTER_PASSWORD",
    }
)
"""With these a notebook could have the server or the hub run code outside of the sandbox: no policy passes them."""
_RESERVED = frozenset({"JPY_PARENT_PID", "OPENSHELL_SNAPSHOT_FD"})
_NAME, _NAMES = r"[A-Za-z_][A-Za-z0-9_]*", r"[A-Za-z_*?][A-Za-z0-9_*?]*"
"""An environment variable's name, and a pattern of such names."""


def _check_pattern(value: str) -> str:
    if not re.fullmatch(_NAMES, value):
        problem = f"{show(value)} is not the name of an environment variable, nor a pattern of names"
        raise invalid(problem, "write letters, digits and _; * and ? stand for any of them")
    if value in SERVER_TOKENS:
        problem = f"{value} is a token of the Jupyter server, and a notebook could start unconfined kernels with it"
        raise invalid(problem, "remove it: these never pass")
    return value


def _check_variable(value: str) -> str:
    if not re.fullmatch(_NAME, value):
        problem = f"{show(value)} is not the name of an environment variable"
        raise invalid(problem, "write letters, digits and _")
    if value in _RESERVED:
        raise invalid(f"{value} is set by Jupyter or by openshell_kernel itself", "remove it")
    return value


def _check_variable_value(value: object) -> object:
    # Never shown: it may be a secret.
    if not isinstance(value, str):
        raise invalid("a variable's value must be a string", "put it in quotes")
    size = len(value.encode("utf-8", "surrogatepass"))
    if re.search("[\0\ud800-\udfff]", value) or size > MAX_VALUE_BYTES:
        problem = (
            f"a variable's value may not contain NUL or lone surrogates, or be longer than {MAX_VALUE_BYTES} bytes"
        )
        raise invalid(problem, "correct the value")
    return value


class EnvironmentPolicy(Block):
    """What to add to the environment variables that every kernel gets: some of the server's, and some of one's own.

    A pattern with `*` or `?` passes no name that looks like a secret's; such a name has to be written in full.
    """

    passing: Annotated[
        ListOf[Annotated[str, AfterValidator(_check_pattern), matching(f"^{_NAMES}$")]],
        Field(alias="pass", max_length=MAX_VARIABLES),
    ] = ()
    setting: Annotated[
        MappingOf[
            Annotated[str, AfterValidator(_check_variable)], Annotated[str, BeforeValidator(_check_variable_value)]
        ],
        AsWritten(lambda schema: {**schema, "propertyNames": {"pattern": f"^{_NAME}$"}}),
        Field(alias="set", max_length=MAX_VARIABLES),
    ] = Field(default_factory=dict)
