"""What is recorded as seen on NVIDIA's hardware was seen there."""

import os

import pytest
from support import gpu_results

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes need root")

HEADER, ROWS = ("What", "Seen"), [("cuInit", "works | fails")]


@pytest.fixture
def machine(tmp_path):
    """A machine as NVIDIA's driver leaves it, and a page."""
    for folder in ("dev", "proc", "sys/module/nvidia"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc" / "devices").write_text("Character devices:\n  1 mem\n195 nvidia-frontend\n\nBlock devices:\n")
    for name, minor in (("nvidiactl", 255), ("nvidia0", 0)):
        os.mknod(tmp_path / "dev" / name, 0o20666, os.makedev(195, minor))
    return tmp_path


def record(machine):
    page = machine / "results.md"
    page.write_text("# On real GPUs\n")
    gpu_results.add(page, "Tests on a GPU", HEADER, ROWS, root=machine)
    return page.read_text()


def test_a_table_is_added_to_the_page(machine):
    page = record(machine).splitlines()
    assert page[0] == "# On real GPUs"
    assert page[2].endswith(": Tests on a GPU")
    assert page[4:] == ["| What | Seen |", "| --- | --- |", "| cuInit | works / fails |"]


def without_a_control_node(machine):
    (machine / "dev" / "nvidiactl").unlink()


def with_a_gpu_of_another_number(machine):
    os.mknod(machine / "dev" / "nvidia1", 0o20666, os.makedev(1, 3))


def with_a_file_for_a_gpu(machine):
    (machine / "dev" / "nvidia1").touch()


def without_a_driver_of_that_number(machine):
    (machine / "proc" / "devices").write_text("Character devices:\n  1 mem\n195 other\n511 nvidia-uvm\n")


def without_the_drivers_module(machine):
    (machine / "sys" / "module" / "nvidia").rmdir()


def without_anything(machine):
    (machine / "dev" / "nvidiactl").unlink()
    (machine / "dev" / "nvidia0").unlink()


@pytest.mark.parametrize(
    "spoil",
    [
        without_a_control_node,
        with_a_gpu_of_another_number,
        with_a_file_for_a_gpu,
        without_a_driver_of_that_number,
        without_the_drivers_module,
        without_anything,
    ],
)
def test_nothing_is_recorded_of_stand_ins(machine, spoil):
    spoil(machine)
    with pytest.raises(gpu_results.NoHardwareError):
        record(machine)
    assert (machine / "results.md").read_text() == "# On real GPUs\n"
