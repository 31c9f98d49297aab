"""Refusals as jupyter_server passes them on: of `POST /api/kernels` it answers only what an HTTPError says.

`/api/sessions` answers with the text of any error; that stays the same.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

from tornado.web import HTTPError

from openshell_kernel.errors import OpenShellError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_Method = TypeVar("_Method", bound="Callable[..., Coroutine[Any, Any, Any]]")
_STATUS = 500  # as /api/sessions


def answered(method: _Method) -> _Method:
    """Let the refusals that a method raises be answers."""

    @functools.wraps(method)
    async def answering(*args: object, **kwargs: object) -> object:
        try:
            return await method(*args, **kwargs)
        except OpenShellError as error:
            raise answer(error) from error.__cause__

    return answering  # type: ignore[return-value]


def answer(error: OpenShellError) -> OpenShellError:
    """Return an error of the same type, text and trace, which is an answer with that text too."""
    raised: OpenShellError = _kind(type(error))(_STATUS, str(error))
    return raised.with_traceback(error.__traceback__)


def _kind(kind: type[OpenShellError]) -> Any:  # noqa: ANN401 - a type that is made here
    members = {
        "__init__": HTTPError.__init__,
        "__str__": HTTPError.get_message,
        "__module__": kind.__module__,
        "__doc__": kind.__doc__,
    }
    return type(kind.__name__, (kind, HTTPError), members)
