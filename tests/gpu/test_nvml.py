"""Discovery gives an answer whatever the driver does; the real pynvml talks to a driver library made for tests."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, replace

import psutil
import pytest
from fakes import nvml as fake
from support import kernels

from openshell_kernel.base.hardware import Gpu, Hardware, MigDevice, Status
from openshell_kernel.gpu import discovery
from openshell_kernel.gpu.asking import Cache

TWO_GPUS = (fake.gpu(3, pci="00000000:65:00.0"), fake.gpu(0, name="NVIDIA L4", memory=24 << 30, pci="00010000:0A:00.1"))
FIRST = Gpu(
    index=0,
    minor=3,
    uuid="GPU-00000000-0000-0000-0000-000000000003",
    name="NVIDIA H100 80GB HBM3",
    memory=80 << 30,
    pci_address="0000:65:00.0",
)
SECOND = Gpu(
    index=1,
    minor=0,
    uuid="GPU-00000000-0000-0000-0000-000000000000",
    name="NVIDIA L4",
    memory=24 << 30,
    pci_address="10000:0a:00.1",
)
NODES = ("/dev/nvidia0", "/dev/nvidia3", "/dev/nvidia-uvm", "/dev/nvidiactl")
INIT = "nvmlInitWithFlags"
LONG = 60.0


def discover(library, root, *directives, **arguments):
    """Ask a library that follows these directives, past any answer of another test."""
    if directives:
        fake.configure(library, *directives)
    arguments = {"timeout": LONG, "cache": Cache(life=LONG), **arguments}
    return asyncio.run(discovery.discover(root=root, environ={"LD_LIBRARY_PATH": str(library)}, **arguments))


@pytest.fixture
def left_behind():
    """Return the children of this process that the test has started, those that nobody has waited for among them."""
    before = set(psutil.Process().children())
    return lambda: set(psutil.Process().children()) - before


def test_gpus_are_told_with_versions_and_nodes(library, root):
    found = discover(library, root, "driver 570.86.15", "cuda 12080", *TWO_GPUS)
    assert found.nodes == NODES
    assert (found.status, found.detail, found.present) == (Status.OK, "2 GPUs", True)
    assert (found.driver_version, found.cuda_version, found.gpus) == ("570.86.15", "12.8", (FIRST, SECOND))


def test_without_a_library_the_nodes_still_count(tmp_path, root):
    folder = tmp_path / "empty"
    folder.mkdir()
    found = discover(folder, root)
    if found.status is not Status.NO_LIBRARY:
        pytest.skip("this machine has an NVIDIA driver library of its own")
    assert (found.gpus, found.nodes) == ((), NODES)
    assert "install the NVIDIA driver" in found.detail


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param(9, (Status.NO_DRIVER, "modprobe nvidia"), id="driver not loaded"),
        pytest.param(18, (Status.VERSION_MISMATCH, "restart the machine"), id="library and driver differ"),
        pytest.param(4, (Status.NO_PERMISSION, "/run/nvidia-persistenced"), id="insufficient permissions"),
        pytest.param(999, (Status.ERROR, "Unknown Error"), id="unknown error"),
        pytest.param(777, (Status.ERROR, "only the driver library knows"), id="an error newer than pynvml"),
    ],
)
@pytest.mark.parametrize("function", [INIT, "nvmlDeviceGetCount_v2"])
def test_an_error_of_nvml_is_a_status_with_its_remedy(library, root, function, code, expected):
    status, remedy = expected
    found = discover(library, root, f"fail {function} {code}", *TWO_GPUS)
    assert (found.status, found.gpus, found.nodes) == (status, (), NODES)
    assert remedy in found.detail


def test_a_lost_gpu_keeps_its_index_and_does_not_hide_the_others(library, root):
    found = discover(library, root, "fail nvmlDeviceGetHandleByIndex_v2 15 0", *TWO_GPUS)
    assert (found.status, found.gpus) == (Status.INCOMPLETE, (Gpu(index=0, fault="GPU is lost"), SECOND))
    assert "GPU 0: GPU is lost" in found.detail


@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("nvmlDeviceGetMinorNumber", "minor"),
        ("nvmlDeviceGetUUID", "uuid"),
        ("nvmlDeviceGetName", "name"),
        ("nvmlDeviceGetMemoryInfo", "memory"),
        ("nvmlDeviceGetPciInfo_v3", "pci_address"),
    ],
)
@pytest.mark.parametrize(
    "outcome",
    [
        pytest.param((15, Status.INCOMPLETE), id="lost while it was asked"),
        pytest.param((13, Status.OK), id="a driver without the function"),
        pytest.param((3, Status.OK), id="not supported"),
    ],
)
def test_a_field_that_cannot_be_told_is_none_and_the_rest_stays(library, root, function, field, outcome):
    code, status = outcome
    found = discover(library, root, f"fail {function} {code} 1", *TWO_GPUS)
    fault = None if status is Status.OK else "GPU is lost"
    assert (found.status, found.gpus) == (status, (FIRST, replace(SECOND, **{field: None}, fault=fault)))


@pytest.mark.parametrize("function", ["nvmlSystemGetDriverVersion", "nvmlSystemGetCudaDriverVersion_v2"])
def test_gpus_are_told_without_a_version(library, root, function):
    found = discover(library, root, f"fail {function} 13", *TWO_GPUS)
    versions = {"nvmlSystemGetDriverVersion": found.driver_version}.get(function, found.cuda_version)
    assert (found.status, found.gpus, versions) == (Status.OK, (FIRST, SECOND), None)


def test_a_name_that_is_no_text_is_left_out(library, root):
    found = discover(library, root, fake.gpu(0, name="\udcff"))
    assert (found.status, found.gpus[0].name, found.gpus[0].minor) == (Status.INCOMPLETE, None, 0)


@pytest.mark.parametrize("pci", ["65:00.0", "0000:65:00.9", "none"])
def test_a_bus_id_of_another_form_is_not_passed_on(library, root, pci):
    assert discover(library, root, fake.gpu(0, pci=pci)).gpus[0].pci_address is None


def test_a_gpu_that_this_user_may_not_use_is_left_out(library, root):
    found = discover(library, root, "fail nvmlDeviceGetHandleByIndex_v2 4 0", *TWO_GPUS)
    assert (found.status, found.gpus, found.detail) == (Status.OK, (SECOND,), "1 of 2 GPUs are open to this user")


def test_a_gpu_that_went_away_after_it_was_counted_is_left_out(library, root):
    found = discover(library, root, "count 3", *TWO_GPUS)
    assert (found.status, found.gpus) == (Status.INCOMPLETE, (FIRST, SECOND))
    assert "GPU 2: Invalid Argument" in found.detail


def test_a_gpu_that_came_after_the_count_waits_for_the_next_look(library, root):
    found = discover(library, root, "count 1", *TWO_GPUS)
    assert (found.status, found.gpus) == (Status.OK, (FIRST,))


def test_a_driver_without_gpus_says_so(library, root):
    found = discover(library, root, "driver 580.65.06")
    assert (found.status, found.gpus, found.driver_version) == (Status.OK, (), "580.65.06")
    assert "has no GPU" in found.detail


@pytest.mark.parametrize("function", [INIT, "nvmlDeviceGetCount_v2", "nvmlDeviceGetUUID"])
def test_a_call_that_hangs_ends_in_a_status_and_leaves_no_process(library, root, function, left_behind):
    cache = Cache(life=0.5)
    found = discover(library, root, f"hang {function}", *TWO_GPUS, cache=cache)
    assert (found.status, found.nodes) == (Status.TIMEOUT, NODES)
    assert "0.5 s: see whether nvidia-smi works" in found.detail
    kernels.eventually(lambda: left_behind() == set(), "the end of the process")


def test_the_event_loop_goes_on_while_a_call_hangs(library, root):
    fake.configure(library, f"hang {INIT}")

    async def both():
        asking = asyncio.create_task(
            discovery.discover(root=root, environ={"LD_LIBRARY_PATH": str(library)}, timeout=0.5, cache=Cache())
        )
        await asyncio.sleep(0)
        return asking.done(), await asking

    done, found = asyncio.run(both())
    assert (done, found.status) == (False, Status.TIMEOUT)


def test_a_child_that_nobody_waits_for_ends_by_itself(library):
    fake.configure(library, f"hang {INIT}")
    orphan = subprocess.run(
        [*discovery.COMMAND, "0.2"],
        env={"LD_LIBRARY_PATH": str(library)},
        capture_output=True,
        check=False,
    )
    assert (orphan.returncode, orphan.stdout) == (-signal.SIGALRM, b"")


def test_a_crash_of_the_driver_library_is_a_status(library, root, left_behind):
    found = discover(library, root, "crash nvmlDeviceGetName", *TWO_GPUS)
    assert (found.status, found.gpus, found.nodes) == (Status.CRASHED, (), NODES)
    assert "SIGSEGV" in found.detail
    assert left_behind() == set()


def test_a_driver_library_that_ends_the_process_is_an_error(library, root):
    found = discover(library, root, f"quit {INIT}", *TWO_GPUS)
    assert (found.status, found.nodes) == (Status.ERROR, NODES)
    assert "exit status 0" in found.detail


def test_what_the_driver_library_prints_does_not_get_into_the_answer(library, root):
    assert discover(library, root, f"print {INIT}", "print nvmlDeviceGetName", *TWO_GPUS).gpus == (FIRST, SECOND)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "[]",
        "1",
        "null",
        "{}",
        '{"status": "ok"}',
        '{"status": "odd", "detail": "", "gpus": [], "nodes": []}',
        '{"status": "ok", "detail": "", "gpus": [1], "nodes": []}',
        "\udcff",
    ],
)
def test_an_answer_that_is_none_is_an_error(library, root, text):
    output = f"import os; os.write(1, {os.fsencode(text)!r})"
    found = discover(library, root, command=(sys.executable, "-I", "-c", output))
    assert (found.status, found.gpus, found.nodes) == (Status.ERROR, (), NODES)


def test_why_the_child_could_not_answer_is_told(library, root):
    found = discover(library, root, command=(sys.executable, "-I", "-m", "no.such.module"))
    assert found.status is Status.ERROR
    assert "no.such.module" in found.detail


def test_a_child_that_cannot_be_started_is_an_error(library, root):
    found = discover(library, root, command=("/no/such/python",))
    assert found.status is Status.ERROR
    assert "/no/such/python" in found.detail


def test_the_child_gets_the_search_path_and_no_secret():
    environ = {
        "LD_LIBRARY_PATH": "/opt/driver:.::relative;/opt/other;also/relative",
        "PATH": "/usr/bin",
        "LANG": "C.UTF-8",
        "LD_PRELOAD": "/tmp/x.so",
        "JUPYTER_TOKEN": "secret",
    }
    assert discovery.environment(environ) == {
        "LD_LIBRARY_PATH": "/opt/driver:/opt/other",
        "PATH": "/usr/bin",
        "LANG": "C.UTF-8",
    }
    assert discovery.environment({"LD_LIBRARY_PATH": ":."}) == {}


def test_the_child_is_started_with_that_environment_only(library, root, tmp_path):
    seen = tmp_path / "seen.json"
    code = f"import json, os; json.dump([os.getcwd(), sorted(os.environ)], open({str(seen)!r}, 'w'))"
    discover(library, root, command=(sys.executable, "-I", "-c", code))
    cwd, names = json.loads(seen.read_text())
    assert (cwd, set(names) - {"LC_CTYPE"}) == ("/", {"LD_LIBRARY_PATH"})


def test_an_answer_holds_until_the_nodes_change(library, root):
    cache = Cache()
    assert discover(library, root, TWO_GPUS[0], cache=cache).gpus == (FIRST,)
    assert discover(library, root, *TWO_GPUS, cache=cache).gpus == (FIRST,)
    (root / "dev/nvidia1").touch()
    found = discover(library, root, cache=cache)
    assert (found.gpus, "/dev/nvidia1" in found.nodes) == ((FIRST, SECOND), True)


def test_an_answer_holds_until_the_loader_finds_other_libraries(library, root):
    (root / "etc").mkdir()
    cache = Cache()
    discover(library, root, TWO_GPUS[0], cache=cache)
    (root / "etc/ld.so.cache").touch()
    assert discover(library, root, *TWO_GPUS, cache=cache).gpus == (FIRST, SECOND)


def test_an_answer_is_for_one_search_path_only(library, root, tmp_path):
    cache = Cache()
    discover(library, root, *TWO_GPUS, cache=cache)
    assert discover(tmp_path, root, cache=cache).gpus != (FIRST, SECOND)


@pytest.mark.parametrize(
    "trouble", [f"crash {INIT}", f"fail {INIT} 999", f"fail {INIT} 4", "fail nvmlDeviceGetHandleByIndex_v2 15 0"]
)
def test_trouble_that_may_pass_is_looked_at_again(library, root, trouble):
    cache = Cache()
    assert discover(library, root, trouble, *TWO_GPUS, cache=cache).status is not Status.OK
    assert discover(library, root, *TWO_GPUS, cache=cache).status is Status.OK


def test_a_driver_that_hung_is_asked_again_when_its_process_is_gone(library, root):
    cache = Cache(life=0.5)
    assert discover(library, root, f"hang {INIT}", *TWO_GPUS, cache=cache).status is Status.TIMEOUT
    fake.configure(library, *TWO_GPUS)
    kernels.eventually(lambda: discover(library, root, cache=cache).status is Status.OK, "the driver's answer")


def test_an_answer_during_which_nodes_appeared_is_not_kept(library, root):
    """Asking can load the driver, which makes nodes: the answer tells them and the next caller asks again."""
    node, cache = root / "dev/nvidia9", Cache()
    answer = json.dumps(asdict(Hardware(status=Status.OK, detail="")))
    code = f"print({answer!r}); open({str(node)!r}, 'a'); open({str(root / 'asked')!r}, 'a').write('x')"
    command = (sys.executable, "-I", "-c", code)
    found = [discover(library, root, cache=cache, command=command) for _ in range(3)]
    assert all("/dev/nvidia9" in each.nodes for each in found)
    assert (root / "asked").read_text() == "xx"


def test_all_who_ask_at_once_in_any_loop_share_one_child(library, root):
    fake.configure(library, *TWO_GPUS)
    cache, found = Cache(), []

    async def several():
        asking = discovery.discover
        arguments = {"root": root, "environ": {"LD_LIBRARY_PATH": str(library)}, "timeout": LONG, "cache": cache}
        found.extend(await asyncio.gather(*(asking(**arguments) for _ in range(3))))

    threads = [threading.Thread(target=lambda: asyncio.run(several())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.gpus for each in found] == [(FIRST, SECOND)] * 9
    assert fake.calls(library, INIT) == 1


def test_who_stops_waiting_does_not_stop_the_others(library, root):
    fake.configure(library, *TWO_GPUS)

    async def one_gives_up():
        arguments = {"root": root, "environ": {"LD_LIBRARY_PATH": str(library)}, "timeout": LONG}
        cache = Cache()
        impatient, patient = (asyncio.create_task(discovery.discover(**arguments, cache=cache)) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        return await asyncio.gather(impatient, patient, return_exceptions=True)

    cancelled, found = asyncio.run(one_gives_up())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert found.gpus == (FIRST, SECOND)


MIG_GPU = (
    fake.gpu(0, mig=True),
    fake.mig_device(1, uuid="MIG-a"),
    fake.mig_device(2, 1, uuid="MIG-b", name="MIG 2c.3g.20gb"),
    fake.gpu(1, mig=False),
)


def test_mig_devices_are_told_with_their_instances(library, root):
    divided, whole = discover(library, root, *MIG_GPU).gpus
    assert (divided.mig, whole.mig, whole.mig_devices) == (True, False, ())
    assert divided.mig_devices == (
        MigDevice(
            index=0,
            uuid="MIG-a",
            name="NVIDIA A100-SXM4-40GB MIG 1g.5gb",
            memory=5 << 30,
            gpu_instance=1,
            compute_instance=0,
        ),
        MigDevice(index=1, uuid="MIG-b", name="MIG 2c.3g.20gb", memory=5 << 30, gpu_instance=2, compute_instance=1),
    )


def test_a_mig_device_has_the_index_that_nvml_gives_it_although_others_were_removed(library, root):
    gpus = (fake.gpu(0, mig=True), "free", fake.mig_device(1, uuid="MIG-a"), "free", fake.mig_device(2, uuid="MIG-b"))
    (divided,) = discover(library, root, *gpus).gpus
    assert [(device.index, device.uuid) for device in divided.mig_devices] == [(1, "MIG-a"), (3, "MIG-b")]


def test_a_change_of_mig_instances_is_looked_at_again(library, root):
    cache = Cache()
    assert discover(library, root, *MIG_GPU[:2], cache=cache).gpus[0].mig_devices[1:] == ()
    (root / "proc/driver/nvidia/capabilities/gpu0/mig/gi2").mkdir(parents=True)
    assert len(discover(library, root, *MIG_GPU, cache=cache).gpus[0].mig_devices) == 2


def test_how_busy_gpus_and_mig_devices_are_is_told(library, root):
    divided, whole = discover(
        library,
        root,
        fake.gpu(0, used=7, busy=40, mig=True),
        fake.mig_device(1, busy=3),
        fake.gpu(1, used=9),
    ).gpus
    assert (divided.used, divided.busy, divided.mig_devices[0].busy) == (7, 40, 3)
    assert (whole.used, whole.busy) == (9, 0)


def test_who_wants_a_fresh_answer_is_given_one(library, root):
    cache = Cache()
    assert discover(library, root, *TWO_GPUS, cache=cache).status is Status.OK
    lost = "fail nvmlDeviceGetHandleByIndex_v2 15 1"
    assert discover(library, root, *TWO_GPUS, lost, cache=cache).status is Status.OK
    assert discover(library, root, cache=cache, fresh=True).status is Status.INCOMPLETE
    # What was found out does not get lost.
    assert discover(library, root, cache=cache).status is Status.INCOMPLETE


def test_an_answer_that_has_grown_old_is_given_once_more_and_asked_for_anew(library, root):
    clock = [0.0]
    cache = Cache(age=10.0, now=lambda: clock[0])
    assert discover(library, root, *TWO_GPUS, cache=cache).status is Status.OK
    clock[0] = 9.0
    assert discover(library, root, cache=cache).status is Status.OK
    assert fake.calls(library, INIT) == 1
    clock[0] = 11.0
    fake.configure(library, *TWO_GPUS, "fail nvmlDeviceGetHandleByIndex_v2 15 1")
    assert discover(library, root, cache=cache).status is Status.OK
    kernels.eventually(lambda: discover(library, root, cache=cache).status is Status.INCOMPLETE, "the new answer")


class TestSlowly:
    """A driver that takes longer than a start waits: it is left to finish, once, and its answer is for the next."""

    @pytest.fixture
    def gate(self, tmp_path):
        return tmp_path / "gate"

    @pytest.fixture
    def slow(self, library, gate):
        fake.configure(library, *TWO_GPUS, f"wait {INIT} {gate}")
        return library

    def test_the_answer_is_there_for_the_next_start(self, slow, root, gate):
        cache = Cache(life=LONG)
        found = discover(slow, root, cache=cache, timeout=0.1)
        assert (found.status, found.gpus) == (Status.TIMEOUT, ())
        assert "a kernel that starts later has the answer" in found.detail
        assert "nvidia-smi -pm 1" in found.detail
        gate.touch()
        kernels.eventually(lambda: discover(slow, root, cache=cache, timeout=0.1).gpus == (FIRST, SECOND), "the answer")
        assert fake.calls(slow, INIT) == 1

    def test_however_many_start_meanwhile_one_process_asks(self, slow, root, gate, left_behind):
        cache = Cache(life=LONG)
        for fresh in (False, True, False):
            assert discover(slow, root, cache=cache, timeout=0.1, fresh=fresh).status is Status.TIMEOUT
        assert len(left_behind()) == 1
        gate.touch()
        kernels.eventually(lambda: discover(slow, root, cache=cache, timeout=0.1).status is Status.OK, "the answer")

    def test_who_waits_longer_is_given_the_answer_of_the_same_process(self, slow, root, gate):
        cache = Cache(life=LONG)
        assert discover(slow, root, cache=cache, timeout=0.1).status is Status.TIMEOUT
        gate.touch()
        assert discover(slow, root, cache=cache, timeout=LONG, fresh=True).gpus == (FIRST, SECOND)
        assert fake.calls(slow, INIT) == 1

    def test_who_wants_a_fresh_answer_and_gets_none_in_time_takes_the_one_that_holds(self, library, root, gate):
        cache = Cache(life=LONG)
        assert discover(library, root, *TWO_GPUS, cache=cache).status is Status.OK
        fake.configure(library, *TWO_GPUS, f"wait {INIT} {gate}")
        assert discover(library, root, cache=cache, timeout=0.1, fresh=True).gpus == (FIRST, SECOND)
        cache.end()

    def test_the_process_can_be_ended_before_this_one_becomes_another(self, slow, root, left_behind):
        cache = Cache(life=LONG)
        assert discover(slow, root, cache=cache, timeout=0.1).status is Status.TIMEOUT
        cache.end()
        kernels.eventually(lambda: left_behind() == set(), "the end of the process")

    def test_progress_is_told_with_the_remedy(self, slow, root, gate, monkeypatch):
        monkeypatch.setattr(discovery, "_SECONDS_TO_TELL", 0.1)
        told = []

        def tell(text):
            told.append(text)
            gate.touch()

        assert discover(slow, root, tell=tell).status is Status.OK
        assert "nvidia-smi -pm 1" in told[0]
        assert "2 GPUs" in told[-1]

    @pytest.mark.slow
    def test_a_slow_driver_without_persistence_mode_is_told_so(self, library, root, gate):
        fake.configure(library, *TWO_GPUS, f"wait {INIT} {gate}", "transient")
        timer = threading.Timer(3.5, gate.touch)
        timer.start()
        found = discover(library, root)
        timer.join()
        assert found.status is Status.OK
        assert "because persistence mode is off: run `nvidia-smi -pm 1`" in found.detail


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could make a device node")
def test_the_node_that_the_library_makes_itself_as_root_is_not_made(library, root, tmp_path):
    node = tmp_path / "nvidiactl"
    making = f"run {INIT} mknod {node} c 195 255"
    assert discover(library, root, making, *TWO_GPUS).status is Status.OK
    assert not node.exists()
    ask = "from openshell_kernel.gpu import nvml; nvml.ask()"
    subprocess.run([sys.executable, "-c", ask], env={"LD_LIBRARY_PATH": str(library)}, check=True)
    assert node.is_char_device()


def test_a_set_uid_helper_gains_nothing(library, root, tmp_path):
    status = tmp_path / "status"
    discover(library, root, f"run {INIT} grep -E 'NoNewPrivs|CapEff' /proc/self/status > {status}", *TWO_GPUS)
    said = dict(line.split(":\t") for line in status.read_text().splitlines())
    assert said["NoNewPrivs"] == "1"
    assert int(said["CapEff"], 16) & ~(1 << 2) == 0


@pytest.mark.parametrize("there", [["nvidiactl"], ["nvidiactl", "nvidia-uvm", "nvidia-modeset"]])
def test_control_nodes_without_a_driver_are_no_gpu(library, tmp_path, there):
    machine = tmp_path / "machine"
    (machine / "dev").mkdir(parents=True)
    for name in there:
        (machine / "dev" / name).touch()
    assert discover(library, machine, f"fail {INIT} 9").nodes == ()
    (machine / "proc/driver/nvidia").mkdir(parents=True)
    assert set(discover(library, machine).nodes) == {f"/dev/{name}" for name in there}
