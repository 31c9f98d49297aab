"""What others have chosen is shown so that it can neither steer a terminal nor pass for a line of ours."""

import pytest

from openshell_kernel.base.text import printable, printable_lines
from openshell_kernel.errors import PolicyError

NASTY = "a\x1b]0;title\x07b\u202ec\udcffd\x9b31m"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/Größe 大きい", "/srv/Größe 大きい"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        (NASTY, "a\\x1b]0;title\\x07b\\u202ec\\udcffd\\x9b31m"),
    ],
)
def test_all_but_visible_characters_are_escaped(text, shown):
    assert printable(text) == shown


def test_lines_after_the_first_are_indented():
    assert printable_lines("one\n[I] two\x1b\n\nthree\n") == "one\n    [I] two\\x1b\n    \n    three"


def test_an_error_says_nothing_that_a_terminal_obeys():
    assert str(PolicyError(f"{NASTY}: one\ntwo")) == f"{printable(NASTY)}: one\ntwo"
