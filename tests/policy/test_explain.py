"""What is said of a path is what Landlock does with the rules."""

import os
from dataclasses import replace

import pytest
from fakes.snapshots import effective, rule
from hypothesis import given
from hypothesis import strategies as st
from support.errors import check_message

from openshell_kernel.base.text import printable
from openshell_kernel.policy.effective import (
    DEVICE_RIGHTS,
    PROC_READ_RIGHTS,
    PROC_WRITE_RIGHTS,
    READ_RIGHTS,
    WRITE_RIGHTS,
    Access,
    Conflict,
    Origin,
    Rule,
    Skipped,
)
from openshell_kernel.policy.explain import Action, Guarded, Kind, is_program, kind_of, why, yaml_block, yaml_scalar
from openshell_kernel.policy.protected_paths import ProtectedPath

READ_WRITE = Access.READ_WRITE
FILE_READ = ("execute", "read_file")


def ask(policy, path, tree, links=None, home="", places=()):
    """Explain a path in a made-up tree: a dict of path to kind."""
    verdicts = why(
        policy,
        path,
        guarded=Guarded(home=home, places=places),
        resolve=lambda p: (links or {}).get(p, p),
        kind=tree.get,
        runnable=lambda p: p.endswith(("/tool", "/env")),
    )
    return {verdict.action: verdict for verdict in verdicts}


def allowed(policy, path, tree):
    return tuple(verdict.allowed for verdict in ask(policy, path, tree).values())


TREE = {
    "/": Kind.DIRECTORY,
    "/data": Kind.DIRECTORY,
    "/data/set": Kind.DIRECTORY,
    "/data/set/a.csv": Kind.FILE,
    "/data/set/tool": Kind.FILE,
    "/database": Kind.FILE,
    "/proc": Kind.DIRECTORY,
    "/proc/self/comm": Kind.FILE,
    "/dev": Kind.DIRECTORY,
    "/dev/nvidia0": Kind.DEVICE,
    "/run/docker.sock": Kind.OTHER,
}


@pytest.mark.parametrize(
    ("rights", "path", "expected"),
    [
        (READ_RIGHTS, "/data/set/a.csv", (True, False)),
        (WRITE_RIGHTS, "/data/set/a.csv", (True, True)),
        (READ_RIGHTS, "/data/set/tool", (True, False, True)),
        (WRITE_RIGHTS, "/data/set/tool", (True, True, True)),
        (READ_RIGHTS, "/data/set", (True, False, True)),
        (WRITE_RIGHTS, "/data/set", (True, True, True)),
        (READ_RIGHTS, "/data", (True, False, True)),
        (WRITE_RIGHTS, "/data/set/new.csv", (True, True)),
        (READ_RIGHTS, "/data/set/new.csv", (True, False)),
        (WRITE_RIGHTS, "/data/out/deep/new.csv", (True, True)),
        (("read_file", "write_file", "make_reg"), "/data/set/new.csv", (True, True)),
        (("read_file", "write_file", "make_reg"), "/data/out/deep/new.csv", (True, False)),
        (WRITE_RIGHTS, "/database", (False, False)),
        (WRITE_RIGHTS, "/", (False, False, False)),
        (WRITE_RIGHTS, "/nowhere", (False, False)),
        (("read_dir", "execute"), "/data/set/tool", (False, False, True)),
        (("read_dir", "make_reg"), "/data/set", (True, False, False)),
        (("read_dir", "write_file"), "/data/set", (True, False, False)),
    ],
)
def test_a_folder_rule_covers_what_is_at_it_and_beneath_it_and_nothing_else(rights, path, expected):
    assert allowed(effective(rule("/data", rights=rights)), path, TREE) == expected


def test_the_rules_above_a_path_add_up():
    """Nothing can be denied beneath an allowed folder."""
    policy = effective(rule("/data", READ_WRITE), rule("/data/set", rights=READ_RIGHTS))
    verdicts = ask(policy, "/data/set/a.csv", TREE)
    assert verdicts[Action.WRITE].rule.path == "/data"
    assert verdicts[Action.READ].rule.path == "/data/set"


def test_a_file_rule_covers_that_file_only():
    policy = effective(rule("/data/set/a.csv", rights=FILE_READ))
    assert allowed(policy, "/data/set/a.csv", TREE) == (True, False)
    assert allowed(policy, "/data/set/a.csv/x", TREE) == (False, False)
    assert allowed(policy, "/data/set/tool", TREE) == (False, False, False)


def test_a_file_rule_does_not_outlive_its_file():
    policy = effective(rule("/data/set/gone", rights=FILE_READ))
    assert allowed(policy, "/data/set/gone", TREE) == (False, False)
    assert ask(effective(rule("/data/set/tool", rights=FILE_READ)), "/data/set/tool", TREE)[Action.READ].notes


def test_a_rule_is_judged_by_the_place_that_it_bound_to():
    policy = effective(rule("/data/set", READ_WRITE))
    bound = policy.rules[0].__class__(
        path="/home/link", access=READ_WRITE, rights=WRITE_RIGHTS, origin=Origin.POLICY, reason="", resolved="/data/set"
    )
    assert allowed(effective(bound), "/data/set/a.csv", TREE) == (True, True)
    assert allowed(effective(bound), "/home/link", {**TREE, "/home/link": Kind.DIRECTORY}) == (False, False, False)


