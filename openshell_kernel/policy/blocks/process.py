"""`process`: whom the sandboxed process runs as."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, model_validator

from openshell_kernel.policy.blocks.block import Block
from openshell_kernel.policy.blocks.errors import invalid, show
from openshell_kernel.policy.in_json_schema import matching

MAX_ID = 4294967294


def _check_identity(value: object) -> object:
    if type(value) is int:
        raise invalid(f"must be a string, not the number {show(value)}", f'put it in quotes: "{value}"')
    if value == "sandbox":
        return value
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= len(str(MAX_ID)):
        if 1 <= int(value) <= MAX_ID:
            return value
        raise invalid(
            f"must be 'sandbox' or a numeric UID/GID in range [1, {MAX_ID}], not {show(value)}",
            "root (0) is never accepted" if int(value) == 0 else "choose a smaller number",
        )
    raise invalid(
        f"must be 'sandbox' or a numeric UID/GID in range [1, {MAX_ID}], not {show(value)}",
        "write the number in quotes, or remove the key",
    )


_Identity = Annotated[str | None, BeforeValidator(_check_identity), matching("^(|sandbox|(?!0+$)[0-9]{1,10})$")]


class ProcessPolicy(Block):
    """The identity that the sandboxed process takes on; numbers are strings, as in OpenShell."""

    run_as_user: _Identity = None
    run_as_group: _Identity = None

    @model_validator(mode="before")
    @classmethod
    def _omit_empty(cls, data: object) -> object:
        """Take an empty identity for one that is left out, as OpenShell does."""
        if not isinstance(data, Mapping):
            return data
        return {key: value for key, value in data.items() if not (key in cls.model_fields and value == "")}

    @property
    def asked(self) -> bool:
        """Whether any identity is asked for."""
        return self.run_as_user is not None or self.run_as_group is not None
