"""Advice that is followed leads to a kernel which starts, can do what was asked about, and is given no secret."""

import os
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from support import kernels

BASE = "version: 1\nfilesystem_policy:\n  include_workdir: true\n  read_only: [/usr, /proc, /etc/ssl]\n"


@pytest.fixture
def machine(user, write_policy):
    """Files in and around a home directory, and a kernel's policy."""
    for name in ("data/sets/a.csv", ".bashrc", "project/notes.txt", ".aws/credentials", ".netrc"):
        (user / name).parent.mkdir(parents=True, exist_ok=True)
        (user / name).touch()
    (user / "data" / "tool").touch(0o755)
    os.mkdir(os.fsencode(user / "data") + b"/\xff")
    write_policy(BASE)
    return user


def proposed(text):
    """Return the policies that `%policy why` proposes: of its one block of YAML, each line by itself."""
    lines = [line.strip().lstrip("#") for line in text.splitlines() if line.startswith("    ")]
    listed = [line for line in lines if line.startswith(("read_only:", "read_write:"))]
    return [YAML(typ="safe").load(f"filesystem_policy:\n  {line}") for line in listed]


def ask(user, paths):
    with kernels.started(cwd=user / "notebooks") as kernel:
        return {path: kernel.run(f"%policy why {path}").text for path in paths}


def test_no_line_is_proposed_that_exposes_secrets_or_that_a_start_refuses(machine, monkeypatch):
    other = kernels.started(cwd=machine / "notebooks")
    with other as neighbour:
        private = os.path.dirname(neighbour.manager.ip)
        asked = ask(
            machine,
            [
                "~/.ssh/id_ed25519",
                f"{machine}/.ssh/id_ed25519",
                f"{machine}/.ssh/new",
                f"{machine}/.aws",
                f"{machine}/.netrc",
                str(machine),
                "~",
                "/",
                os.path.dirname(machine),
                "/dev",
                private,
                f"{private}/k-1",
            ],
        )
    for path, text in asked.items():
        # Of the home of kernels, and of what can be read anyway, no line is needed.
        assert proposed(text) == [], text
        assert "refused" in text or path == "~", text
        assert "No line is proposed to read" in text or path == "~", text


def test_no_line_is_proposed_for_a_home_that_is_the_working_directory(machine):
    with kernels.started(cwd=machine) as kernel:
        text = kernel.run("%policy why .").text
        shown = " ".join(kernel.run("%policy show").text.split())
    assert "No line is proposed to read or write or run: it is your home directory." in text
    assert proposed(text) == []
    assert "list this one" not in shown


@pytest.mark.parametrize(
    "path",
    [
        ".config/openshell/policy.yaml",
        ".config/openshell/new.yaml",
        ".bashrc",
        ".ipython/profile_default/startup/x.py",
        ".local/share/jupyter/kernels/new/kernel.json",
        sys.prefix,
        f"{sys.prefix}/bin/new",
        "/etc/openshell/new.yaml",
        "/etc/new",
        "/usr/bin/new",
    ],
)
def test_no_line_lets_a_notebook_write_what_others_obey(machine, path):
    full = str(machine / path)
    with kernels.started(cwd=machine / "notebooks") as kernel:
        text = kernel.run(f"%policy why {full}").text
    assert "write refused" in text
    assert [block for block in proposed(text) if "read_write" in block["filesystem_policy"]] == []
    assert "No line is proposed to write" in " ".join(text.split())


def test_advice_that_is_followed_starts_and_does_what_was_asked_for(machine, write_policy):
    data = machine / "data"
    (machine / "out").mkdir()
    wishes = {
        f"{data}/sets/a.csv": ("open({!r}).read()", "open({!r}, 'a').write('x')"),
        f"{data}/sets": ("__import__('os').listdir({!r})", "open({!r} + '/new', 'w')"),
        f"{data}/sets/*.csv": ("__import__('os').listdir(FOLDER)", "open(FOLDER + '/new2', 'w')"),
        f"{machine}/out/later/new.csv": ("1", "open({!r}, 'w')"),
        f"{data}/tool": ("open({!r}).read()", "open({!r}, 'a').write('x')"),
    }
    (machine / "out" / "later").mkdir()
    blocks = []
    for path, text in ask(machine, wishes).items():
        found = proposed(text)
        assert found, text
        assert "opens" in text
        blocks += [(path, block) for block in found]
    assert blocks
    for path, block in blocks:
        ((access, paths),) = block["filesystem_policy"].items()
        assert "*" not in paths[0]
        listed = {"read_only": ["/usr", "/proc", "/etc/ssl"]}
        listed[access] = [*listed.get(access, []), *paths]
        lines = "".join(f"  {name}: {value!r}\n" for name, value in listed.items())
        write_policy(f"version: 1\nfilesystem_policy:\n  include_workdir: true\n{lines}")
        wish = wishes[path][access == "read_write"].replace("FOLDER", repr(str(data / "sets"))).format(path)
        with kernels.started(cwd=machine / "notebooks") as kernel:
            assert kernel.run(wish).error == "", (path, block)
            assert "private files" not in kernel.run("%policy show").text


