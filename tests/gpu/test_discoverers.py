"""Each discoverer finds its family on a copy of a machine's tree, by exact names, and nothing else."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from openshell_kernel.base.hardware import Extra, Gpu, Hardware, MigDevice, RenderNode, Status
from openshell_kernel.gpu.discover import by_name, display, dri, jetson, mig, mps, native, survey, topology
from openshell_kernel.gpu.tree import Tree

TREES = Path(__file__).with_name("trees")
CONTROL = ("/dev/nvidia-modeset", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidiactl")
MACHINES = ("workstation", "a100-mig", "dgx", "wsl2", "jetson", "bare", "odd")

ANSWER = Hardware(status=Status.OK, detail="")


def named(family):
    """Return a discoverer of the nodes that these names tell."""

    def nodes(tree):
        return by_name.nodes(tree, family)

    nodes.__module__ = family[0].pattern
    return nodes


FOUND = {
    native.nodes: {
        "workstation": ("/dev/nvidia0", "/dev/nvidia1", *CONTROL),
        "a100-mig": ("/dev/nvidia0", "/dev/nvidia1", *CONTROL),
        "dgx": (*(f"/dev/nvidia{minor}" for minor in range(8)), *CONTROL),
        "odd": ("/dev/nvidia2", "/dev/nvidia7", "/dev/nvidia10", "/dev/nvidiactl"),
    },
    named(by_name.WSL2): {"wsl2": ("/dev/dxg",)},
    jetson.nodes: {
        "jetson": (
            "/dev/host1x-fence",
            "/dev/nvhost-as-gpu",
            "/dev/nvhost-ctrl",
            "/dev/nvhost-ctrl-gpu",
            "/dev/nvhost-gpu",
            "/dev/nvmap",
            "/dev/nvgpu/igpu0/as",
            "/dev/nvgpu/igpu0/channel",
            "/dev/nvgpu/igpu0/ctrl",
        )
    },
    named(by_name.EXTRAS[Extra.IMEX]): {
        "dgx": ("/dev/nvidia-caps-imex-channels/channel0", "/dev/nvidia-caps-imex-channels/channel1"),
    },
    named(by_name.EXTRAS[Extra.NVSWITCH]): {
        "dgx": (
            "/dev/nvidia-nvlink",
            *(f"/dev/nvidia-nvswitch{number}" for number in range(4)),
            "/dev/nvidia-nvswitchctl",
        ),
    },
    named(by_name.EXTRAS[Extra.RDMA]): {
        "dgx": (
            "/dev/infiniband/rdma_cm",
            "/dev/infiniband/uverbs0",
            "/dev/infiniband/uverbs1",
            "/dev/infiniband/uverbs10",
            "/dev/gdrdrv",
        ),
    },
    named(by_name.EXTRAS[Extra.GDS]): {
        "dgx": ("/dev/nvidia-fs0", "/dev/nvidia-fs1", "/dev/nvidia-fs2", "/dev/nvidia-fs10")
    },
    display.paths: {"workstation": ("/tmp/.X11-unix", "/etc/X11")},
    mps.folder: {"dgx": ("/tmp/nvidia-mps",)},
    dri.render_nodes: {
        "workstation": (
            RenderNode(pci_address="0000:01:00.0", node="/dev/dri/renderD129"),
            RenderNode(pci_address="0000:02:00.0", node="/dev/dri/renderD130"),
        ),
        "dgx": tuple(
            RenderNode(pci_address=f"0000:{0x1B + 16 * number:02x}:00.0", node=f"/dev/dri/renderD{128 + number}")
            for number in range(8)
        ),
    },
    lambda tree: mig.capabilities(tree).items(): {
        "a100-mig": (
            ((0, 1, None), "/dev/nvidia-caps/nvidia-cap12"),
            ((0, 1, 0), "/dev/nvidia-caps/nvidia-cap13"),
            ((0, 1, 1), "/dev/nvidia-caps/nvidia-cap14"),
            ((0, 2, None), "/dev/nvidia-caps/nvidia-cap21"),
            ((0, 2, 0), "/dev/nvidia-caps/nvidia-cap22"),
        ),
        "odd": (((0, 1, None), "/dev/nvidia-caps/nvidia-cap5"),),
    },
    topology.folders: {
        "workstation": ("/sys/devices/pci0000:00",),
        "dgx": tuple(f"/sys/devices/pci0000:{0x1A + 16 * number:02x}" for number in range(8)),
        "odd": ("/sys/devices/pci0000:00",),
    },
}
CASES = [
    pytest.param(
        discoverer, machine, found.get(machine, ()), id=f"{discoverer.__module__.rpartition('.')[2]} on {machine}"
    )
    for discoverer, found in FOUND.items()
    for machine in MACHINES
]


@pytest.mark.parametrize(("discoverer", "machine", "expected"), CASES)
def test_a_family_is_found_where_it_is_and_nowhere_else(discoverer, machine, expected):
    assert set(discoverer(Tree(TREES / machine))) == set(expected)


def test_nodes_come_in_natural_order():
    assert native.nodes(Tree(TREES / "odd"))[:3] == ("/dev/nvidia2", "/dev/nvidia7", "/dev/nvidia10")


def test_all_families_are_surveyed():
    found = survey(ANSWER, Tree(TREES / "dgx"))
    assert {family.name for family in found.extras if family.paths} == {"imex", "nvswitch", "rdma", "gds", "mps"}
    assert len(found.render_nodes) == 8
    assert found.present
    bare = survey(ANSWER, Tree(TREES / "bare"))
    assert [family.name for family in bare.extras] == ["display", "imex", "nvswitch", "rdma", "gds", "mps"]
    assert replace(bare, extras=()) == ANSWER
    assert not any(family.paths for family in bare.extras)


def test_a_mig_device_is_told_with_the_two_nodes_that_open_it_or_with_none():
    instances = ((1, 0), (1, 1), (2, 0), (1, 7), (3, 0), (1, None))
    devices = tuple(
        MigDevice(index=index, gpu_instance=gpu_instance, compute_instance=compute_instance)
        for index, (gpu_instance, compute_instance) in enumerate(instances)
    )
    gpus = (Gpu(index=0, minor=0, mig=True, mig_devices=devices), Gpu(index=1, minor=1, mig=True, mig_devices=devices))
    first, second = survey(replace(ANSWER, gpus=gpus), Tree(TREES / "a100-mig")).gpus
    node = "/dev/nvidia-caps/nvidia-cap"
    assert [device.capabilities for device in first.mig_devices] == [
        (f"{node}12", f"{node}13"),
        (f"{node}12", f"{node}14"),
        (f"{node}21", f"{node}22"),
        (),
        (),
        (),
    ]
    assert not any(device.capabilities for device in second.mig_devices)


@pytest.mark.parametrize("tree", ["missing", "bare/dev/null"], ids=["no tree at all", "a file instead of a folder"])
def test_where_there_is_no_tree_nothing_is_found(tree):
    assert survey(ANSWER, Tree(TREES / tree)).nodes == ()


@pytest.mark.parametrize("name", ["nvidia٣", "nvidia1\n", "nvidia0\udcff"])
def test_a_name_that_only_looks_like_a_node_is_none(tmp_path, name):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / name).touch()
    assert native.nodes(Tree(tmp_path)) == ()


def test_a_folder_with_a_nodes_name_is_none(tmp_path):
    (tmp_path / "dev/nvidia0").mkdir(parents=True)
    assert native.nodes(Tree(tmp_path)) == ()


def test_a_dangling_link_is_no_node(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").symlink_to("nowhere")
    assert native.nodes(Tree(tmp_path)) == ()


def test_on_the_machine_itself_only_character_devices_are_nodes(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    (tmp_path / "dev/nvidia0").symlink_to(os.devnull)
    assert native.nodes(Tree(tmp_path, is_machine=lambda _: True)) == ("/dev/nvidia0",)


def test_in_an_unreadable_folder_nothing_is_found(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    (tmp_path / "dev").chmod(0)
    try:
        if os.access(tmp_path / "dev", os.R_OK):
            pytest.skip("this user reads every folder: root's capabilities ignore modes")
        assert native.nodes(Tree(tmp_path)) == ()
    finally:
        (tmp_path / "dev").chmod(0o700)


def test_the_folder_of_mps_is_where_the_server_says_if_a_daemon_made_it(tmp_path):
    (tmp_path / "run/mps").mkdir(parents=True)
    assert mps.folder(Tree(tmp_path), "/run/mps") == ()
    (tmp_path / "run/mps/control").touch()
    assert mps.folder(Tree(tmp_path), "/run/mps/") == ("/run/mps",)


def test_the_topology_is_read_where_links_of_sysfs_lead(tmp_path):
    azure = "LNXSYSTM:00/LNXSYBUS:00/ACPI0004:00/VMBUS:00"
    for link, target in {
        "bus/pci/devices/0000:01:00.0": "pci0000:00/0000:00:01.0/0000:01:00.0",
        "bus/pci/devices/0001:00:00.0": f"{azure}/47505500-0001/pci0001:00/0001:00:00.0",
        "bus/pci/devices/0002:00:00.0": f"{azure}/47505500-0002/pci0002:00/0002:00:00.0",
        "class/net/ib0": f"{azure}/47505500-0002/pci0002:00/0002:00:00.0/net/ib0",
        "class/net/eth0": f"{azure}/000d3a00-0003/net/eth0",
        "class/net/lo": "virtual/net/lo",
        "class/net/docker0": "virtual/net/docker0",
        "class/net/eth1": "pci0000:00/0000:00:01.0/virtio2/net/eth1",
    }.items():
        (tmp_path / "sys/devices" / target).mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys" / link).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys" / link).symlink_to("../" * link.count("/") + f"devices/{target}")
    # What is no link, or leads elsewhere, tells of no device.
    (tmp_path / "sys/class/net/bonding_masters").touch()
    (tmp_path / "sys/class/net/odd").symlink_to("../../../etc/net/odd")
    assert topology.folders(Tree(tmp_path)) == (
        "/sys/devices/pci0000:00",
        f"/sys/devices/{azure}/47505500-0001/pci0001:00",
        f"/sys/devices/{azure}/47505500-0002/pci0002:00",
        "/sys/devices/virtual/net",
        f"/sys/devices/{azure}/000d3a00-0003/net",
    )


def machine(root, *names):
    for name in names:
        (root / "dev" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "dev" / name).touch()
    return Tree(root)


def signature(tree):
    return (native.signature(tree), mig.signature(tree))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda root: (root / "dev/nvidia1").touch(), id="a node appears"),
        pytest.param(lambda root: (root / "dev/nvidia0").unlink(), id="a node goes"),
        pytest.param(lambda root: (root / "dev/nvidia0").chmod(0o600), id="a node's mode changes"),
        pytest.param(lambda root: (root / "sys/module/nvidia").mkdir(parents=True), id="the driver is loaded"),
        pytest.param(
            lambda root: (root / "proc/driver/nvidia/gpus/0000:65:00.0").mkdir(parents=True), id="a GPU appears"
        ),
        pytest.param(
            lambda root: (root / "proc/driver/nvidia/capabilities/gpu0/mig/gi1").mkdir(parents=True),
            id="a MIG instance is made",
        ),
        pytest.param(lambda root: (root / "dev/nvidia-caps/nvidia-cap3").touch(), id="a capability's node is made"),
    ],
)
def test_a_change_of_hardware_or_driver_changes_the_signature(tmp_path, change):
    before = signature(machine(tmp_path, "nvidiactl", "nvidia0", "nvidia-caps/nvidia-cap1"))
    change(tmp_path)
    assert signature(Tree(tmp_path)) != before


def test_the_signature_stays_while_other_devices_come_and_go(tmp_path):
    before = signature(machine(tmp_path, "nvidiactl", "nvidia0"))
    (tmp_path / "dev/loop0").touch()
    assert signature(Tree(tmp_path)) == before
