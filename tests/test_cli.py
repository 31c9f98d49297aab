"""`jupyter openshell`: what a person sees and what the exit status says."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from support.errors import check_message

from openshell_kernel.cli import COMMANDS, main

POLICY = """\
version: 1
filesystem_policy:
  include_workdir: true
  read_only: [/usr, /dev/null]
  read_write: [HOME]
jupyter:
  environment: {pass: [WANDB_*]}
"""


@pytest.fixture
def home(tmp_path):
    home = Path(os.path.realpath(tmp_path)) / "home"
    (home / "project").mkdir(parents=True)
    (home / ".ssh").mkdir()
    return home


@pytest.fixture
def policy(home):
    path = home / "project" / "openshell-policy.yaml"
    path.write_text("version: 1\n")
    return path


@pytest.fixture
def cli(home, monkeypatch, capsys):
    """Return a function that runs a command as its user would, but in this process: a new one takes long to start."""

    def run(*arguments, cwd=None, text=""):
        words = list(map(str, arguments))
        with own_environment(monkeypatch, home, cwd or home) as patch:
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
            try:
                status = main(words)
            except SystemExit as end:
                status = end.code
        output, errors = capsys.readouterr()
        return subprocess.CompletedProcess(words, status, output, errors)

    return run


@contextlib.contextmanager
def own_environment(monkeypatch, home, folder):
    """Leave of the environment what every user has, and this home."""
    with monkeypatch.context() as patch:
        for name in os.environ.keys() - {"PATH", "LANG"}:
            patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.chdir(folder)
        yield patch


@pytest.fixture
def process(home, monkeypatch):
    """Return a function that runs a command in a process of its own, as what starts kernels needs."""

    def run(*arguments):
        with own_environment(monkeypatch, home, home):
            return subprocess.run(
                [sys.executable, "-m", "openshell_kernel.cli", *arguments], capture_output=True, text=True, timeout=60
            )

    return run


def test_jupyter_finds_the_command():
    (script,) = metadata.entry_points(group="console_scripts", name="jupyter-openshell")
    assert script.value == "openshell_kernel.cli:main"


def test_trusting_shows_what_is_trusted_and_what_it_grants(cli, home, policy):
    policy.write_text(POLICY.replace("HOME", str(home)))
    done = cli("trust", "openshell-policy.yaml", cwd=policy.parent)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"trusted: {policy}"
    assert lines[1].split()[0] == "sha256"
    assert len(lines[1].split()[1]) == 64
    shown = {line.split()[0]: line for line in lines[2:]}
    assert str(home) in shown["read-write"]
    assert "the notebook's folder" in shown["read-write"]
    assert "/usr" in shown["read-only"]
    assert "WANDB_*" in shown["environment"]
    assert "/dev/null stays read-only" in shown["conflict:"]
    assert [line for line in lines if line.startswith("  WARNING: ") and str(home / ".ssh") in line]


def test_trust_can_be_listed_and_taken_back(cli, policy):
    assert cli("trust", "--list").stdout == ""
    cli("trust", policy)
    listed = cli("trust", "--list")
    assert listed.returncode == 0
    assert listed.stdout.split()[1:] == ["trusted", str(policy)]
    assert cli("untrust", policy).stdout == f"no longer trusted: {policy}\n"
    assert cli("trust", "--list").stdout == ""


def test_the_list_tells_what_became_of_the_files(cli, home, policy):
    other = home / "openshell-policy.yaml"
    other.write_text("version: 1\n")
    assert cli("trust", policy, other).returncode == 0
    policy.write_text("version: 1\n#\n")
    other.unlink()
    states = {line.split()[2]: line.split()[1] for line in cli("trust", "--list").stdout.splitlines()}
    assert states == {str(policy): "CHANGED", str(other): "gone"}


def test_a_folder_stands_for_the_policy_in_it(cli, policy):
    assert cli("trust", policy.parent).stdout.startswith(f"trusted: {policy}\n")
    assert cli("untrust", policy.parent).returncode == 0


def test_a_policy_that_is_gone_can_be_untrusted(cli, policy):
    cli("trust", policy)
    policy.unlink()
    assert cli("untrust", policy).returncode == 0
    assert cli("trust", "--list").stdout == ""


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.unlink(), id="it is not there"),
        pytest.param(lambda path: path.write_text("version: 2\nx: 1\n"), id="it is not valid"),
        pytest.param(lambda path: (path.rename(path.with_name("o")), path.symlink_to("o")), id="a link"),
        pytest.param(lambda path: (path.unlink(), os.mkfifo(path)), id="it is a pipe"),
    ],
)
def test_what_cannot_be_a_policy_is_not_trusted_and_told_in_one_line(cli, home, policy, make):
    make(policy)
    done = cli("trust", policy)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"jupyter openshell: {policy}:")
    assert cli("trust", "--list").stdout == ""


def test_a_file_that_would_never_be_looked_for_is_not_trusted(cli, policy):
    policy.rename(policy.with_name("policy.yaml"))
    done = cli("trust", policy.with_name("policy.yaml"))
    assert done.returncode == 1
    check_message(done.stderr, policy.with_name("policy.yaml"), "openshell-policy.yaml")


def test_one_wrong_file_does_not_keep_the_others_from_being_trusted(cli, home, policy):
    done = cli("trust", home / "gone", policy)
    assert done.returncode == 1
    assert done.stdout.startswith(f"trusted: {policy}\n")


def test_untrusting_what_was_not_trusted_is_an_error(cli, policy):
    done = cli("untrust", policy)
    assert (done.returncode, done.stdout) == (1, "")
    assert str(policy) in done.stderr


def test_a_damaged_store_is_told_in_one_line_and_left_as_it_is(cli, home, policy):
    store = home / ".local" / "share" / "openshell" / "trust.json"
    store.parent.mkdir(parents=True)
    store.write_text("{")
    for arguments in (["trust", policy], ["trust", "--list"], ["untrust", policy]):
        done = cli(*arguments)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert str(store) in done.stderr
    assert store.read_text() == "{"


def test_names_cannot_rewrite_a_terminal(cli, home):
    folder = home / "a\x1b[2Jb"
    folder.mkdir()
    (folder / "openshell-policy.yaml").write_text("version: 1\n")
    done = cli("trust", folder)
    assert done.returncode == 1
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("arguments", [[], ["trust"], ["trust", "--list", "x"], ["untrust"], ["frobnicate"]])
def test_a_wrong_call_says_how_it_is_called(cli, arguments):
    done = cli(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: jupyter openshell")


@pytest.mark.parametrize("arguments", [["--help"], ["trust", "--help"], ["untrust", "--help"]])
def test_help_says_what_trust_means_and_gives_examples(cli, arguments):
    done = cli(*arguments)
    assert done.returncode == 0
    assert "openshell-policy.yaml" in done.stdout
    assert "jupyter openshell trust --list" in done.stdout


def test_the_store_holds_what_was_shown(cli, home, policy):
    shown = cli("trust", policy).stdout
    store = json.loads((home / ".local" / "share" / "openshell" / "trust.json").read_text())
    assert store["trusted"][0]["sha256"] in shown


def test_what_a_policy_says_of_gpus_is_shown_when_it_is_trusted(cli, policy):
    policy.write_text("version: 1\njupyter: {gpu: {request: required, count: 2, extras: [dri]}}\n")
    (line,) = [line for line in cli("trust", policy).stdout.splitlines() if line.split()[0] == "GPUs"]
    check_message(line, 2, "dri", "required")
    policy.write_text("version: 1\n")
    assert [line for line in cli("trust", policy).stdout.splitlines() if line.split()[:2] == ["GPUs", "all,"]]


def test_a_policy_that_no_kernel_starts_with_where_there_is_a_gpu_is_warned_of(cli, policy):
    text = "filesystem_policy: {read_only: [/proc]}\njupyter: {baseline_conflicts: {mode: reject_all}}\n"
    policy.write_text(f"version: 1\n{text}")
    done = cli("trust", policy)
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if line.startswith("  WARNING: ") and "/proc" in line]


def test_the_version_is_told(cli):
    assert cli("--version").stdout == f"openshell_kernel {metadata.version('openshell-kernel')}\n"


def test_who_holds_which_gpu_is_printed_for_people_and_for_programs(cli, tmp_path):
    done = cli("gpus", "--claims", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(cli("gpus", "--json", "--claims", tmp_path).stdout)
    assert data.keys() == {"hardware", "holders"}
    assert data["hardware"]["detail"] in done.stdout


def test_the_check_explains_its_exit_status(cli):
    text = cli("gpu-check", "--help").stdout
    assert [line for line in text.splitlines() if line.split()[:1] == ["3"]]
    assert cli("gpu-check", "--nonsense").returncode == 2


@pytest.mark.slow
@pytest.mark.usefixtures("landlock_abi")
def test_the_check_reads_the_servers_configuration_and_another_policy_is_checked_where_one_is_named(process, home):
    (home / ".jupyter").mkdir()
    settings = home / ".jupyter" / "jupyter_server_config.py"
    settings.write_text(f"c.OpenShellProvisioner.policy = {str(home / 'missing.yaml')!r}\n")
    done = process("gpu-check")
    assert done.returncode == 4
    assert "missing.yaml" in done.stderr
    (home / "none.yaml").write_text("version: 1\njupyter: {gpu: {request: none}}\n")
    done = process("gpu-check", "--policy", "none.yaml")
    assert done.returncode == 3, done.stderr
    check_message(done.stdout, f"{home}/none.yaml", at="policy")


def test_the_check_says_why_a_kernel_was_not_started(process):
    done = process("gpu-check", "--kernel", "no-such-kernel")
    assert done.returncode == 4
    assert "no-such-kernel" in done.stderr


def test_the_check_asks_no_kernel_that_has_no_policy(process):
    done = process("gpu-check", "--kernel", "python3")
    assert done.returncode == 4
    check_message(done.stderr, "'python3'", "--kernel")


WRONG = """\
version: 1
filesystem_policy:
  read_only: [usr]
  read_onyl: [/usr]
