"""A dialog shows every word of an error, in lines that it does not cut off."""

from hypothesis import given
from hypothesis import strategies as st

from openshell_kernel.server.dialog import COLUMNS, for_dialog

FILE = "/home/ada/.config/openshell/policy.yaml"


def test_a_file_with_several_mistakes_is_named_once():
    shown = for_dialog(f"{FILE}:3:3: a.b: unknown key; did you mean c?\n{FILE}:4:12: d: wrong; write e")
    assert shown.splitlines() == [f"{FILE}:", "3:3: a.b: unknown key; did you mean c?", "4:12: d: wrong; write e"]


def test_a_single_mistake_keeps_its_form():
    error = f"{FILE}:3:3: a.b: unknown key; did you mean c?"
    assert for_dialog(error) == error


def test_mistakes_in_two_files_keep_their_names():
    error = f"{FILE}:3:3: a: wrong\n/etc/openshell/policy.yaml:1:1: b: wrong"
    assert for_dialog(error) == error


def test_what_is_wrong_at_a_place_is_told_apart_by_its_indent():
    first, second, _, *_ = for_dialog(f"{FILE}:3:3: a.b: {'many words ' * 30}\n{FILE}:4:1: c: wrong").splitlines()[1:]
    assert first.startswith("3:3: ")
    assert second.startswith("    many")
    assert not for_dialog("many words " * 30).splitlines()[1].startswith(" ")


def test_long_lines_are_wrapped_and_commands_are_not():
    command = "jupyter openshell trust '/srv/" + "a folder with a long name/" * 5 + "openshell-policy.yaml'"
    lines = for_dialog(f"{FILE}: {'many words ' * 30}\n{command}\nIf it is not, remove the file.").splitlines()
    assert command in lines
    assert all(len(line) <= COLUMNS for line in lines if line != command)


@given(st.text(st.sampled_from("ab /:;\n17")))
def test_no_word_is_lost(text):
    assert "".join(for_dialog(text).split()) == "".join(text.split())
