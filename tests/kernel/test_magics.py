"""`%policy` in a real IPython shell, over a real sealed memory file."""

import atexit
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from fakes import snapshots
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from ruamel.yaml import YAML
from traitlets.config import Config

from openshell_kernel.base.hardware import Hardware, Status
from openshell_kernel.kernel import magics, memfd, permissions
from openshell_kernel.kernel.completion import complete
from openshell_kernel.policy import baseline, loading
from openshell_kernel.policy.effective import Access, Compatibility, Environment, Home, HomeKind
from openshell_kernel.policy.enrichment import enrich
from openshell_kernel.policy.explain import why
from openshell_kernel.policy.runtime import Runtime


@pytest.fixture
def environ(monkeypatch, tmp_path):
    """The environment and folder of a kernel."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    # IPython warns where it names another environment than the tests' own.
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.delenv(memfd.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    # A shell puts a module of its own there, from which multiprocessing cannot start anything.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    return monkeypatch


class Shell:
    """A shell that loaded the extension."""

    def __init__(self):
        # From the start: otherwise a thread of each shell's own goes on writing a file that the test removes.
        self.ip = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
        self.ip.run_line_magic("load_ext", "openshell_kernel.kernel.magics")

    def run(self, cell):
        with capture_output() as output:
            output.result = self.ip.run_cell(cell)
        return output

    def close(self):
        self.ip.atexit_operations()
        atexit.unregister(self.ip.atexit_operations)
        InteractiveShell.clear_instance()


@pytest.fixture
def start(environ):
    """Start shells as the launcher would: with the record in a memory file, or without one."""
    shells, fds = [], []

    def start_shell(record=None):
        if record is not None:
            fds.append(snapshots.memfd(record))
            environ.setenv(memfd.VARIABLE, str(fds[-1]))
        shells.append(Shell())
        return shells[-1]

    yield start_shell
    for shell in shells:
        shell.close()
    for fd in fds:
        os.close(fd)


@pytest.fixture
def shell(start):
    return start(snapshots.record())


def told(shell, path):
    """What `%policy why` says in a terminal."""
    return "".join(output.data["text/plain"] for output in shell.run(f"%policy why {path}").outputs)


def test_alone_it_shows_help(shell):
    for cell in ("%policy", "%policy help", "%policy --help"):
        assert "%policy why PATH" in shell.run(cell).stdout


def test_show_displays_html_and_text_and_no_json_tree(shell):
    (output,) = shell.run("%policy show").outputs
    assert output.data.keys() == {"text/html", "text/plain"}
    assert "Landlock ABI 7" in output.data["text/html"]
    assert "Landlock ABI 7" in output.data["text/plain"]


def test_what_layers_do_in_detail_waits_for_verbose(shell):
    (short,) = shell.run("%policy show").outputs
    (long,) = shell.run("%policy show --verbose").outputs
    for kind in ("text/html", "text/plain"):
        assert "none is left, and none can be regained" not in " ".join(short.data[kind].split())
        assert "none is left, and none can be regained" in " ".join(long.data[kind].split())


def test_why_displays_a_card_and_text(shell):
    (output,) = shell.run("%policy why /usr").outputs
    assert output.data.keys() == {"text/html", "text/plain"}


def test_show_json_prints_the_whole_record_after_merging(shell):
    data = json.loads(shell.run("%policy show --json").stdout)
    assert data["format"] == 2
    assert data["report"]["abi"] == 7
    assert "/usr/lib/wsl" not in [rule["path"] for rule in data["effective"]["rules"]]
    assert data["effective"]["skipped"][-1]["why"] == "No such file or directory"


def test_show_yaml_prints_a_policy_that_loads_again_with_its_promotion_applied(shell, tmp_path):
    text = shell.run("%policy show --yaml").stdout
    (tmp_path / "policy.yaml").write_text(text)
    loading.load(str(tmp_path / "policy.yaml"))
    policy = YAML(typ="safe").load(text)
    assert policy == {
        "version": 1,
        "filesystem_policy": {
            "include_workdir": True,
            "read_only": ["/usr", "/etc", "/data/imagenet", "/srv/models/weights.safetensors"],
            "read_write": ["/tmp", "/proc/"],
        },
        "landlock": {"compatibility": "hard_requirement"},
    }
    assert "#   read_write  /dev/nvidia0  (gpu baseline: the first GPU)" in text
    assert "# Promoted to read-write: /proc (gpu baseline)" in text


@pytest.mark.parametrize("written", ["/proc", "/proc/", "//proc/."])
def test_the_printed_policy_gives_the_same_sandbox_again(start, tmp_path, written):
    path = tmp_path / "policy.yaml"
    path.write_text(f"version: 1\nfilesystem_policy: {{read_only: [/usr, {written}], read_write: [/srv/out]}}\n")
    first = enriched(path)
    assert first.promotions
    path.write_text(start(snapshots.record(first)).run("%policy show --yaml").stdout)
    again = enriched(path)
    assert not again.promotions
    assert granted(again) == granted(first)
    assert again.compatibility == first.compatibility


def enriched(path):
    """The effective policy of a file on a machine with a GPU."""
    hardware = Hardware(status=Status.OK, detail="", present=True, nodes=("/dev/nvidia0", "/dev/nvidiactl"))
    runtime = Runtime(needs=baseline.SYSTEM, workdir="/home/ada/projects/vision")
    return enrich(loading.load(path), hardware, runtime, source=str(path), exists=lambda _: True)


def granted(policy):
    return {(rule.path, rule.access, frozenset(rule.rights)) for rule in policy.rules}


def test_env_lists_names_and_show_tells_how_many_were_withheld(start):
    environment = Environment(passed=("LANG", "PATH"), added=("HOME",), withheld=("AWS_SECRET_ACCESS_KEY", "FOO"))
    home = Home(kind=HomeKind.PROJECT, path="/home/ada/.local/share/openshell/homes/vision-0")
    shell = start(snapshots.record(snapshots.effective(environment=environment, home=home)))
    listed = shell.run("%policy env").stdout
    assert "does not (2)\n    AWS_SECRET_ACCESS_KEY, FOO\n" in listed
    assert "server (2)\n    LANG, PATH\n" in listed
    assert "(1)\n    HOME\n" in listed
    (output,) = shell.run("%policy show").outputs
    for text in (output.data["text/plain"], output.data["text/html"]):
        assert "2 environment variables withheld, 2 passed" in text
        assert "homes/vision-0, private, kept for this folder" in text


def test_why_says_what_the_tilde_leads_to(start, environ, tmp_path):
    private, own = tmp_path / "private", tmp_path / "own"
    for folder in (private, own):
        folder.mkdir()
    (private / "here").touch()
    environ.setenv("HOME", str(private))
    policy = snapshots.effective(home=Home(kind=HomeKind.EPHEMERAL, path=str(private)))
    shell = start({**snapshots.record(policy), "guarded": {"home": str(own), "places": []}})
    assert "the kernel's private home" in told(shell, "~/here")
    asked = " ".join(told(shell, "~/.ssh/id_ed25519").split())
    assert f"your own home directory, {own}" in asked
    assert f"{own}/.ssh/id_ed25519: does not exist" in asked
    assert "private home" not in told(shell, "/etc/passwd")


def test_why_takes_a_pattern_for_the_folder_that_it_stands_in(start, tmp_path):
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "a.csv").touch()
    (tmp_path / "odd*name").touch()
    shell = start(snapshots.record(snapshots.effective()))
    for pattern in ("sets/*.csv", "sets/*/a?/[ab]"):
        asked = told(shell, f"{tmp_path}/{pattern}")
        assert "pattern" in asked
        assert f"{tmp_path}/sets: directory" in asked
        assert f"read_write: [{tmp_path}/sets]" in asked
    assert f"{tmp_path}/odd*name: file" in told(shell, f"{tmp_path}/odd*name")


def test_why_judges_the_nearest_folder_that_exists_where_the_one_above_is_missing(start, tmp_path):
    shell = start(snapshots.record(snapshots.effective(snapshots.rule(str(tmp_path), Access.READ_WRITE))))
    asked = told(shell, f"{tmp_path}/none/deeper/new.csv")
    assert "  write allowed  create this file, and the folders above it" in asked
    assert "File permissions refuse" not in asked


def test_show_yaml_keeps_what_concerns_kernels_and_takes_values_from_the_environment(start, environ, tmp_path):
    environ.setenv("MY_URL", "https://example.org")
    path = tmp_path / "policy.yaml"
    path.write_text("version: 1\njupyter:\n  home: ephemeral\n  environment:\n    pass: [HF_*]\n    set: {MY_URL: x}\n")
    record = snapshots.record(enriched(path))
    assert record["effective"]["declared"]["jupyter"]["environment"]["set"] == {"MY_URL": None}
    path.write_text(start(record).run("%policy show --yaml").stdout)
    again = loading.load(path)
    assert again.environment.passing == ("HF_*",)
    assert again.environment.setting == {"MY_URL": "https://example.org"}
    assert again.home == "ephemeral"


def test_show_yaml_states_what_the_policy_left_to_its_default(start):
    policy = snapshots.effective(compatibility=Compatibility.BEST_EFFORT, declared={"version": 1})
    printed = start(snapshots.record(policy)).run("%policy show --yaml").stdout
    assert YAML(typ="safe").load(printed) == {"version": 1, "landlock": {"compatibility": "best_effort"}}


@pytest.mark.parametrize("written", ["{path}", '"{path}"', "'{path}'", "sub/../file", "~/file", "$place"])
def test_why_takes_a_path_however_it_is_written(start, environ, tmp_path, written):
    path = tmp_path / "file"
    path.touch()
    (tmp_path / "sub").mkdir()
    environ.setenv("HOME", str(tmp_path))
    shell = start(snapshots.record(snapshots.effective(snapshots.rule(str(path), rights=("read_file",)))))
    shell.ip.user_ns["place"] = str(path)
    output = told(shell, written.format(path=path))
    assert output.startswith(f"{path}: file.")
    assert "\n  read  allowed" in output
    assert "\n  write refused" in output


def test_why_takes_a_quoted_path_with_spaces(shell, tmp_path):
    (tmp_path / "my file").touch()
    assert f"{tmp_path}/my file: file" in told(shell, '"my file"')
    assert f"{tmp_path}/my file: file" in told(shell, "my\\ file")


def test_ordinary_permissions_are_mentioned_where_they_refuse_what_the_rules_allow(tmp_path):
    path = tmp_path / "file"
    path.touch()
    verdicts = why(snapshots.effective(snapshots.rule(str(path), rights=("read_file",))), str(path))
    reading, writing = permissions.annotate(verdicts, access=lambda *_: False)
    assert "File permissions refuse it" in reading.notes[-1]
    assert not any("File permissions" in note for note in writing.notes)
    assert permissions.annotate(verdicts, access=lambda *_: True) == verdicts


@pytest.mark.parametrize(
    ("cell", "named"),
    [
        ("%policy shwo", "show"),
        ("%policy xyzzy", "why"),
        ("%policy show --jsn", "--json"),
        ("%policy show --json --yaml", "%policy show"),
        ("%policy env PATH", "%policy env"),
        ("%policy why", "%policy why"),
        ("%policy why a b", '%policy why "a b"'),
        ("%policy why 'a", "%policy why"),
    ],
)
def test_a_mistake_gives_one_line_and_no_traceback(shell, cell, named):
    output = shell.run(cell)
    (line,) = output.stderr.splitlines()
    assert line.startswith("UsageError: ")
    assert named in line
    assert output.stdout == ""
    assert not output.result.success


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b"[]", b'{"format": 1}', b"[" * 100_000])
def test_a_damaged_record_gives_a_warning_and_a_readable_error(start, content):
    shell = start(content)
    assert "WARNING" in shell.run("1").stderr
    output = shell.run("%policy show")
    assert output.stderr.startswith("UsageError: ")
    assert "Traceback" not in output.stderr


def test_a_descriptor_that_is_something_else_is_neither_read_nor_touched(start, environ, tmp_path):
    with (tmp_path / "other").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        environ.setenv(memfd.VARIABLE, str(file.fileno()))
        shell = start()
        assert os.get_inheritable(file.fileno())
        assert "WARNING" in shell.run("1").stderr


def test_outside_an_openshell_kernel_it_says_how_to_start_one(start):
    shell = start()
    assert shell.run("1").stderr == ""
    for cell in ("%policy show", "%policy env", "%policy why /"):
        output = shell.run(cell).stdout
        assert "jupyter console --kernel openshell-gpu" in output
    assert shell.run("%policy show --json").stderr.startswith("UsageError: ")


def test_a_kernel_that_is_not_confined_says_so_once_in_the_first_cell(start):
    shell = start(snapshots.unenforced())
    assert "WARNING" in shell.run("1").stderr
    assert shell.run("2").stderr == ""


def test_a_confined_kernel_says_nothing_of_its_own_accord(shell):
    output = shell.run("1")
    assert output.stderr == ""


@pytest.mark.usefixtures("shell")
def test_children_of_the_kernel_do_not_inherit_the_record():
    fd = os.environ[memfd.VARIABLE]
    assert not os.get_inheritable(int(fd))
    child = subprocess.run(
        [sys.executable, "-c", "import os, sys; os.fstat(int(sys.argv[1]))", fd],
        close_fds=False,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Bad file descriptor" in child.stderr


def test_the_record_is_found_after_the_notebook_has_emptied_its_environment(shell, environ):
    environ.delenv(memfd.VARIABLE)
    for cell in ("%policy show", "%policy show --json", "%policy env", "%policy why /usr"):
        output = shell.run(cell)
        assert "jupyter console" not in output.stdout + output.stderr
        assert output.result.success


def test_loading_it_twice_does_no_harm(shell):
    shell.ip.run_line_magic("reload_ext", "openshell_kernel.kernel.magics")
    assert len(shell.run("%policy show").outputs) == 1


def completed(shell, typed):
    """The lines that a front end would offer."""
    with provisionalcompleter():
        found = list(shell.ip.Completer.completions(typed, len(typed)))
    return {typed[: match.start] + match.text + typed[match.end :] for match in found}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("%policy ", {"%policy show", "%policy env", "%policy gpus", "%policy verify", "%policy why", "%policy help"}),
        ("%policy sh", {"%policy show"}),
        ("policy sh", {"policy show"}),
        ("%policy show --", {"%policy show --json", "%policy show --verbose", "%policy show --yaml"}),
        ("%policy show --y", {"%policy show --yaml"}),
        ("%policy why {here}/da", {"%policy why {here}/data/"}),
        ("%policy why da", {"%policy why data/"}),
        ("%policy why data/", {"%policy why data/a.csv", "%policy why data/b\\ c.csv"}),
        ("%policy why data/b\\ ", {"%policy why data/b\\ c.csv"}),
        ('%policy why "data/b ', {'%policy why "data/b c.csv'}),
        ("%policy why ~/da", {"%policy why ~/data/"}),
        ("%policy why .hi", {"%policy why .hidden"}),
    ],
)
def test_completion_offers_commands_options_and_paths(shell, environ, tmp_path, typed, expected):
    environ.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").touch()
    (tmp_path / "data" / "b c.csv").touch()
    (tmp_path / ".hidden").touch()
    assert completed(shell, typed.format(here=tmp_path)) == {line.format(here=tmp_path) for line in expected}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("%policy why /no/such/folder/", {"%policy why /no/such/folder/"}),
        ("%policy why {here}/none/pri", {"%policy why {here}/none/pri"}),
        ("%policy why /data/ima", {"%policy why /data/imagenet"}),
        ("%policy why /sr", {"%policy why /srv/"}),
        ('%policy why "/srv/mo', {'%policy why "/srv/models'}),
        ("%policy why ~/proj", {"%policy why ~/projects"}),
        ("policy why /no/such/pri", {"policy why /no/such/pri"}),
        ("%policy show pri", {"%policy show pri"}),
        ("%policy pri", {"%policy pri"}),
    ],
)
def test_where_nothing_can_be_listed_completion_goes_on_towards_a_rule_and_never_offers_names_of_python(
    shell, environ, tmp_path, typed, expected
):
    environ.setenv("HOME", "/home/ada")
    (tmp_path / "none").touch()
    assert completed(shell, typed.format(here=tmp_path)) == {line.format(here=tmp_path) for line in expected}


def test_python_that_looks_like_the_magic_is_completed_as_python(shell):
    shell.ip.user_ns["policy"] = 1
    assert "policy is" in completed(shell, "policy i")


@pytest.mark.parametrize("line", ["%policy xyz ", "policy = ", "policy i", "x"])
def test_where_it_has_nothing_to_offer_it_leaves_the_line_to_ipython(line):
    assert complete(SimpleNamespace(text_until_cursor=line))["completions"] == []


def test_other_lines_are_completed_as_ever(shell):
    shell.ip.user_ns["policy_of_mine"] = 1
    assert "policy_of_mine" in completed(shell, "policy_of_m")


def test_loading_imports_none_of_the_machinery_that_showing_needs():
    """The extension is on every kernel's start path."""
    code = (
        "import sys, IPython.core.error, openshell_kernel.kernel.magics as m; "
        "print([n for n in sys.modules if n.startswith(('openshell_kernel', 'ruamel'))])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert sorted(json.loads(loaded.replace("'", '"'))) == [
        "openshell_kernel",
        "openshell_kernel.base",
        "openshell_kernel.base.sealed",
        "openshell_kernel.base.text",
        "openshell_kernel.errors",
        "openshell_kernel.kernel",
        "openshell_kernel.kernel.completion",
        "openshell_kernel.kernel.magics",
        "openshell_kernel.kernel.memfd",
        "openshell_kernel.kernel.start",
    ]
    assert magics.HELP.count("\n") == 9
