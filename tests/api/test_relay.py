"""What a terminal may be shown of a program's output, and what the relay takes and leaves."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openshell_kernel.api.relay import Shown


def shown(*pieces):
    show = Shown()
    return b"".join(show(piece) for piece in (*pieces, b"")).decode()


@pytest.mark.parametrize(
    "text",
    [
        "words\n",
        "caf\u00e9 \u4e16\u754c\n",
        "10%\r20%\r",
        "a\tb\b",
        "\x1b[31mred\x1b[0m\n",
        "\x1b[1;38;5;3mbold\x1b[m",
        "\x1b[Knew",
    ],
)
def test_text_colours_and_progress_are_shown_as_they_are(text):
    assert shown(text.encode()) == text


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("a title", "\x1b]0;title\x07"),
        ("the clipboard", "\x1b]52;c;ZWNobw==\x1b\\"),
        ("a question that the terminal answers", "\x1b[c"),
        ("another line", "\x1b[2A"),
        ("the whole screen", "\x1b[2J"),
        ("a reset", "\x1bc"),
        ("a C1 code", "\u009b2J"),
        ("the direction of writing", "\u202e"),
        ("a bell", "\x07"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_text(case, text):
    assert shown(text.encode()).isprintable(), case


def test_what_is_split_over_pieces_is_put_together():
    assert shown(b"\x1b[3", b"1mred", b"\xc3", b"\xa9") == "\x1b[31mred\u00e9"
    assert shown(b"\x1b", b"c") == "\\x1bc"
    assert shown(b"words \x1b[31") == "words \\x1b[31"


@given(st.lists(st.binary(max_size=12), max_size=8))
def test_nothing_but_colours_and_line_clearing_begins_with_an_escape(pieces):
    text = shown(*pieces)
    for place, character in enumerate(text):
        assert character.isprintable() or character in "\n\r\t\b\x1b"
        if character == "\x1b":
            rest = text[place + 1 :].lstrip("[0123456789:;")
            assert rest[:1] in ("m", "K")


@given(st.binary(max_size=60), st.integers(0, 60))
def test_how_it_is_cut_makes_no_difference(text, place):
    assert shown(text) == shown(text[:place], text[place:])


def test_what_is_no_text_is_shown_as_such():
    assert os.linesep not in shown(b"\xff\xfe")
    assert shown(b"\xff") == "\ufffd"
