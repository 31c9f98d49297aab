"""Inductor's folder among the temporary files leads to its cache, whatever is there already."""

import getpass

import pytest

from openshell_kernel.kernel.headers import keep_headers


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "t"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_what_is_written_there_lies_in_the_cache(temporary, tmp_path):
    keep_headers({"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "home" / "cache")})
    (temporary / f"torchinductor_{getpass.getuser()}" / "header").write_text("x")
    assert (tmp_path / "home" / "cache" / "header").read_text() == "x"


def test_a_second_start_in_the_same_folder_leaves_it_as_it_is(temporary, tmp_path):
    for _ in range(2):
        keep_headers({"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")})
    assert len(list(temporary.iterdir())) == 1


def test_a_name_that_is_no_file_name_is_written_as_pytorch_writes_it(temporary, tmp_path, monkeypatch):
    monkeypatch.setenv("LOGNAME", "domain\\ada")
    keep_headers({"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")})
    assert (temporary / "torchinductor_domain_ada").is_symlink()


@pytest.mark.parametrize("environ", [{}, {"TORCHINDUCTOR_CACHE_DIR": "/proc/nowhere"}])
def test_without_a_cache_that_can_be_made_nothing_happens(temporary, environ):
    keep_headers(environ)
    assert list(temporary.iterdir()) == []
