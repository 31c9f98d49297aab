"""Device nodes are found by exact names, and a signature shows when hardware or driver changed."""

import os

import pytest

from openshell_kernel.gpu.nodes import device_nodes, signature


def tree(root, *names):
    (root / "dev").mkdir()
    for name in names:
        (root / "dev" / name).touch()
    return root


def test_nodes_come_in_natural_order_whatever_the_folder_says(tmp_path):
    tree(
        tmp_path,
        "nvidiactl",
        "nvidia10",
        "nvidia-uvm-tools",
        "nvidia2",
        "nvidia-uvm",
        "dxg",
        "nvidia-modeset",
        "nvidia0",
    )
    assert device_nodes(tmp_path) == (
        "/dev/dxg",
        "/dev/nvidia0",
        "/dev/nvidia2",
        "/dev/nvidia10",
        "/dev/nvidia-modeset",
        "/dev/nvidia-uvm",
        "/dev/nvidia-uvm-tools",
        "/dev/nvidiactl",
    )


@pytest.mark.parametrize(
    "name",
    [
        "nvidia",
        "nvidia0x",
        "nvidia-1",
        "nvidia 1",
        "nvidia1\n",
        "nvidia٣",
        "nvidia-uvm1",
        "nvidiactl0",
        "dxg0",
        "xnvidia0",
        "Nvidia0",
        "nvidia-fs0",
    ],
)
def test_a_name_that_only_looks_like_a_node_is_none(tmp_path, name):
    assert device_nodes(tree(tmp_path, name, "nvidia7")) == ("/dev/nvidia7",)


def test_a_folder_with_a_nodes_name_is_none(tmp_path):
    (tree(tmp_path) / "dev" / "nvidia0").mkdir()
    assert device_nodes(tmp_path) == ()


def test_a_dangling_link_is_no_node(tmp_path):
    (tree(tmp_path) / "dev" / "nvidia0").symlink_to("nowhere")
    assert device_nodes(tmp_path) == ()


def test_on_the_machine_itself_only_character_devices_are_nodes(tmp_path):
    (tree(tmp_path, "nvidiactl") / "dev" / "nvidia0").symlink_to(os.devnull)
    assert device_nodes(tmp_path, is_machine=lambda _: True) == ("/dev/nvidia0",)


def test_without_a_dev_folder_there_are_no_nodes(tmp_path):
    assert device_nodes(tmp_path) == ()


def test_an_unreadable_dev_has_no_nodes(tmp_path):
    tree(tmp_path, "nvidia0")
    (tmp_path / "dev").chmod(0)
    if os.access(tmp_path / "dev", os.R_OK):
        pytest.skip("this user reads every folder: root's capabilities ignore modes")
    assert device_nodes(tmp_path) == ()


def test_a_dev_that_is_no_folder_has_no_nodes(tmp_path):
    (tmp_path / "dev").touch()
    assert device_nodes(tmp_path) == ()


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
    ],
)
def test_a_change_of_hardware_or_driver_changes_the_signature(tmp_path, change):
    before = signature(tree(tmp_path, "nvidiactl", "nvidia0"))
    change(tmp_path)
    assert signature(tmp_path) != before


def test_the_signature_stays_while_other_devices_come_and_go(tmp_path):
    before = signature(tree(tmp_path, "nvidiactl", "nvidia0"))
    (tmp_path / "dev/loop0").touch()
    assert signature(tmp_path) == before