def test_the_rule_that_names_a_folder_counts_before_one_that_leads_there_through_a_link():
    """/bin is a link to usr/bin on most systems, and deeper than a rule for /usr."""
    link = Rule(
        path="/bin",
        access=Access.READ_ONLY,
        rights=READ_RIGHTS,
        origin=Origin.RUNTIME_BASELINE,
        reason="",
        resolved="/usr/bin",
    )
    tree = {"/": Kind.DIRECTORY, "/usr": Kind.DIRECTORY, "/usr/bin": Kind.DIRECTORY, "/usr/bin/env": Kind.FILE}
    policy = effective(rule("/usr"), link)
    for action in (Action.READ, Action.EXECUTE):
        assert ask(policy, "/usr/bin/env", tree)[action].rule.path == "/usr"
        assert ask(effective(link), "/usr/bin/env", tree)[action].rule.path == "/bin"
    # Asked for by the link's own name, the rule for the link is what says it.
    assert ask(policy, "/bin/env", tree, {"/bin/env": "/usr/bin/env"})[Action.READ].rule.path == "/bin"


def test_a_path_is_judged_by_what_its_links_lead_to():
    verdict = ask(effective(rule("/data")), "/home/link", TREE, {"/home/link": "/data/set/a.csv"})[Action.READ]
    assert verdict.allowed
    assert verdict.real == "/data/set/a.csv"


def test_the_root_folder_as_a_rule_covers_everything():
    assert allowed(effective(rule("/")), "/data/set/tool", TREE) == (True, False, True)


def test_what_is_refused_names_the_line_to_add():
    verdicts = ask(effective(), "/data/set/a.csv", TREE)
    reading, writing = verdicts[Action.READ].remedy, verdicts[Action.WRITE].remedy
    assert (reading.access, reading.path) == (Access.READ_ONLY, "/data/set/a.csv")
    assert (writing.access, writing.path) == (READ_WRITE, "/data/set/a.csv")
    assert yaml_block((writing, reading)) == (
        "filesystem_policy:\n  read_only: [/data/set/a.csv]\n  #read_write: [/data/set/a.csv]"
    )
    assert verdicts[Action.READ].rule is None


def test_what_is_allowed_needs_no_remedy():
    assert all(v.remedy is None for v in ask(effective(rule("/data", READ_WRITE)), "/data", TREE).values())


def test_a_new_file_needs_its_folder_which_has_to_exist():
    remedy = ask(effective(), "/data/set/new.csv", TREE)[Action.WRITE].remedy
    assert (remedy.access, remedy.path) == (READ_WRITE, "/data/set")
    assert not remedy.advice
    remedy = ask(effective(), "/data/out/deep/new.csv", TREE)[Action.WRITE].remedy
    assert remedy.path == "/data/out/deep"
    assert "/data/out/deep" in remedy.advice


def test_nobody_is_told_to_make_a_whole_home_directory_writable_for_a_file_in_it():
    tree = {**TREE, "/home/ada": Kind.DIRECTORY}
    remedy = ask(effective(), "/home/ada/new.csv", tree, home="/home/ada")[Action.WRITE].remedy
    assert (remedy.access, remedy.path) == (READ_WRITE, "/home/ada/new.csv")
    assert remedy.advice
    remedy = ask(effective(), "/home/ada/out/new.csv", tree, home="/home/ada")[Action.WRITE].remedy
    assert remedy.path == "/home/ada/out"


def test_nobody_is_told_to_make_the_root_folder_writable():
    for path in ("/", "/new.csv"):
        verdict = ask(effective(), path, TREE)[Action.WRITE]
        assert verdict.remedy is None
        assert verdict.withheld


def test_a_path_that_the_policy_lists_read_only_has_to_leave_that_list():
    remedy = ask(effective(rule("/data/set")), "/data/set", TREE)[Action.WRITE].remedy
    assert "read_only" in remedy.advice


def test_in_procfs_only_the_whole_helps_and_nothing_can_be_run():
    reading = effective(rule("/proc", rights=PROC_READ_RIGHTS))
    verdicts = ask(reading, "/proc/self/comm", TREE)
    assert [verdict.allowed for verdict in verdicts.values()] == [True, False]
    assert verdicts[Action.WRITE].remedy.path == "/proc"
    assert "/proc" in verdicts[Action.WRITE].remedy.opens
    assert ask(reading, "/proc", TREE)[Action.EXECUTE].remedy is None
    promoted = effective(rule("/proc", READ_WRITE, Origin.PROMOTION, rights=PROC_WRITE_RIGHTS))
    assert allowed(promoted, "/proc/self/comm", TREE) == (True, True)
    assert allowed(promoted, "/proc", TREE) == (True, False, False)


def test_a_device_can_be_read_and_written_and_never_run():
    policy = effective(rule("/dev/nvidia0", READ_WRITE, Origin.GPU_BASELINE, rights=DEVICE_RIGHTS))
    assert allowed(policy, "/dev/nvidia0", TREE) == (True, True)


