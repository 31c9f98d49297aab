"""A GPU is held exactly as long as its kernel runs, whatever ends it, and nobody but its holder can end the hold."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from support.errors import refused
from support.kernels import eventually

from openshell_kernel.base import claims as inside
from openshell_kernel.errors import ConfigurationError, LaunchError
from openshell_kernel.gpu.claims import Registry
from openshell_kernel.server.process import janitor
from openshell_kernel.server.process.ending import of_child

HOLD = """
import os, sys, time
from openshell_kernel.gpu.claims import Registry
registry = Registry(sys.argv[1])
with registry.locked():
    claim = registry.claim(sys.argv[2].split(","), pid=os.getpid())
print("held", flush=True)
time.sleep(600)
"""

ENTRUST = """
from openshell_kernel.server.process import janitor
from openshell_kernel.server.process.ending import of_child
hearing, speaking = os.pipe()
os.close(speaking)
ending = of_child(int(sys.argv[3]), hearing)
claim.keep_until(ending)
janitor.entrust(claim, ending, {})
"""


@pytest.fixture
def folder():
    """A folder that all users reach, as the machine's are."""
    path = tempfile.mkdtemp(prefix="openshell-claims-", dir="/var/tmp")
    os.chmod(path, 0o1777)  # noqa: S103 - as /run/lock
    yield path
    shutil.rmtree(path)


@pytest.fixture
def registry(folder):
    return Registry(folder)


def claim(registry, *uuids):
    with registry.locked():
        return registry.claim(uuids, pid=os.getpid())


def without_keeper(pid):
    """The ending of a process beside which no keeper was left: only its own end, and open nodes, can be seen."""
    hearing, speaking = os.pipe()
    os.close(speaking)
    return of_child(pid, hearing)


def following(holding, pid):
    holding.keep_until(without_keeper(pid))
    holding.follow()


def held(registry):
    return sorted(uuid for holder in registry.holders() for uuid in holder.uuids)


def test_what_is_claimed_is_held_until_it_is_released(registry):
    first, second = claim(registry, "GPU-a", "GPU-b"), claim(registry, "GPU-c")
    assert held(registry) == ["GPU-a", "GPU-b", "GPU-c"]
    first.release()
    first.release()
    assert held(registry) == ["GPU-c"]
    second.release()
    assert os.listdir(registry.folders()[0]) == []


def test_a_holder_is_told_with_user_and_process(registry):
    holding = claim(registry, "GPU-a")
    (holder,) = registry.holders()
    assert (holder.uuids, holder.pid) == (("GPU-a",), os.getpid())
    assert holder.user
    assert holder.since.endswith("+00:00")
    assert inside.holders(registry.folders()) == (holder,)
    holding.release()
    assert inside.holders(registry.folders()) == ()


def test_in_a_hub_a_holder_is_told_with_the_hubs_names_and_its_account(registry):
    with registry.locked():
        holding = registry.claim(["GPU-a"], pid=1, hub_user="alice", hub_server="training")
    (holder,) = registry.holders()
    assert (holder.name, holder.place) == ("alice", f"server training of the hub, account {holder.user}")
    assert inside.holders(registry.folders()) == (holder,)
    holding.release()
    with registry.locked():
        holding = registry.claim(["GPU-a"], pid=1, hub_user="alice")
    assert registry.holders()[0].place == f"the hub's server, account {holder.user}"
    holding.release()


def test_what_a_newer_version_tells_besides_frees_no_gpu(registry):
    holding = claim(registry, "GPU-a")
    record = json.loads(Path(holding.path).read_text())
    Path(holding.path).write_text(json.dumps({**record, "mood": "good"}))
    assert held(registry) == ["GPU-a"]
    assert [holder.uuids for holder in inside.holders(registry.folders())] == [("GPU-a",)]
    holding.release()


