"""A mapping of the schema: what all blocks of a policy have in common."""

import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from openshell_kernel.policy.blocks.errors import in_place_of, in_words, unknown

if TYPE_CHECKING:
    from pydantic import ModelWrapValidatorHandler
    from typing_extensions import Self


KEY_LIKENESS = 0.75
"""How much a key that is not known may resemble one that is, from 0 to 1, before it is taken for a misspelling."""


class Block(BaseModel):
    """A mapping of the schema: immutable, without unknown keys, with errors in words."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _report(cls, data: object, handler: "ModelWrapValidatorHandler[Self]") -> "Self":
        # Here, and not where files are loaded: only here it is known which keys would have been right.
        limits = cls._limits(data)
        try:
            block = handler(data)
        except ValidationError as error:
            found = error.errors(include_url=False)
            details = [in_place_of(line, cls._in_words(line)) for line in found]
        else:
            if not limits:
                return block
            details = []
        raise ValidationError.from_exception_data(cls.__name__, limits + details)

    @classmethod
    def _limits(cls, data: object) -> list[InitErrorDetails]:  # noqa: ARG003 - for subclasses
        """Check what concerns several keys at once, on the raw data: reported even if a single key is bad."""
        return []

    @classmethod
    def _in_words(cls, found: ErrorDetails) -> PydanticCustomError:
        is_unknown = found["type"] == "extra_forbidden"
        return unknown(known_instead(cls, str(found["loc"][-1]))) if is_unknown else in_words(found)


class UnenforcedBlock(Block):
    """A mapping of the schema that nothing here enforces: keys of a newer OpenShell are kept, see `unknown_keys`."""

    model_config = ConfigDict(extra="allow")


def unknown_keys(block: Block, at: tuple[str | int, ...] = ()) -> "Iterator[tuple[tuple[str | int, ...], str]]":
    """Yield where in a policy keys are kept that are not known, and what may have been meant."""
    for key in block.model_extra or ():
        close = _closest(type(block), key, KEY_LIKENESS)
        yield (*at, key), f"did you mean {close}?" if close else "a newer OpenShell may know it"
    for name, field in type(block).model_fields.items():
        yield from _unknown_beneath(getattr(block, name), (*at, field.alias or name))


def _unknown_beneath(value: object, at: tuple[str | int, ...]) -> "Iterator[tuple[tuple[str | int, ...], str]]":
    if isinstance(value, Block):
        yield from unknown_keys(value, at)
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            yield from _unknown_beneath(item, (*at, number))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _unknown_beneath(item, (*at, key))


def known_instead(cls: type[Block], key: str) -> str:
    """Return which key of a block may have been meant, or all that it has."""
    close = _closest(cls, key, 0.5)
    return f"did you mean {close}?" if close else f"known here: {', '.join(_names(cls))}"


def _closest(cls: type[Block], key: str, likeness: float) -> str:
    return next(iter(difflib.get_close_matches(key, _names(cls), n=1, cutoff=likeness)), "")


def _names(cls: type[Block]) -> list[str]:
    return [field.alias or name for name, field in cls.model_fields.items()]
