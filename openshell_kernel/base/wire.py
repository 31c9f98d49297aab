"""Values as JSON and back, by allow-list: how the zones, which are different processes, tell each other something.

A value is a NamedTuple or a dataclass; in its fields stand text, numbers, truth values, bytes (as hexadecimal digits),
enums, tuples of one kind, dictionaries, further values, and None where the field's type says so. A field of type Any
takes what it is given. `Annotated[kind, why_not]` adds a condition: a function that returns why a value will not do.
"""

from __future__ import annotations

import functools
import types
import typing
from enum import Enum
from typing import Annotated, Any, TypeVar, Union

if typing.TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class WireError(ValueError):
    """Something is not what it should be; the message begins with the path of it, as in `$.rules[3].path`."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self._steps: list[str] = []

    def within(self, step: str) -> WireError:
        """Add the step that leads to where this was found."""
        self._steps.insert(0, step)
        return self

    def __str__(self) -> str:
        """Return path and problem."""
        return f"${''.join(self._steps)}: {self.problem}"


class WrongKeysError(WireError):
    """An object lacks a key, or has one more: another version of this package wrote it."""


def encode(value: object) -> Any:  # noqa: ANN401 - JSON values have no narrower type
    """Return a value as JSON values; `decode` gives it back."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: encode(item) for name, item in zip(value._fields, value, strict=True)}
    if hasattr(value, "__dataclass_fields__"):
        return {name: encode(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {name: encode(item) for name, item in value.items()}
    return value.hex() if isinstance(value, bytes) else value


def decode(kind: type[T], data: object) -> T:
    """Build a value from JSON values: whatever is not exactly as `encode` writes it is refused.

    Raises:
        WireError: with the path of the offending value.
    """
    return typing.cast("T", _decoder(typing.cast("Any", kind))(data))


@functools.cache
def _decoder(hint: Any) -> Callable[[Any], Any]:  # noqa: ANN401, PLR0911 - one branch for each kind
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return lambda data: data
    if origin is Annotated:
        return _conditional(_decoder(arguments[0]), arguments[1:])
    if origin in (Union, types.UnionType):
        (inner,) = [option for option in arguments if option is not types.NoneType]
        decoder = _decoder(inner)
        return lambda data: None if data is None else decoder(data)
    if origin is tuple:
        return _sequence(_decoder(arguments[0]))
    if origin is dict:
        return _mapping(_decoder(arguments[0]), _decoder(arguments[1]))
    if hasattr(hint, "_fields") or hasattr(hint, "__dataclass_fields__"):
        return _record(hint)
    if hint is bytes:
        return _bytes
    return _member(hint) if issubclass(hint, Enum) else _exactly(hint)


def _record(kind: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - as above
    hints = typing.get_type_hints(kind, include_extras=True)
    decoders = {name: _decoder(hint) for name, hint in hints.items()}

    def decode_record(data: Any) -> Any:  # noqa: ANN401 - as above
        _check(isinstance(data, dict), "not an object")
        _check_keys(set(data), set(decoders))
        values = {}
        for name, item in data.items():
            try:
                values[name] = decoders[name](item)
            except WireError as error:  # noqa: PERF203 - the step is known here only
                raise error.within(f".{name}") from None
        return kind(**values)

    return decode_record


def _check_keys(found: set[str], known: set[str]) -> None:
    if found - known:
        raise WrongKeysError(f"unknown key {min(map(str, found - known))[:40]!r}")
    if known - found:
        raise WrongKeysError(f"key {min(known - found)!r} is missing")


def _sequence(decoder: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decode_sequence(data: Any) -> Any:  # noqa: ANN401 - as above
        _check(isinstance(data, list), "not a list")
        items = []
        for place, item in enumerate(data):
            try:
                items.append(decoder(item))
            except WireError as error:  # noqa: PERF203 - the step is known here only
                raise error.within(f"[{place}]") from None
        return tuple(items)

    return decode_sequence


def _mapping(key: Callable[[Any], Any], value: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decode_mapping(data: Any) -> Any:  # noqa: ANN401 - as above
        _check(isinstance(data, dict), "not an object")
        items = {}
        for name, item in data.items():
            try:
                items[key(name)] = value(item)
            except WireError as error:  # noqa: PERF203 - the step is known here only
                raise error.within(f"[{name!r:.40}]") from None
        return items

    return decode_mapping


def _conditional(decoder: Callable[[Any], Any], conditions: tuple[Callable[[Any], str], ...]) -> Callable[[Any], Any]:
    def decode_conditional(data: Any) -> Any:  # noqa: ANN401 - as above
        value = decoder(data)
        for why_not in conditions:
            problem = why_not(value)
            _check(not problem, problem)
        return value

    return decode_conditional


def _member(kind: type[Enum]) -> Callable[[Any], Any]:
    members = {member.value: member for member in kind}

    def decode_member(data: Any) -> Any:  # noqa: ANN401 - as above
        _check(isinstance(data, str) and data in members, f"none of {', '.join(map(str, members))}")
        return members[data]

    return decode_member


def _exactly(kind: type) -> Callable[[Any], Any]:
    def decode_exactly(data: Any) -> Any:  # noqa: ANN401 - as above
        # Python takes True for 1.
        _check(type(data) is kind, f"{type(data).__name__} where {kind.__name__} was expected")
        return data

    return decode_exactly


def _bytes(data: Any) -> bytes:  # noqa: ANN401 - as above
    try:
        value = bytes.fromhex(data if isinstance(data, str) else "?")
    except ValueError:
        value = None
    if value is None or value.hex() != data:
        raise WireError("not hexadecimal as it is written here")
    return value


def _check(condition: bool, problem: str) -> None:
    if not condition:
        raise WireError(problem)
