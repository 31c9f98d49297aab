"""Refusals as jupyter_server passes them on: of `POST /api/kernels` it answers only what an HTTPError says.

`/api/sessions` answers with the text of any error; that stays the same.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

from tornado.web import HTTPError

from openshell_kernel.errors import OpenShellError
from openshell_kernel.server.dialog import for_dialog
from openshell_kernel.server.jupyter_compat import root_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_Method = TypeVar("_Method", bound="Callable[..., Coroutine[Any, Any, Any]]")
_STATUS = 500  # as /api/sessions


def answered(method: _Method) -> _Method:
    """Let the refusals that a method raises be answers."""

    @functools.wraps(method)
    async def answering(provisioner: Any, *args: object, **kwargs: object) -> object:  # noqa: ANN401
        try:
            return await method(provisioner, *args, **kwargs)
        except OpenShellError as error:
            raise answer(error, in_server=root_folder(provisioner.parent) is not None) from error.__cause__

    return answering  # type: ignore[return-value]


def answer(error: OpenShellError, *, in_server: bool = False) -> OpenShellError:
    """Return an error of the same type and trace, which is an answer with its text too.

    A server's answer is shown in a dialog of the browser, and wrapped for it.
    """
    text = for_dialog(str(error)) if in_server else str(error)
    raised: OpenShellError = _kind(type(error))(_STATUS, text)
    return raised.with_traceback(error.__traceback__)


def _kind(kind: type[OpenShellError]) -> Any:  # noqa: ANN401 - a type that is made here
    members = {
        "__init__": HTTPError.__init__,
        "__str__": HTTPError.get_message,
        "__module__": kind.__module__,
        "__doc__": kind.__doc__,
    }
    return type(kind.__name__, (kind, HTTPError), members)