landlock:
  compatibility: best-effort
"""


def test_checking_tells_every_mistake_with_its_place_key_and_remedy(cli, home):
    (home / "wrong.yaml").write_text(WRONG)
    done = cli("check", "wrong.yaml", cwd=home)
    assert (done.returncode, done.stderr) == (1, "")
    places = [line.split(": ")[:2] for line in done.stdout.splitlines()]
    assert places == [
        ["wrong.yaml:3:15", "filesystem_policy.read_only[0]"],
        ["wrong.yaml:4:3", "filesystem_policy.read_onyl"],
        ["wrong.yaml:6:18", "landlock.compatibility"],
    ]
    assert all("; " in line for line in done.stdout.splitlines())


def test_checking_prints_the_same_for_programs(cli, home):
    (home / "wrong.yaml").write_text(WRONG)
    done = cli("check", "--json", "wrong.yaml", cwd=home)
    findings = json.loads(done.stdout)
    assert done.returncode == 1
    assert [(found["file"], found["line"], found["column"], found["key"]) for found in findings] == [
        ("wrong.yaml", 3, 15, "filesystem_policy.read_only[0]"),
        ("wrong.yaml", 4, 3, "filesystem_policy.read_onyl"),
        ("wrong.yaml", 6, 18, "landlock.compatibility"),
    ]
    assert all(found["problem"] and found["remedy"] and found["severity"] == "error" for found in findings)


def test_checking_what_is_right_is_silent_and_warnings_are_no_failure(cli, policy):
    done = cli("check", policy)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    policy.write_text("version: 1\na_newer_block: {}\nnetwork_policies: {a: {nmae: x}}\n")
    done = cli("check", policy)
    assert done.returncode == 0
    assert [line.split(": ")[:3] for line in done.stdout.splitlines()] == [
        [f"{policy}:2:1", "warning", "a_newer_block"],
        [f"{policy}:3:24", "warning", "network_policies.a.nmae"],
    ]
    assert {found["severity"] for found in json.loads(cli("check", "--json", policy).stdout)} == {"warning"}


def test_checking_goes_on_after_a_file_that_cannot_be_read_and_its_exit_status_is_the_worst(cli, home, policy):
    (home / "wrong.yaml").write_text(WRONG)
    (home / "latin.yaml").write_bytes(b"version: 1\n# \xe9\n")
    done = cli("check", "--json", "missing.yaml", "wrong.yaml", "latin.yaml", policy, cwd=home)
    findings = json.loads(done.stdout)
    assert done.returncode == 2
    assert (findings[0]["file"], findings[0]["line"]) == ("missing.yaml", None)
    assert len([found for found in findings if found["file"] == "wrong.yaml"]) == 3
    assert (findings[-1]["file"], findings[-1]["line"], findings[-1]["column"]) == ("latin.yaml", 2, 3)
    assert cli("check", "latin.yaml", cwd=home).returncode == 1


def test_checking_reads_the_standard_input(cli):
    done = cli("check", "-", text=WRONG)
    assert done.returncode == 1
    assert done.stdout.startswith("<stdin>:3:15: filesystem_policy.read_only[0]: ")


def test_checking_tells_editors_where_the_schema_is(cli):
    path = cli("check", "--schema").stdout.rstrip("\n")
    assert json.loads(Path(path).read_text())["properties"]["version"]["const"] == 1


def test_checking_nothing_is_a_wrong_call(cli):
    done = cli("check")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: jupyter openshell check")


COMPLETION = Path(__file__).parents[1] / "completions" / "jupyter-openshell"
COMPLETE = """
source "$1"
COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
_jupyter_openshell
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(*words):
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", COMPLETION, "jupyter-openshell", *words], stdout=-1, text=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_shell_completes_every_command_and_its_options(command, cli):
    assert command.name in completed("")
    assert completed(command.name[:2]) >= {command.name}
    usage = cli(command.name, "--help").stdout
    own = usage.partition("\nexamples:")[0].partition("All other ARGS are those of")[0]
    described = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", own, re.MULTILINE)
    assert completed(command.name, "-") >= set(described)
    assert completed(command.name, "x") == set()


@pytest.mark.slow
def test_a_reader_that_has_enough_is_no_error(home):
    (home / "wrong.yaml").write_text(f"version: 1\nfilesystem_policy: {{read_only: [{', '.join(['x'] * 9000)}]}}\n")
    command = f"{sys.executable} -m openshell_kernel.cli check --json {home / 'wrong.yaml'} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=home, timeout=60)
    assert (done.stdout, done.stderr) == ("[\n", "")
