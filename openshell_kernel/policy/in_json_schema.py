"""What pydantic cannot tell of a function that validates: which values it takes, in terms of JSON Schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema


@dataclass(frozen=True, slots=True)
class AsWritten:
    """Belongs beside a validator in `Annotated`: changes the schema of the type into that of what may be written."""

    change: Callable[[dict[str, Any]], dict[str, Any]]

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Called by pydantic when it generates a JSON Schema."""
        return self.change(handler(core))


def matching(pattern: str) -> AsWritten:
    """Return what says that a string matches a regular expression, in the dialect that Python and ECMA 262 share."""
    return AsWritten(lambda _: {"type": "string", "pattern": pattern})


def or_empty(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a list or mapping that may be left empty as well."""
    return {**schema, "type": [schema["type"], "null"]}


def not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a value that is left out where there is none."""
    (value,) = [dict(choice) for choice in schema["anyOf"] if choice != {"type": "null"}]
    return value