def test_a_process_that_is_killed_strands_no_gpu(folder, registry):
    with subprocess.Popen([sys.executable, "-c", HOLD, folder, "GPU-a"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        assert held(registry) == ["GPU-a"]
        process.kill()
    assert held(registry) == []
    # Its record is still there, and the next claim of this user removes it.
    left = os.listdir(registry.folders()[0])
    holding = claim(registry, "GPU-a")
    assert set(os.listdir(registry.folders()[0])).isdisjoint(left)
    holding.release()


def test_a_claim_ends_with_the_kernel_that_it_follows(registry):
    with subprocess.Popen(["sleep", "600"]) as process:
        following(claim(registry, "GPU-a"), process.pid)
        assert held(registry) == ["GPU-a"]
        process.send_signal(signal.SIGKILL)
        process.wait()
    eventually(lambda: held(registry) == [], "the claim's end")


def test_a_forked_process_neither_keeps_nor_ends_a_claim(registry):
    holding = claim(registry, "GPU-a")
    child = os.fork()
    if child == 0:
        holding.release()
        signal.pause()
        os._exit(0)
    try:
        assert held(registry) == ["GPU-a"]
        holding.release()
        assert held(registry) == []
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_who_may_only_read_a_record_cannot_feign_or_hinder_a_claim(registry):
    holding = claim(registry, "GPU-a")
    path = holding.path
    with open(path, "rb") as reader:
        read_lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 0, 0)
        with pytest.raises(BlockingIOError):
            fcntl.fcntl(reader, fcntl.F_OFD_SETLK, read_lock)
        with pytest.raises(OSError, match="Bad file descriptor"):
            fcntl.fcntl(reader, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
        os.link(path, f"{path}.kept")
        holding.release()
        os.rename(f"{path}.kept", path)
        fcntl.fcntl(reader, fcntl.F_OFD_SETLK, read_lock)
        assert held(registry) == []
        assert inside.holders(registry.folders()) == ()


def test_records_can_be_read_by_all_and_written_by_their_owner_only(registry):
    previous = os.umask(0o077)
    try:
        holding = claim(registry, "GPU-a")
    finally:
        os.umask(previous)
    modes = [stat.S_IMODE(os.stat(path).st_mode) for path in (holding.path, os.path.dirname(holding.path))]
    assert modes == [0o644, 0o755]
    assert stat.S_IMODE(os.stat(f"{registry.folder}/openshell-gpu.lock").st_mode) == 0o644
    holding.release()


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", '{"uuids": 1}', "\xff" * 70000, "[" * 60000, '{"a":' * 20000),
        '{"uuids": ["a"], "pid": 1e999, "since": ""}',
        '{"uuids": ["a"], "pid": 1, "since": "", "user": "root"}x',
        '{"uuids": ["a"], "pid": true, "since": "2026-11-24T10:00:00+00:00"}',
        '{"uuids": ["a"], "pid": -1, "since": "2026-11-24T10:00:00+00:00"}',
        '{"uuids": ["a"], "pid": 1, "since": "\x1b[31m"}',
    ],
    ids=lambda content: repr(content[:20]),
)
def test_a_damaged_record_holds_nothing(registry, content):
    holding = claim(registry, "GPU-a")
    fd = holding.descriptor()
    os.ftruncate(fd, 0)
    os.pwrite(fd, content.encode("latin-1"), 0)
    assert registry.holders() == ()
    assert inside.holders(registry.folders()) == ()
    os.close(fd)
    holding.release()


def test_a_folder_whose_owner_is_not_whom_it_names_does_not_count(registry, folder):
    holding = claim(registry, "GPU-a")
    own = os.path.dirname(holding.path)
    foreign = f"{folder}/openshell-gpu-{os.geteuid() + 1}"
    os.rename(own, foreign)
    assert registry.folders() == ()
    os.rename(foreign, own)
    holding.release()


@pytest.mark.parametrize("mode", [0, 0o777])
def test_modes_that_a_notebook_has_changed_are_mended_at_the_next_start(registry, mode):
    holding = claim(registry, "GPU-a")
    folder = os.path.dirname(holding.path)
    os.chmod(holding.path, mode)
    os.chmod(folder, mode)
    registry.prepare()
    assert held(registry) == ["GPU-a"]
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o755
    assert stat.S_IMODE(os.stat(holding.path).st_mode) == 0o644
    claim(registry, "GPU-b").release()
    assert held(registry) == ["GPU-a"]
    holding.release()


def test_a_folder_that_is_in_use_stays_in_use_whatever_its_mode(folder, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("the folder that all users share is root's")
    registry = Registry(shared=(folder, str(tmp_path)))
    holding = claim(registry, "GPU-a")
    os.chmod(folder, 0o755)  # noqa: S103 - as a notebook that runs as root could do it
    tmp_path.chmod(0o1777)
    assert held(Registry(shared=(folder, str(tmp_path)))) == ["GPU-a"]
    holding.release()


def test_what_else_lies_among_the_records_hinders_nobody(registry):
    holding = claim(registry, "GPU-a")
    folder = os.path.dirname(holding.path)
    os.mkfifo(f"{folder}/aa.json")
    os.mkdir(f"{folder}/bb.json")
    os.symlink("/dev/zero", f"{folder}/cc.json")
    os.mkfifo(f"{folder}/another")
    assert held(registry) == ["GPU-a"]
    assert [holder.uuids for holder in inside.holders(registry.folders())] == [("GPU-a",)]
    holding.release()


def test_a_lock_that_was_cleaned_up_meanwhile_is_not_taken_for_the_lock(registry):
    with registry.locked():
        os.unlink(registry.lock)
    with registry.locked():
        assert os.path.exists(registry.lock)


def test_a_claim_is_kept_across_a_restart_by_whoever_ends_the_process(registry):
    with subprocess.Popen(["sleep", "600"]) as process:
        holding = claim(registry, "GPU-a")
        following(holding, process.pid)
        holding.unfollow()
        process.kill()
        process.wait()
    with subprocess.Popen(["sleep", "600"]) as process:
        following(holding, process.pid)
        assert held(registry) == ["GPU-a"]
        assert registry.holders(but=holding) == ()
        process.kill()
        process.wait()
    eventually(lambda: not holding.is_held, "the claim's end")
    assert held(registry) == []


def test_a_child_that_outlives_a_killed_server_strands_no_gpu(folder, registry):
    script = HOLD.replace('print("held", flush=True)', 'os.fork() or time.sleep(600)\nprint("held", flush=True)')
    with subprocess.Popen(
        [sys.executable, "-c", script, folder, "GPU-a"], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        assert held(registry) == ["GPU-a"]
        os.kill(process.pid, signal.SIGKILL)
        eventually(lambda: held(registry) == [], "the claim's end")
        os.killpg(process.pid, signal.SIGKILL)


def test_a_kernel_that_outlives_a_killed_server_keeps_its_gpus_and_no_longer(folder, registry):
    script = HOLD.replace('print("held", flush=True)', f'{ENTRUST}\nprint("held", flush=True)')
    with subprocess.Popen(["sleep", "600"]) as kernel:
        with subprocess.Popen(
            [sys.executable, "-c", script, folder, "GPU-a", str(kernel.pid)], stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout.readline() == "held\n"
            server.kill()
        assert held(registry) == ["GPU-a"]
        kernel.kill()
        eventually(lambda: held(registry) == [], "the claim's end")


def test_what_is_released_is_free_although_the_process_goes_on(registry):
    with subprocess.Popen(["sleep", "600"]) as kernel:
        holding = claim(registry, "GPU-a")
        ending = without_keeper(kernel.pid)
        holding.keep_until(ending)
        janitor.entrust(holding, ending, {})
        holding.release()
        assert held(registry) == []
        claim(registry, "GPU-a").release()
        kernel.kill()


def test_whose_a_claim_is_the_file_system_tells(registry):
    holding = claim(registry, "GPU-a")
    fd = holding.descriptor()
    record = {"uuids": ["GPU-a"], "pid": 1, "since": "2026-11-24T10:00:00+00:00", "user": "somebody\n"}
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(record).encode(), 0)
    (holder,) = registry.holders()
    assert "\n" not in holder.user
    assert holder.user in holder.describe()
    os.close(fd)
    holding.release()


def test_a_link_in_the_place_of_ones_folder_is_refused(registry, folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    os.symlink(elsewhere, f"{folder}/openshell-gpu-{os.geteuid()}")
    with refused(LaunchError, at=f"{folder}/openshell-gpu-{os.geteuid()}"):
        claim(registry, "GPU-a")
    assert list(elsewhere.iterdir()) == []


def test_a_claim_that_fails_leaves_nothing_behind(registry, folder):
    os.mkdir(f"{folder}/openshell-gpu-{os.geteuid()}", 0o755)
    registry.prepare()
    with registry.locked(), pytest.raises(TypeError):
        registry.claim([object()], pid=1)
    assert sorted(os.listdir(folder)) == [f"openshell-gpu-{os.geteuid()}", "openshell-gpu.lock"]


def test_one_at_a_time_chooses(registry, folder):
    inside_it, most = 0, 0

    def choose():
        nonlocal inside_it, most
        with Registry(folder).locked():
            inside_it += 1
            most = max(most, inside_it)
            held(registry)
            inside_it -= 1

    threads = [threading.Thread(target=choose) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_who_crashed_while_choosing_hinders_nobody(registry, folder):
    code = (
        "import os, sys; from openshell_kernel.gpu.claims import Registry\n"
        "with Registry(sys.argv[1]).locked(): os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, folder])
    claim(registry, "GPU-a").release()


def test_without_a_folder_for_all_users_the_setting_is_named():
    with refused(ConfigurationError, "c.OpenShellProvisioner.gpu_claims"):
        _ = Registry(shared=("/", "/nowhere")).folder


def test_the_default_folder_is_the_same_for_every_user():
    with contextlib.suppress(ConfigurationError):
        status = os.stat(Registry().folder)
        assert (status.st_uid, status.st_mode & 0o1777) == (0, 0o1777)


def holding_as_another_user(folder):
    script = HOLD.replace("import os, sys, time", "import os, sys, time; os.setgid(54321); os.setuid(54321)", 1)
    # Imported before the change of user, who may not be able to reach this Python.
    script = "import openshell_kernel.gpu.claims, pwd, json, secrets\n" + script
    return subprocess.Popen([sys.executable, "-c", script, folder, "GPU-a"], stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's claim needs root to make")
def test_another_users_claim_is_seen_and_cannot_be_taken_over(registry, folder):
    with holding_as_another_user(folder) as process:
        assert process.stdout.readline() == "held\n"
        (holder,) = registry.holders()
        assert (holder.uuids, holder.user) == (("GPU-a",), "user 54321")
        claim(registry, "GPU-b").release()
        assert held(registry) == ["GPU-a"]
        process.kill()
    assert held(registry) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="root opens what has any mode")
@pytest.mark.parametrize("mode", [0o000, 0o600])
def test_a_lock_whose_mode_a_notebook_has_changed_is_mended_at_its_users_next_start(registry, folder, mode):
    for _ in range(2):
        with holding_as_another_user(folder) as process:
            said, mended = process.stdout.readline(), stat.S_IMODE(os.stat(registry.lock).st_mode)
            process.kill()
        assert (said, mended) == ("held\n", 0o644)
        os.chmod(registry.lock, mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's claim needs root to make")
def test_what_others_put_beside_the_records_hinders_no_claim(registry, folder):
    # It looks like a record that was begun and cannot be removed by whom it is named for, for the sticky bit.
    with open(f"{folder}/.openshell-gpu-54321-aa.json", "w") as stream:
        os.fchown(stream.fileno(), 54322, 54322)
    os.chown(folder, 54323, 54323)
    with holding_as_another_user(folder) as process:
        assert process.stdout.readline() == "held\n"
        assert held(registry) == ["GPU-a"]
        process.kill()


def test_the_record_holds_nothing_but_what_is_shown(registry):
    holding = claim(registry, "GPU-a")
    with open(holding.path) as stream:
        assert json.load(stream).keys() == {"uuids", "pid", "since"}
    holding.release()


@pytest.mark.skipif(os.geteuid() != 0, reason="root opens what has any mode")
@pytest.mark.parametrize("kind", ["closed by its owner", "a folder", "a link"])
def test_a_lock_that_cannot_be_opened_hinders_nobody_and_one_at_a_time_chooses(registry, folder, kind):
    if kind == "a folder":
        os.mkdir(registry.lock, 0)
    elif kind == "a link":
        os.symlink("/nowhere", registry.lock)
    else:
        with open(registry.lock, "w") as stream:
            os.fchown(stream.fileno(), 54322, 54322)
        os.chmod(registry.lock, 0)
    with holding_as_another_user(folder) as process:
        assert process.stdout.readline() == "held\n"
        assert held(registry) == ["GPU-a"]
        process.kill()
    other = os.open(folder, os.O_RDONLY)
    if kind == "a link":
        with registry.locked(), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
