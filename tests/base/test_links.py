"""Of a path, every link that decides where it leads is known, whether there is anything at its end or not."""

import os

import pytest

from openshell_kernel.base.links import links_and_end


@pytest.fixture
def root(tmp_path):
    (tmp_path / "real/inner").mkdir(parents=True)
    (tmp_path / "real/inner/file").touch()
    (tmp_path / "first").symlink_to("second")
    (tmp_path / "second").symlink_to(tmp_path / "real")
    (tmp_path / "loop").symlink_to("loop")
    return os.path.realpath(tmp_path)


@pytest.mark.parametrize(
    ("path", "links", "end"),
    [
        pytest.param("real/inner/file", [], "real/inner/file", id="no link"),
        pytest.param("first/inner/file", ["first", "second"], "real/inner/file", id="a link to a link"),
        pytest.param("first/../real/./inner//", ["first", "second"], "real/inner", id="up, past a link"),
        pytest.param("first/missing/file", ["first", "second"], "real/missing/file", id="nothing there yet"),
        pytest.param("missing/../real", [], "real", id="up, from nothing"),
        pytest.param("real/inner/file/beyond", [], "real/inner/file/beyond", id="a file in the place of a folder"),
    ],
)
def test_links_are_followed_as_far_as_there_is_something(root, path, links, end):
    assert links_and_end(f"{root}/{path}") == (*(f"{root}/{link}" for link in links), f"{root}/{end}")


def test_a_link_to_itself_ends_somewhere(root):
    assert f"{root}/loop" in links_and_end(f"{root}/loop/file")
