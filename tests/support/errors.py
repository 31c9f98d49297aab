"""Errors by their type, their place and what they name: keys, paths, commands. How they say it is not a test's to hold."""

import contextlib

import pytest


@contextlib.contextmanager
def refused(kind, *named, at=None):
    """Expect an error of this very type, which begins with its place and names these."""
    with pytest.raises(kind) as caught:
        yield caught
    # Not only of its kind; as an answer to a request or a spawner it is of a class besides that is named alike.
    assert type(caught.value).__name__ == kind.__name__
    check_message(str(caught.value), *named, at=at)


def check_message(message, *named, at=None):
    """Check that a message begins with a place, if one is given, and names these keys, paths, numbers or commands."""
    assert at is None or message.startswith(f"{at}: "), message
    assert [name for name in map(str, named) if name not in message] == [], message
