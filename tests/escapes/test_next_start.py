"""What a kernel leaves behind does not widen the next start, and a start that is tricked is no way out."""

import pytest

from escapes.conftest import POLICY

MARKER = "escaped"


@pytest.fixture
def start(side):
    """Start a kernel of the test's own, on a world as it was at first, and return what that gave."""
    side.ask("stop_all")
    side.ask("repair")

    def start(kind, **options):
        return side.ask("start", "own", kind, **options)

    yield start
    side.ask("stop_all")
    side.ask("empty_workspace")
    side.ask("remove", MARKER)


def attack(side, expression):
    return side.ask("attack", "own", expression)


def marker(side):
    return f"{side.folder}/home/{MARKER}"


@pytest.mark.parametrize("trick", ["leave_modules", "leave_startup"])
@pytest.mark.parametrize("kind", ["openshell-gpu", "python3"])
def test_code_left_for_the_next_start_runs_confined_only(side, start, kind, trick):
    assert start(kind)["refused"] == ""
    assert attack(side, f"{trick}({marker(side)!r})")["outcome"] == "nothing"
    side.ask("stop", "own")
    start(kind)
    assert side.ask("exists", MARKER) == (kind == "python3")


@pytest.mark.parametrize("kind", ["openshell-gpu", "python3"])
def test_an_inherited_descriptor_is_closed(side, start, kind):
    assert start(kind, leak=True)["refused"] == ""
    assert (attack(side, "open_descriptors()")["outcome"] == "nothing") == (kind == "openshell-gpu")


@pytest.mark.parametrize("kind", ["openshell-gpu", "python3"])
def test_what_is_typed_where_the_server_was_started_is_not_read(side, start, kind):
    assert start(kind, terminal=True)["refused"] == ""
    side.ask("type", "password\n")
    # Its stderr is a pipe that it can only write to.
    assert (attack(side, "typed_by_the_user()")["outcome"] in ("nothing", "EBADF")) == (kind == "openshell-gpu")


def test_a_policy_that_the_kernel_wrote_is_refused_until_a_person_trusts_it(side, start):
    assert start("openshell-gpu")["refused"] == ""
    policy = f"version: 1\nfilesystem_policy: {{read_only: [/usr], read_write: [{side.folder}/home]}}\n"
    assert attack(side, f"write('openshell-policy.yaml', {policy!r})")["outcome"] == "works"
    side.ask("stop", "own")
    assert "jupyter openshell trust" in start("openshell-gpu")["refused"]


def test_a_pipe_in_place_of_a_policy_does_not_hold_up_the_server(side, start):
    side.ask("make_pipe", "notebooks/openshell-policy.yaml")
    assert "openshell-policy.yaml" in start("openshell-gpu")["refused"]


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nfilesystem: {}\n",
        "version: 1\nfilesystem_policy: [\n",
        "\0",
        "version: 2\n",
        "version: 1\nlandlock: {compatibility: hard}\n",
    ],
)
def test_a_malformed_policy_starts_nothing(start, text):
    assert "PolicyError" in start("openshell-gpu", policy=text)["refused"]


def test_a_missing_path_a_pipe_and_a_device_in_the_policy_void_no_other_rule(side, start):
    side.ask("make_pipe", "notebooks/pipe")
    listed = f"[/nowhere, {side.folder}/home/notebooks/pipe, /dev/zero, /usr]"
    policy = f"version: 1\nfilesystem_policy: {{read_only: {listed}}}\nlandlock: {{compatibility: best_effort}}\n"
    assert start("openshell-gpu", policy=policy)["refused"] == ""
    assert attack(side, "read(secret)")["outcome"] == "EACCES"


@pytest.mark.parametrize("compatibility", ["hard_requirement", "best_effort"])
def test_a_read_only_file_in_a_read_write_folder_is_an_error_or_shown(side, start, compatibility):
    folder = f"{side.folder}/home/other"
    policy = (
        f"version: 1\nfilesystem_policy: {{read_only: [/usr, /proc, {folder}/own.txt], read_write: [{folder}]}}\n"
        f"landlock: {{compatibility: {compatibility}}}\n"
    )
    refused = start("openshell-gpu", policy=policy)["refused"]
    if compatibility == "hard_requirement":
        assert f"{folder}/own.txt" in refused
    else:
        assert refused == ""
        assert any(f"{folder}/own.txt" in notice for notice in side.ask("snapshot", "own")["effective"]["notices"])


@pytest.mark.parametrize("again", ["start", "restart"])
def test_a_folder_that_a_kernel_exchanged_for_a_link_is_not_granted(side, start, again):
    """The kernel of a project's folder makes the folder of another kernel in it a link to another project."""
    side.ask("make_folder", "notebooks/way")
    assert start("openshell-gpu")["refused"] == ""
    other = {"cwd": "notebooks/way", "policy": POLICY}
    if again == "restart":
        assert side.ask("start", "beneath", "openshell-gpu", **other)["refused"] == ""
    assert attack(side, "os.rename('way', 'gone') or os.symlink('../other', 'way') or 'swapped'")["outcome"] == "works"
    if again == "restart":
        refused = side.ask("restart", "beneath")["refused"]
    else:
        refused = side.ask("start", "beneath", "openshell-gpu", **other)["refused"]
    assert refused or side.ask("attack", "beneath", "read(home + '/other/own.txt')")["outcome"] != "works"


def test_the_kernels_home_is_its_own(side, start):
    assert start("openshell-gpu")["refused"] == ""
    result = attack(side, "write(os.path.expanduser('~/.bashrc'))")
    assert (result["outcome"], result["changed"]) == ("works", [])