def test_a_table_is_not_asked_whether_it_runs_and_a_missing_folder_is_no_matter_of_permissions(machine):
    asked = ask(machine, ["data.csv", f"{machine}/data/sets/a.csv", "none/deeper/new.csv", f"{machine}/data/tool"])
    assert "  run " not in asked["data.csv"]
    assert "  run " not in asked[f"{machine}/data/sets/a.csv"]
    assert "  run " in asked[f"{machine}/data/tool"]
    deeper = asked["none/deeper/new.csv"]
    assert "write allowed  create this file, and the folders above it" in deeper
    assert "File permissions refuse" not in deeper


def test_a_name_that_a_policy_cannot_hold_is_not_proposed(machine):
    with kernels.started(cwd=machine / "notebooks") as kernel:
        text = kernel.run(
            f"import os; get_ipython().run_line_magic('policy', 'why ' + os.fsdecode({os.fsencode(machine)!r} + b'/data/\\xff'))"
        ).text
    assert proposed(text) == []
    assert "not UTF-8" in text


def test_a_notice_says_of_no_folder_that_it_is_not_granted_which_the_policy_grants(machine, write_policy, monkeypatch):
    secret = machine / "project"
    monkeypatch.setenv("PYTHONPATH", str(machine / ".aws"))
    with kernels.started(cwd=machine) as kernel:
        shown = " ".join(kernel.run("%policy show").text.split())
        assert f"Not granted {machine}" in shown
        assert f"{machine}/.aws is not granted" in shown
        assert "list it in read_only" not in shown
    write_policy(
        f"version: 1\nfilesystem_policy:\n  include_workdir: true\n  read_only: [/usr, /proc, {machine}/.aws]\n"
        f"  read_write: [{secret}]\n"
    )
    (secret / ".ssh").mkdir()
    with kernels.started(cwd=secret) as kernel:
        assert kernel.run("open('x', 'w')").error == ""
        shown = kernel.run("%policy show")
        text = " ".join(shown.text.split())
        assert f"Not granted {secret}" not in text
        assert "is not granted" not in text
        assert "is not granted" not in shown.data["text/html"]
        assert "Not granted" not in shown.data["text/html"]


@pytest.mark.parametrize("folder", [".aws", ""])
def test_a_policy_that_opens_credentials_changes_the_headline(machine, write_policy, folder):
    write_policy(BASE)
    with kernels.started(cwd=machine / "notebooks") as kernel:
        before = kernel.run("%policy show").text.splitlines()[0]
    write_policy(BASE.replace("/etc/ssl]", f"{machine}/{folder}]"))
    with kernels.started(cwd=machine / "notebooks") as kernel:
        shown = kernel.run("%policy show")
    assert shown.text.splitlines()[0] != before
    (exposed,) = [line for line in shown.text.partition("May write")[0].splitlines() if line.startswith("! May read")]
    assert f"{machine}/{folder}".rstrip("/") in exposed
    assert 'class="head exposed"' in shown.data["text/html"]


def test_where_other_kernels_are_and_what_is_guarded_is_not_printed(machine):
    with kernels.started(cwd=machine / "notebooks") as neighbour, kernels.started(cwd=machine / "notebooks") as kernel:
        private = os.path.dirname(os.path.dirname(neighbour.manager.ip))
        content = kernel.run("import os; print(os.pread(int(os.environ['OPENSHELL_SNAPSHOT_FD']), 1 << 24, 0))").text
        assert Path(private).name.startswith("openshell-")
        assert private not in content
        assert "guarded" in content
        assert "guarded" not in kernel.run("%policy show --json").text
