"""`%policy gpus` says which GPUs this kernel has and who holds the others; the check tells every step, and ends."""

import dataclasses
import json
import sys

import pytest
from fakes import snapshots

from openshell_kernel.base.claims import Holder
from openshell_kernel.base.hardware import Extra, Family, Gpu, Hardware, MigDevice, Status
from openshell_kernel.kernel import gpu_check, gpus
from openshell_kernel.kernel.snapshot import parse
from openshell_kernel.kernel.views import as_html, as_text
from openshell_kernel.policy.effective import GpuRequest, GpuSelection

ALICE = Holder(uuids=("GPU-2",), user="alice\x1b[2J", pid=42, since="2026-11-24T10:00:00+00:00")
HARDWARE = Hardware(
    status=Status.OK,
    detail="",
    present=True,
    driver_version="580.65.06",
    gpus=(
        Gpu(index=0, minor=3, uuid="GPU-0", name="H100", memory=80 << 30),
        Gpu(index=1, minor=2, uuid="GPU-1", name="H100", fault="GPU is lost"),
        Gpu(index=2, minor=1, uuid="GPU-2", name="H100"),
        Gpu(
            index=3,
            minor=0,
            uuid="GPU-3",
            name="A100",
            mig=True,
            mig_devices=(MigDevice(index=0, uuid="MIG-a", name="1g.5gb", memory=5 << 30, capabilities=("/cap12",)),),
        ),
    ),
    nodes=("/dev/nvidia0", "/dev/nvidia1", "/dev/nvidia2", "/dev/nvidia3", "/dev/nvidiactl"),
)
SELECTION = GpuSelection(
    granted=True,
    devices=("0",),
    visible="GPU-0",
    nodes=("/dev/nvidia3",),
    hold=("GPU-0",),
    held=(ALICE,),
    extras=(Family(name=Extra.DRI, paths=("/dev/dri/renderD128",)),),
    notices=("GPU 1 is left out",),
)


def snapshot(hardware=HARDWARE, selection=SELECTION):
    policy = snapshots.effective(hardware=hardware, selection=selection)
    return parse(json.dumps(snapshots.record(policy)).encode())


def test_each_device_says_whose_it_is():
    found = {device.label: device for device in gpus.devices(snapshot().effective, [ALICE])}
    assert list(found) == ["0", "1", "2", "3:0"]
    assert (found["0"].state, found["0"].given) == ("this kernel holds it", True)
    assert found["1"].state == "out of order: GPU is lost"
    assert found["2"].state.startswith("held by alice")
    assert (found["3:0"].state, found["3:0"].facts) == ("not given to this kernel", ("5 GiB", "/dev/nvidia0", "/cap12"))
    assert found["0"].facts == ("80 GiB", "/dev/nvidia3")


def test_a_gpu_that_is_shared_is_not_said_to_be_held():
    shared = GpuSelection(granted=True, devices=("0",), nodes=("/dev/nvidia3",))
    assert gpus.devices(snapshot(selection=shared).effective)[0].state == "this kernel"


def test_where_nodes_cannot_be_told_apart_all_are_given():
    unmapped = GpuSelection(granted=True, nodes=("/dev/nvidia0",))
    assert all(device.given for device in gpus.devices(snapshot(selection=unmapped).effective))


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (SELECTION, "1 of 4 GPUs given, driver 580.65.06"),
        (GpuSelection(granted=True, devices=("0", "1", "2", "3:0")), "4 GPUs, driver"),
        (GpuSelection(request=GpuRequest.NONE), "0 of 4 GPUs given, as the policy says request: none"),
    ],
)
def test_the_summary_says_how_many_were_given(selection, words):
    assert words in gpus.summary(snapshot(selection=selection).effective)


def test_the_text_has_the_state_the_variable_the_extras_and_what_was_decided():
    text = as_text.render_gpus(snapshot(), (ALICE,))
    assert "* 0     H100, 80 GiB, /dev/nvidia3" in text
    assert "  2     H100, /dev/nvidia1" in text
    assert "held by alice\\x1b[2J, process 42" in text
    assert "CUDA_VISIBLE_DEVICES=GPU-0" in text
    assert "Extra dri: /dev/dri/renderD128" in text
    assert "Notice: GPU 1 is left out" in text


def test_a_holder_in_a_hub_is_named_as_the_hub_knows_it():
    holder = dataclasses.replace(ALICE, user="root", pid=1, hub_user="carol\x1b[2J", hub_server="training")
    text = as_text.render_gpus(snapshot(), (holder,))
    assert "held by carol\\x1b[2J, server training of the hub, account root, since" in text


def test_the_view_of_the_policy_marks_what_was_not_given():
    page = as_html.render(snapshot())
    assert page.count('class="card"') == 1
    assert page.count('class="card off"') == 3


def script(*lines):
    return (sys.executable, "-c", "\n".join(("import sys, time, os", *lines)))


def tell(step, ok="True"):
    return f'print(\'{{"step": "{step}", "ok": {str(ok).lower()}, "detail": "", "hint": ""}}\', flush=True)'


def checked(*lines, seconds=30.0, selection=SELECTION):
    told = []
    steps = gpu_check.check(
        snapshot(selection=selection).effective, told.append, seconds=seconds, command=script(*lines)
    )
    assert tuple(told) == steps
    return [(step.step, step.ok) for step in steps]


def test_each_step_is_told_as_it_comes():
    assert checked(tell("one"), tell("two", ok=False)) == [("one", True), ("two", False)]


def test_a_check_that_hangs_is_ended_and_told():
    assert checked(tell("one"), "time.sleep(600)", seconds=1.0) == [("one", True), ("the check ends", False)]


def test_a_crash_is_told():
    assert checked(tell("one"), "os.abort()") == [("one", True), ("the check ends", False)]


def test_a_check_that_says_nothing_failed():
    assert checked("sys.exit(3)") == [("the check starts", False)]


def test_without_a_gpu_nothing_is_run():
    assert checked("sys.exit(3)", selection=GpuSelection()) == []


def test_the_check_is_told_how_many_devices_to_expect_and_which_nodes():
    asked = checked("print('{\"step\": \"' + ' '.join(sys.argv[1:]) + '\", \"ok\": true}')")
    assert asked == [("1 /dev/nvidiactl /dev/nvidia3", True)]
