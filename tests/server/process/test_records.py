"""The server's records of kernels: out of others' reach, found by the beginning of an id, and gone with the kernel."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from support.errors import refused

from openshell_kernel.errors import SnapshotError
from openshell_kernel.server.process import records

SNAPSHOT = {"kernel": {"workdir": "/srv"}}
ID = "3f2a9c1e-0000-0000-0000-000000000000"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    return tmp_path / "runtime" / "openshell"


@pytest.fixture
def told():
    return []


def test_a_kernel_is_recorded_as_long_as_it_runs(folder, told):
    with records.recorded(ID, os.getpid(), SNAPSHOT, tell=told.append):
        (record,) = records.running()
        assert (record.kernel, record.pid, record.snapshot) == (ID, os.getpid(), SNAPSHOT)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / f"{ID}.json").stat().st_mode) == 0o600
    assert records.running() == ()
    assert list(folder.iterdir()) == []
    assert told == []


@pytest.mark.usefixtures("folder")
def test_the_beginning_of_an_id_is_enough_if_it_is_one_kernels():
    for kernel in (ID, f"3f2b{ID[4:]}"):
        records.write(kernel, pid=os.getpid(), snapshot=SNAPSHOT)
    assert records.find("3f2a").kernel == ID
    with refused(SnapshotError, "3f2"):
        records.find("3f2")
    with refused(SnapshotError, "4"):
        records.find("4")


def test_what_a_killed_server_left_counts_no_more_and_goes(folder):
    with subprocess.Popen(["sleep", "1000"]) as ended:
        records.write(ID, pid=ended.pid, snapshot=SNAPSHOT)
        assert records.find(ID).pid == ended.pid
        ended.kill()
    assert records.running() == ()
    records.write("other", pid=os.getpid(), snapshot=SNAPSHOT)
    assert [path.name for path in folder.iterdir()] == ["other.json"]


def test_a_process_that_has_been_given_the_pid_of_another_is_not_that_one(folder):
    records.write(ID, pid=os.getpid(), snapshot=SNAPSHOT)
    path = folder / f"{ID}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "started": 1}))
    assert records.running() == ()


def test_a_kernel_of_another_machine_or_container_is_not_shown_here_and_keeps_its_record(folder):
    records.write(ID, pid=os.getpid(), snapshot=SNAPSHOT)
    path = folder / f"{ID}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "place": ["elsewhere", "pid:[1]"]}))
    records.write("here", pid=os.getpid(), snapshot=SNAPSHOT)
    assert [record.kernel for record in records.running()] == ["here"]
    assert path.exists()
    os.utime(path, (0, 0))
    records.write("here", pid=os.getpid(), snapshot=SNAPSHOT)
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', '{"format": 2, "pid": "x"}', "[" * 10000])
def test_what_is_no_record_is_passed_over(folder, content):
    records.write("good", pid=os.getpid(), snapshot=SNAPSHOT)
    (folder / "bad.json").write_text(content)
    assert [record.kernel for record in records.running()] == ["good"]


def test_no_link_is_followed(folder, tmp_path):
    records.write(ID, pid=os.getpid(), snapshot=SNAPSHOT)
    (folder / f"{ID}.json").rename(tmp_path / "elsewhere.json")
    (folder / f"{ID}.json").symlink_to(tmp_path / "elsewhere.json")
    assert records.running() == ()
    records.write(ID, pid=os.getpid(), snapshot=SNAPSHOT)
    assert not (folder / f"{ID}.json").is_symlink()


@pytest.mark.parametrize("kernel", ["../escape", "", "a/b", "."])
def test_an_id_is_never_a_path(kernel, told, folder):
    beside = folder.parent / "escape.json"
    beside.parent.mkdir()
    beside.write_text("")
    with records.recorded(kernel, os.getpid(), SNAPSHOT, tell=told.append):
        pass
    assert len(told) == 1
    assert beside.exists()


def test_where_it_cannot_be_kept_a_kernel_runs_all_the_same(folder, told):
    Path(folder).parent.mkdir(parents=True)
    folder.write_text("")
    with records.recorded(ID, os.getpid(), SNAPSHOT, tell=told.append):
        assert records.running() == ()
    assert "not recorded" in told[0]
