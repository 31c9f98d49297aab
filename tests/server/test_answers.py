"""A refusal is an answer of the REST API, and stays the error that it is."""

import asyncio
from types import SimpleNamespace

import pytest
from tornado.web import HTTPError

from openshell_kernel.errors import ConfinementError, OpenShellError, PolicyError
from openshell_kernel.server.answers import answer, answered

TEXT = "policy.yaml:2:1: 100% wrong;\nwrite %s"


@pytest.mark.parametrize("kind", [PolicyError, ConfinementError])
def test_it_has_the_type_and_the_text_of_the_error_and_is_an_http_error(kind):
    told = answer(kind(TEXT), in_server=False)
    assert isinstance(told, kind)
    assert isinstance(told, HTTPError)
    assert (type(told).__name__, str(told)) == (kind.__name__, TEXT)
    assert (told.status_code, told.get_message()) == (500, TEXT)


def test_a_method_raises_refusals_as_answers_and_other_errors_as_they_are():
    class Provisioner:
        parent = SimpleNamespace(parent=None)

        @answered
        async def fail(self, error):
            raise error

    fail = Provisioner().fail
    cause = OSError(5, "Input/output error")
    error = PolicyError(TEXT)
    error.__cause__ = cause
    with pytest.raises(PolicyError) as caught:
        asyncio.run(fail(error))
    assert isinstance(caught.value, HTTPError)
    assert caught.value.__cause__ is cause
    with pytest.raises(OSError, match="Input/output") as caught:
        asyncio.run(fail(cause))
    assert caught.value is cause


def test_a_method_returns_what_it_returns():
    @answered
    async def succeed(provisioner):
        return provisioner

    assert asyncio.run(succeed(1)) == 1
    assert not issubclass(OpenShellError, HTTPError)


def test_in_a_server_the_text_is_wrapped_for_the_dialog_of_a_browser():
    error = PolicyError("/a/policy.yaml:1:1: b: wrong\n/a/policy.yaml:2:1: c: wrong")
    assert str(answer(error, in_server=True)) == "/a/policy.yaml:\n1:1: b: wrong\n2:1: c: wrong"
    assert str(answer(error, in_server=False)) == str(error)
