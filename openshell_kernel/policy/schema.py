"""The JSON Schema of a policy, for editors: generated from the model, and shipped as `policy.schema.json`.

It says what one key or value may be. No schema says what `jupyter openshell check` knows besides: that two keys
contradict each other, or that a block's name resembles one which is enforced. Run as a program, this prints the schema.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from openshell_kernel.policy.model import Policy

PATH = str(Path(__file__).with_name("policy.schema.json"))
"""The schema as it is shipped."""

_TITLE = "OpenShell policy, version 1, with openshell_kernel's key `jupyter`"
_LIMITS = {"array": "maxItems", "object": "maxProperties"}


def generate() -> dict[str, Any]:
    """Return the schema of what an author writes."""
    schema = Policy.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": GenerateJsonSchema.schema_dialect, **_tidy(schema), "title": _TITLE}


def to_text(schema: dict[str, Any]) -> str:
    """Return the schema as its file holds it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _tidy(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave out the titles, which repeat the keys, break no line in a text, and name the limits of collections."""
    tidy = {}
    for key, value in schema.items():
        if key == "maxLength":
            tidy[_limit(schema)] = value
        elif key == "description" and isinstance(value, str):
            tidy[key] = " ".join(value.split())
        elif (key, value) != ("default", None) and not (key == "title" and isinstance(value, str)):
            tidy[key] = _tidied(value)
    return tidy


def _tidied(value: object) -> object:
    if isinstance(value, dict):
        return _tidy(value)
    return [_tidied(item) for item in value] if isinstance(value, list) else value


def _limit(schema: dict[str, Any]) -> str:
    # Pydantic names the limit of a value whose type it reads off a validator as if it were a string's.
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return next((_LIMITS[kind] for kind in kinds if kind in _LIMITS), "maxLength")


if __name__ == "__main__":
    sys.stdout.write(to_text(generate()))
