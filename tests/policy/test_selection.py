"""The policy's request decides which GPUs a kernel is given, and every GPU that is not given is out of reach."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.errors import check_message

from openshell_kernel.base.claims import Holder
from openshell_kernel.base.hardware import Extra, Family, Gpu, Hardware, MigDevice, RenderNode, Status
from openshell_kernel.errors import PolicyError
from openshell_kernel.policy.model import GpuPolicy
from openshell_kernel.policy.selection import select

CONTROL = ("/dev/nvidiactl", "/dev/nvidia-uvm")


def gpu(index, minor=None, **changes):
    return Gpu(
        index=index,
        minor=index if minor is None else minor,
        uuid=f"GPU-{index:04d}",
        name="H100",
        memory=80 << 30,
        pci_address=f"0000:{0x60 + index:02x}:00.0",
        **changes,
    )


def machine(*gpus, nodes=None, **changes):
    own = tuple(f"/dev/nvidia{device.minor}" for device in gpus) if nodes is None else nodes
    return Hardware(
        **{"status": Status.OK, "detail": "", "present": True, "gpus": gpus, "nodes": (*own, *CONTROL), **changes}
    )


# The minors are not the indices.
FOUR = machine(gpu(0, 3), gpu(1, 2), gpu(2, 1), gpu(3, 0))
MIG_DEVICES = (
    MigDevice(index=0, uuid="MIG-aaaa", name="1g.5gb", capabilities=("/dev/nvidia-caps/nvidia-cap12", "/cap13")),
    MigDevice(index=1, uuid="MIG-bbbb", name="1g.5gb", capabilities=("/dev/nvidia-caps/nvidia-cap12", "/cap14")),
)
DIVIDED = machine(gpu(0, mig=True, mig_devices=MIG_DEVICES), gpu(1))
NO_GPU = Hardware(status=Status.NO_LIBRARY, detail="no library was found")
LOST = machine(gpu(0), Gpu(index=1, fault="GPU is lost"), gpu(2), status=Status.INCOMPLETE, detail="GPU 1: GPU is lost")
FAULTS = [status for status in Status if status not in (Status.OK, Status.INCOMPLETE)]
CAROL = Holder(
    uuids=("GPU-0000",),
    user="root",
    pid=1,
    since="2026-11-24T10:00:00+00:00",
    hub_user="carol\x1b[2J",
    hub_server="gpu\n",
)
ALICE = Holder(uuids=("GPU-0000", "GPU-0001"), user="alice", pid=42, since="2026-11-24T10:00:00+00:00")


def request(**keys):
    return GpuPolicy.model_validate(keys)


def loaded(hardware, *loads):
    """The same GPUs, each this busy in percent and with so much memory in use."""
    gpus = [
        dataclasses.replace(device, busy=busy, used=used)
        for device, (busy, used) in zip(hardware.gpus, loads, strict=True)
    ]
    return dataclasses.replace(hardware, gpus=tuple(gpus))


def chosen(hardware=FOUR, *, visible=None, held=(), preferred=(), **keys):
    return select(request(**keys), hardware, visible=visible, held=held, preferred=preferred)


def refusal(hardware=FOUR, **keys):
    with pytest.raises(PolicyError) as caught:
        chosen(hardware, **keys)
    return str(caught.value)


def test_by_default_all_that_is_there_is_given():
    selection = chosen()
    assert selection.devices == ("0", "1", "2", "3")
    assert set(selection.nodes) == {"/dev/nvidia0", "/dev/nvidia1", "/dev/nvidia2", "/dev/nvidia3"}
    assert selection.visible == "GPU-0000,GPU-0001,GPU-0002,GPU-0003"
    assert selection.hold == ()


def test_none_gives_nothing_where_there_is_something():
    selection = chosen(request="none")
    assert (selection.granted, selection.nodes, selection.visible) == (False, (), "")


@pytest.mark.parametrize(
    "name",
    ["1", 1, "GPU-0001", "gpu-0001", "0000:61:00.0", "00000000:61:00.0", "61:00.0"],
)
def test_a_gpu_is_named_by_index_uuid_or_pci_address_and_its_node_by_its_minor(name):
    selection = chosen(devices=[name])
    assert (selection.devices, selection.nodes, selection.visible) == (("1",), ("/dev/nvidia2",), "GPU-0001")
    assert selection.hold == ("GPU-0001",)


def test_the_order_is_that_of_the_policys_list():
    assert chosen(devices=[2, 0]).visible == "GPU-0002,GPU-0000"
    assert chosen(devices=[2, 0, "GPU-0002"]).devices == ("2", "0")


def test_the_beginning_of_a_uuid_names_the_one_gpu_that_it_fits():
    found = machine(dataclasses.replace(gpu(0), uuid="GPU-ab12"), dataclasses.replace(gpu(1), uuid="GPU-cd34"))
    assert chosen(found, devices=["GPU-cd34"]).devices == ("1",)
    assert chosen(found, devices=["GPU-ab12"]).devices == ("0",)
    twins = machine(dataclasses.replace(gpu(0), uuid="GPU-abcd-1"), dataclasses.replace(gpu(1), uuid="GPU-abcd-2"))
    assert "GPU-abcd" in refusal(twins, devices=["GPU-abcd"])


@pytest.mark.parametrize("kind", ["auto", "required"])
@pytest.mark.parametrize("name", [7, "GPU-ffff", "0000:99:00.0", "MIG-abcd", "0:1"])
def test_a_device_that_does_not_exist_stops_the_start_and_names_what_does(kind, name):
    text = refusal(request=kind, devices=[0, name])
    check_message(text, repr(str(name)), "GPU 3", "GPU-0003", "0000:63:00.0", at="jupyter.gpu")


@pytest.mark.parametrize("status", FAULTS)
@pytest.mark.parametrize("keys", [{}, {"count": 1}, {"devices": [0]}], ids=["all", "count", "devices"])
def test_what_is_required_and_not_there_stops_the_start_with_the_reason(status, keys):
    for hardware in (
        Hardware(status=status, detail="the driver is unwell"),
        machine(status=status, detail="the driver is unwell", nodes=("/dev/nvidia0",)),
    ):
        assert "the driver is unwell" in refusal(hardware, request="required", **keys)


@pytest.mark.parametrize("status", FAULTS)
def test_whatever_nvml_says_the_nodes_that_are_there_are_given_where_none_is_named(status):
    selection = chosen(machine(status=status, nodes=("/dev/nvidia0", "/dev/nvidia5")))
    assert (selection.granted, selection.nodes) == (True, ("/dev/nvidia0", "/dev/nvidia5"))
    assert selection.visible is None


@pytest.mark.parametrize("status", FAULTS)
@pytest.mark.parametrize("keys", [{"count": 2}, {"devices": [0]}], ids=["count", "devices"])
def test_where_nvml_tells_nothing_auto_gives_none_of_the_gpus_asked_for_and_says_so(status, keys):
    selection = chosen(machine(status=status, detail="the driver is unwell", nodes=("/dev/nvidia0",)), **keys)
    assert (selection.granted, selection.nodes, selection.visible) == (False, (), "")
    assert selection.notices


def test_a_machine_without_gpus_is_no_trouble_for_auto():
    assert chosen(NO_GPU).notices == ()
    assert chosen(NO_GPU).visible is None
    assert "no library was found" in chosen(NO_GPU, count=1).notices[0]


@pytest.mark.parametrize("keys", [{}, {"count": 3}, {"devices": [0, 1, 2]}], ids=["all", "count", "devices"])
def test_auto_goes_on_without_a_lost_gpu_and_says_so(keys):
    selection = chosen(LOST, **keys)
    assert selection.nodes == ("/dev/nvidia0", "/dev/nvidia2")
    assert any("GPU is lost" in notice for notice in selection.notices)


@pytest.mark.parametrize("keys", [{}, {"count": 3}, {"devices": [0, 1]}], ids=["all", "count", "devices"])
def test_required_stops_for_a_lost_gpu(keys):
    assert "GPU is lost" in refusal(LOST, request="required", **keys)


def test_required_goes_on_where_the_lost_gpu_is_not_asked_for():
    assert chosen(LOST, request="required", devices=[2]).nodes == ("/dev/nvidia2",)
    assert chosen(LOST, request="required", count=2).devices == ("0", "2")


def test_a_gpu_whose_node_is_missing_is_left_out():
    found = machine(gpu(0), gpu(1), nodes=("/dev/nvidia0",))
    assert chosen(found).nodes == ("/dev/nvidia0",)
    assert "/dev/nvidia1" in chosen(found).notices[0]
    assert "/dev/nvidia1" in refusal(found, request="required", devices=[1])


@pytest.mark.parametrize(
    ("hardware", "told"),
    [
        (dataclasses.replace(machine(gpu(0)), nodes=("/dev/nvidia0", "/dev/nvidiactl")), True),
        (Hardware(status=Status.ERROR, detail="", present=True, nodes=("/dev/nvidia0", "/dev/nvidiactl")), True),
        (machine(gpu(0)), False),
        (Hardware(status=Status.OK, detail="", present=True, gpus=(gpu(0),), nodes=("/dev/nvmap",)), False),
    ],
    ids=["a GPU", "nodes of which NVML does not tell", "a GPU with all nodes", "Jetson, where there is none"],
)
def test_a_node_that_cuda_needs_and_no_sandbox_could_make_is_missed(hardware, told):
    assert any("nvidia-modprobe -u" in notice for notice in chosen(hardware).notices) == told
    assert chosen(hardware, request="none").notices == ()


def test_where_minors_are_not_told_all_nodes_are_given_but_for_a_named_gpu():
    found = machine(dataclasses.replace(gpu(0), minor=None), nodes=("/dev/nvidia0", "/dev/nvidia1"))
    assert chosen(found).nodes == ("/dev/nvidia0", "/dev/nvidia1")
    assert "minor" in refusal(found, request="required", devices=[0])
    assert "minor" in chosen(found, count=1).notices[0]


def test_count_takes_the_least_loaded_in_the_order_of_their_indices():
    busy = loaded(FOUR, (90, 5), (0, 9), (0, 1), (99, 0))
    assert chosen(busy, count=1).devices == ("2",)
    assert chosen(busy, count=2).devices == ("1", "2")
    assert chosen(busy, count=3).devices == ("0", "1", "2")


def test_count_passes_over_what_others_hold():
    selection = chosen(count=2, held=[ALICE])
    assert (selection.devices, selection.hold) == (("2", "3"), ("GPU-0002", "GPU-0003"))


def test_count_prefers_what_the_kernel_held_before():
    busy = loaded(FOUR, (0, 0), (0, 0), (50, 0), (50, 0))
    assert chosen(busy, count=2, preferred=["GPU-0003"]).devices == ("0", "3")


def test_who_holds_too_much_for_a_required_count_is_told():
    text = refusal(request="required", count=3, held=[ALICE])
    check_message(text, "GPU 0", "GPU 1", ALICE.describe(), at="jupyter.gpu")


def test_auto_gives_fewer_than_counted_and_says_so():
    selection = chosen(count=3, held=[ALICE])
    assert selection.devices == ("2", "3")
    assert "alice" in selection.notices[0]


def test_a_named_gpu_is_given_although_another_kernel_holds_it_and_that_is_told():
    selection = chosen(devices=[1], held=[ALICE])
    assert selection.devices == ("1",)
    assert ALICE.describe() in selection.notices[0]


def test_mig_devices_are_selected_one_by_one():
    selection = chosen(DIVIDED, devices=["MIG-bbbb"])
    assert (selection.devices, selection.nodes) == (("0:1",), ("/dev/nvidia0",))
    assert selection.capabilities == ("/dev/nvidia-caps/nvidia-cap12", "/cap14")
    assert (selection.visible, selection.hold) == ("MIG-bbbb", ("MIG-bbbb",))
    assert chosen(DIVIDED, devices=["0:1"]) == selection


def test_the_name_of_a_divided_gpu_means_all_of_its_mig_devices():
    for name in ("0", "GPU-0000", "0000:60:00.0"):
        assert chosen(DIVIDED, devices=[name]).devices == ("0:0", "0:1")


def test_count_counts_mig_devices():
    held = [dataclasses.replace(ALICE, uuids=("MIG-aaaa",))]
    assert chosen(DIVIDED, count=2, held=held).devices == ("0:1", "1")


def test_a_divided_gpu_without_instances_cannot_be_used():
    found = machine(gpu(0, mig=True), gpu(1))
    assert chosen(found).devices == ("1",)
    assert "nvidia-smi mig -cgi" in chosen(found).notices[0]


def test_a_mig_device_without_its_nodes_cannot_be_used():
    bare = dataclasses.replace(MIG_DEVICES[0], capabilities=())
    found = machine(gpu(0, mig=True, mig_devices=(bare,)))
    assert chosen(found).granted is False
    assert "/dev/nvidia-caps" in chosen(found).notices[0]


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        ("2", ("2",)),
        ("3,1", ("1", "3")),
        ("GPU-0001", ("1",)),
        ("0,9,1", ("0",)),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
    ],
)
def test_no_gpu_is_given_that_the_servers_own_variable_leaves_out(visible, devices):
    assert chosen(visible=visible).devices == devices
    assert chosen(visible=visible, count=4).devices == devices
    assert set(chosen(visible=visible).nodes) == {f"/dev/nvidia{3 - int(index)}" for index in devices}


def test_a_named_gpu_that_the_servers_variable_leaves_out_is_not_given():
    assert "CUDA_VISIBLE_DEVICES" in refusal(visible="0", devices=[1], request="required")
    assert chosen(visible="0", devices=[0, 1]).devices == ("0",)


@pytest.mark.parametrize("status", FAULTS)
def test_where_nobody_can_tell_what_the_servers_variable_allows_nothing_is_given(status):
    selection = chosen(machine(status=status, nodes=("/dev/nvidia0", "/dev/nvidia1")), visible="1")
    assert (selection.granted, selection.nodes, selection.visible) == (False, (), "")
    assert "CUDA_VISIBLE_DEVICES" in selection.notices[0]


def test_numbers_in_the_servers_variable_are_told_to_be_ambiguous_where_gpus_differ():
    mixed = machine(gpu(0), dataclasses.replace(gpu(1), name="L4"))
    assert "CUDA_DEVICE_ORDER" in chosen(mixed, visible="1").notices[0]
    assert chosen(mixed, visible="GPU-0001").notices == ()


def test_gpus_without_a_uuid_are_held_all_the_same():
    found = machine(*(dataclasses.replace(gpu(index), uuid=None) for index in range(2)))
    first = chosen(found, count=1)
    assert (first.hold, first.visible) == (("0000:60:00.0",), None)
    assert chosen(found, count=1, held=[dataclasses.replace(ALICE, uuids=first.hold)]).devices == ("1",)


def test_a_node_that_is_said_to_be_of_two_gpus_is_given_once():
    found = machine(gpu(0, 0), gpu(1, 0))
    assert chosen(found).devices == ("0",)
    assert "/dev/nvidia0" in chosen(found).notices[0]


@pytest.mark.parametrize("node", ["/dev/dxg", "/dev/nvmap"])
def test_where_gpus_share_one_node_the_variable_selects_and_that_is_no_boundary(node):
    found = machine(dataclasses.replace(gpu(0), minor=None), dataclasses.replace(gpu(1), minor=None), nodes=(node,))
    selection = chosen(found, devices=[1], request="required")
    assert (selection.granted, selection.nodes, selection.visible) == (True, (), "GPU-0001")
    assert found.shares_nodes


def test_a_jetson_without_nvml_has_what_is_required():
    assert chosen(machine(nodes=("/dev/nvmap",), status=Status.NO_LIBRARY), request="required").granted


def test_extras_are_given_where_they_are_asked_for_and_a_render_node_with_its_gpu_only():
    found = machine(
        gpu(0),
        gpu(1),
        render_nodes=(
            RenderNode(pci_address="0000:60:00.0", node="/dev/dri/renderD128"),
            RenderNode(pci_address="0000:61:00.0", node="/dev/dri/renderD129"),
        ),
        extras=(
            Family(name=Extra.IMEX, paths=("/dev/nvidia-caps-imex-channels/channel0",)),
            Family(name=Extra.GDS, paths=()),
        ),
    )
    assert chosen(found).extras == ()
    selection = chosen(found, devices=[1], extras=["dri", "imex", "gds"])
    assert selection.extras == (
        Family(name=Extra.DRI, paths=("/dev/dri/renderD129",)),
        Family(name=Extra.IMEX, paths=("/dev/nvidia-caps-imex-channels/channel0",)),
    )
    assert "gds" in selection.notices[-1]


GPUS = st.builds(
    lambda index, minor, fault, mig: gpu(index, minor, fault=fault, mig=bool(mig), mig_devices=tuple(mig)),
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from([None, None, "GPU is lost"]),
    st.lists(st.sampled_from(MIG_DEVICES), max_size=2, unique=True),
)
HARDWARE = st.builds(
    machine,
    GPUS,
    GPUS,
    nodes=st.lists(st.sampled_from([f"/dev/nvidia{minor}" for minor in range(6)]), unique=True).map(tuple),
    status=st.sampled_from(Status),
    present=st.booleans(),
)
NAMES = st.sampled_from(["0", "1", "2", "GPU-0001", "MIG-aaaa", "0:1", "0000:60:00.0", "7"])
REQUESTS = st.one_of(
    st.builds(request, request=st.sampled_from(["auto", "required"]), count=st.integers(1, 4)),
    st.builds(request, request=st.sampled_from(["auto", "required"]), devices=st.lists(NAMES, max_size=3)),
    st.just(request(request="none")),
)
VISIBLE = st.none() | st.lists(NAMES, max_size=3).map(",".join) | st.text(max_size=8)


@given(REQUESTS, HARDWARE, VISIBLE, st.lists(st.just(ALICE), max_size=1))
def test_only_nodes_of_this_machine_are_given_and_no_input_crashes(wanted, hardware, visible, held):
    try:
        selection = select(wanted, hardware, visible=visible, held=held)
    except PolicyError:
        assert wanted.request == "required" or wanted.devices
        return
    assert set(selection.nodes) <= set(hardware.nodes)
    assert selection.granted or (selection.nodes, selection.capabilities, selection.hold) == ((), (), ())
    if wanted.count is not None:
        assert len(selection.devices) <= wanted.count
        assert not set(selection.hold) & {uuid for holder in held for uuid in holder.uuids}
    if wanted.request == "required":
        assert selection.granted


@given(HARDWARE, st.integers(1, 3), VISIBLE)
def test_two_kernels_that_count_never_hold_the_same(hardware, count, visible):
    first = select(request(count=count), hardware, visible=visible)
    held = [dataclasses.replace(ALICE, uuids=first.hold)]
    second = select(request(count=count), hardware, visible=visible, held=held)
    assert not set(first.hold) & set(second.hold)


def test_a_holder_is_named_as_the_hub_knows_it_and_can_rewrite_no_terminal():
    """In a hub with containers every server is process 1 of the same account."""
    check_message(CAROL.describe(), r"carol\x1b[2J", r"gpu\n", "root", CAROL.since)
    assert CAROL.describe().isprintable()
    check_message(ALICE.describe(), "alice", 42, ALICE.since)
    assert len(dataclasses.replace(CAROL, hub_user="x" * 5000, hub_server="y" * 5000).describe()) < 300