def test_connecting_to_a_socket_is_said_to_be_another_matter():
    assert ask(effective(), "/run/docker.sock", TREE)[Action.WRITE].notes
    assert not ask(effective(), "/dev/nvidia0", TREE)[Action.WRITE].notes


def test_a_skipped_rule_and_a_conflict_are_mentioned_where_they_matter():
    policy = effective(
        rule("/dev/nvidia0"),
        skipped=(Skipped(path="/data", access=READ_WRITE, origin=Origin.POLICY, why="does not exist"),),
        conflicts=(Conflict(path="/dev/nvidia0", origin=Origin.GPU_BASELINE, reason=""),),
    )
    check_message(ask(policy, "/data/set", TREE)[Action.READ].notes[0], "/data", "does not exist")
    check_message(ask(policy, "/dev/nvidia0", TREE)[Action.WRITE].notes[0], "/dev/nvidia0", Origin.GPU_BASELINE.value)
    assert not ask(policy, "/dev/nvidia0", TREE)[Action.READ].notes


def test_a_rule_that_was_skipped_because_its_folder_is_missing_is_mentioned_beneath_it():
    skipped = Skipped(path="/data/lost", access=READ_WRITE, origin=Origin.POLICY, why="No such file or directory")
    policy = effective(skipped=(skipped,))
    for path in ("/data/lost", "/data/lost/a.csv"):
        (note,) = ask(policy, path, TREE)[Action.READ].notes
        check_message(note, skipped.path, skipped.why)
    assert not ask(policy, "/data/other", TREE)[Action.READ].notes


def test_a_remedy_says_what_else_it_opens():
    folder, file, new = (ask(effective(), path, TREE) for path in ("/data/set", "/data/set/a.csv", "/data/set/new.csv"))
    for verdict in (folder[Action.READ], folder[Action.WRITE], new[Action.WRITE]):
        assert "/data/set" in verdict.remedy.opens
    assert folder[Action.READ].remedy.opens != folder[Action.WRITE].remedy.opens
    assert file[Action.WRITE].remedy.opens
    assert not file[Action.READ].remedy.opens


def test_no_line_is_proposed_for_what_is_guarded_and_it_is_said_why():
    places = (
        ProtectedPath(path="/data/set/keys", what="keys of somebody", secret=True),
        ProtectedPath(path="/data/out", what="programs"),
    )
    tree = {**TREE, "/data/set/keys": Kind.DIRECTORY, "/data/set/keys/a": Kind.FILE, "/data/out": Kind.DIRECTORY}
    for path in ("/data/set/keys", "/data/set/keys/a", "/data/set", "/data"):
        for verdict in ask(effective(), path, tree, places=places).values():
            assert verdict.remedy is None
            check_message(verdict.withheld, "/data/set/keys", "keys of somebody")
    verdicts = ask(effective(), "/data/out", tree, places=places)
    assert verdicts[Action.READ].remedy
    assert verdicts[Action.WRITE].remedy is None
    verdicts = ask(effective(), "/data/out/new", tree, places=places)
    check_message(verdicts[Action.WRITE].withheld, "/data/out", "programs")


def test_only_a_file_that_is_executable_is_a_program(tmp_path):
    (tmp_path / "data.csv").touch(0o644)
    (tmp_path / "tool").touch(0o755)
    assert [is_program(str(tmp_path / name)) for name in ("data.csv", "tool", "none")] == [False, True, False]


def test_the_kind_is_that_of_the_inode(tmp_path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    assert kind_of(str(tmp_path)) is Kind.DIRECTORY
    assert kind_of(str(tmp_path / "file")) is Kind.FILE
    assert kind_of(str(tmp_path / "fifo")) is Kind.OTHER
    assert kind_of("/dev/null") is Kind.DEVICE
    assert kind_of(str(tmp_path / "none")) is None


@given(st.text(st.characters(exclude_characters="\0")))
def test_any_path_can_be_asked_about_and_written_into_a_policy(text):
    from ruamel.yaml import YAML  # noqa: PLC0415 - slow to import, and for this test only

    path = "/" + text
    assert printable(path).isprintable()
    if path.isprintable():
        assert YAML(typ="safe").load(f"- {yaml_scalar(path)}") == [path]
    for verdict in why(
        effective(rule("/", rights=READ_RIGHTS)),
        path,
        resolve=lambda p: "/" + p.strip("/"),
        kind={"/": Kind.DIRECTORY}.get,
    ):
        assert verdict.allowed is (verdict.action is not Action.WRITE)


def test_what_a_mount_keeps_is_read_and_not_written_whatever_the_rules_grant():
    policy = replace(effective(rule("/data", WRITE_RIGHTS)), kept=("/data/set",))
    assert allowed(policy, "/data/set/tool", TREE) == (True, False, True)
    verdict = ask(policy, "/data/set/a.csv", TREE)[Action.WRITE]
    assert (verdict.remedy, "/data/set" in verdict.notes[-1]) == (None, True)
    assert allowed(policy, "/data/new", TREE) == (True, True)
