"""What is wrong with a policy, in words for its author: the problem, and what to do."""

from collections.abc import Mapping

from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

UNKNOWN_KEY = "unknown_key"
MISSING_KEY = "missing_key"
INVALID_VALUE = "invalid_value"
"""The types of all errors of a policy. Their `ctx` holds `problem` and `remedy`, in words."""

_SHOWN = 80
_EXPECTED = {
    "string_type": ("a string", "put the value in quotes"),
    "int_type": ("a whole number", "write plain digits, without quotes"),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "tuple_type": ("a list", "write [a, b], or one `- item` a line"),
    "dict_type": ("a mapping", "write `key: value` lines beneath it, or {}"),
    "mapping_type": ("a mapping", "write `key: value` lines beneath it, or {}"),
    "model_type": ("a mapping", "write `key: value` lines beneath it, or {}"),
}
"""What pydantic's type errors mean to the author of a YAML file, and what to do."""
_BOUNDS = {"greater_than_equal": ("at least", "ge"), "less_than_equal": ("at most", "le")}


def unknown(remedy: str) -> PydanticCustomError:
    """Return that a key is not known."""
    return _error(UNKNOWN_KEY, "unknown key", remedy)


def invalid(problem: str, remedy: str) -> PydanticCustomError:
    """Return that a value, or what several values say together, is wrong."""
    return _error(INVALID_VALUE, problem, remedy)


def in_words(found: ErrorDetails) -> PydanticCustomError:
    """Return what pydantic found, for the author; what is in words already stays as it is."""
    kind = found["type"]
    if kind in (UNKNOWN_KEY, MISSING_KEY, INVALID_VALUE):
        return _error(kind, found["ctx"]["problem"], found["ctx"]["remedy"])
    if kind == "missing":
        missing = found["loc"][-1]
        example = 1 if missing == "version" else "..."
        return _error(MISSING_KEY, "this required key is missing", f"add `{missing}: {example}`")
    shown = show(found["input"])
    if kind in _EXPECTED:
        expected, remedy = _EXPECTED[kind]
        return invalid(f"must be {expected}, not {shown}", remedy)
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return invalid(f"must be {words} {found['ctx'][bound]}, not {shown}", "correct the number")
    return invalid(f"{shown}: {found['msg']}", "correct the value")


def show(value: object) -> str:
    """Return a value as an error shows it: shortened, and of a collection only what it is."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}...{text[-_SHOWN // 2 :]}"


def at(loc: tuple[str | int, ...], error: PydanticCustomError) -> InitErrorDetails:
    """Return an error with its place within a block."""
    return InitErrorDetails(type=error, loc=loc, input=None)


def in_place_of(found: ErrorDetails, error: PydanticCustomError) -> InitErrorDetails:
    """Return an error that stands where pydantic found one."""
    loc = found["loc"]
    # So pydantic marks a key of a mapping that is wrong itself; the key's own name stands before it.
    return InitErrorDetails(type=error, loc=loc[:-1] if loc[-1:] == ("[key]",) else loc, input=found["input"])


def _error(kind: str, problem: str, remedy: str) -> PydanticCustomError:
    return PydanticCustomError(kind, "{problem}; {remedy}", {"problem": problem, "remedy": remedy})
