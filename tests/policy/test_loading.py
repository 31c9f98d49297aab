"""Loading: a file becomes a policy, or one error that names everything that is wrong with it and where."""

import contextlib
import json
import os
import re
import socket
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from support.errors import check_message, refused

from openshell_kernel.errors import PolicyError
from openshell_kernel.policy.loading import InvalidPolicyError, load, parse
from openshell_kernel.policy.model import Policy
from openshell_kernel.policy.sources import BUILT_IN_POLICY

EXPECT_UPSTREAM = "OPENSHELL_EXPECT_UPSTREAM_POLICIES"
UPSTREAM = Path(os.environ.get(EXPECT_UPSTREAM) or Path(__file__).parents[3] / "shared" / "upstream-policies")


def place(violation):
    return f"{violation.line}:{violation.column}: {violation.key}".removesuffix(": ")


def places(text):
    """Where a policy is wrong, each as `line:column: key`."""
    with pytest.raises(InvalidPolicyError) as caught:
        parse(text, name="policy.yaml")
    return [place(violation) for violation in caught.value.violations]


def outcome(text):
    """The policy, or the violations, which must all stand inside the text; any other exception is a crash."""
    try:
        return parse(text, name="policy.yaml")
    except InvalidPolicyError as error:
        found = error.violations
    assert found
    lines = text.split("\n")
    for violation in found:
        assert 1 <= violation.line <= len(lines)
        assert 1 <= violation.column <= len(lines[violation.line - 1]) + 1
        assert violation.problem
        assert violation.remedy
    places = [(violation.line, violation.column) for violation in found]
    assert places == sorted(places)
    return found


# Files of OpenShell and of this package


def upstream_files():
    return [pytest.param(file, id=file.stem) for file in sorted(UPSTREAM.glob("*.yaml"))] or [None]


@pytest.mark.parametrize("file", upstream_files())
def test_a_policy_file_of_openshell_loads_unchanged(file):
    if file is None:
        reason = f"there are no policies of OpenShell's in {UPSTREAM}"
        assert EXPECT_UPSTREAM not in os.environ, f"{reason}, which {EXPECT_UPSTREAM} names"
        pytest.skip(reason)
    assert load(file).declared() == YAML(typ="safe", pure=True).load(file)


def test_the_built_in_policy_grants_little_and_insists_on_it():
    assert load(BUILT_IN_POLICY).declared() == {
        "version": 1,
        "filesystem_policy": {"include_workdir": True, "read_only": ["/usr", "/proc"], "read_write": []},
        "landlock": {"compatibility": "hard_requirement"},
    }


def test_every_example_in_the_built_in_policy_is_valid_alone_and_with_all_others():
    text = Path(BUILT_IN_POLICY).read_text(encoding="utf-8")
    mark = re.compile(r"^( *)#(?=\S|  )", re.MULTILINE)
    policy = parse(mark.sub(r"\1", text), name="examples")
    assert policy.process is not None
    assert policy.process.run_as_user == "1500"
    assert policy.network_policies["python_packages"].endpoints[0].host == "pypi.org"
    assert policy.filesystem_policy.read_only == ("/usr", "/proc", "/srv/datasets", "/opt/models/llama")
    assert policy.filesystem_policy.read_write == ("/srv/results", "/var/tmp/my-project")
    paths = [line for line in text.splitlines() if re.match(r" +#/", line)]
    for line in paths:
        parse(text.replace(line, line.replace("#", "")), name="example")
    assert len(paths) == 4


# YAML


@pytest.mark.parametrize(
    ("case", "text", "expected"),
    [
        ("an empty file is no policy", "", ["1:1"]),
        ("comments are no policy", "# nothing\n", ["1:1"]),
        ("null is no policy", "---\n~\n", ["1:1"]),
        ("a list is no policy", "- version: 1", ["1:1"]),
        ("a word is no policy", "version", ["1:1"]),
        (
            "a missing key is reported at the mapping that lacks it",
            "# head\n\nlandlock: {}\n",
            ["3:1: version"],
        ),
        (
            "an unknown key is reported at the key and not at its value",
            "version: 1\nfilesystem:\n  read_only: []\n",
            ["2:1: filesystem"],
        ),
        (
            "a duplicate key names both places",
            "version: 1\nlandlock: {}\nversion: 1\n",
            ["3:1: version"],
        ),
        (
            "a duplicate key is found at every level, whatever its quotes",
            "version: 1\nnetwork_policies: {a: {}, 'a': {}}\n",
            ["2:27: network_policies.a"],
        ),
        (
            "a block that stands twice, as when advice is added at the end, is to be joined",
            "version: 1\nfilesystem_policy:\n  read_only: [/usr]\nfilesystem_policy:\n  read_only: [/srv]\n",
            ["4:1: filesystem_policy"],
        ),
        (
            "a merge key is an ordinary key",
            "version: 1\nfilesystem_policy: &f {}\nlandlock: {<<: *f}\n",
            ['3:12: landlock["<<"]'],
        ),
        ("a number is no key", "version: 1\n5: x\n", ["2:1"]),
        ("null is no key", "version: 1\n~: x\n", ["2:1"]),
        (
            "a list is no key",
            "version: 1\n? [a]\n: x\n",
            ["2:3"],
        ),
        (
            "a date is a string",
            "version: 1\nlandlock: {compatibility: 2024-01-01}\n",
            ["2:27: landlock.compatibility"],
        ),
        (
            "yes is a string, also under YAML 1.1",
            "%YAML 1.1\n---\nversion: 1\nfilesystem_policy: {include_workdir: yes}\n",
            ["4:38: filesystem_policy.include_workdir"],
        ),
        (
            "a custom tag is refused",
            "version: 1\nlandlock: !python/object:os.system {}\n",
            ["2:11: landlock"],
        ),
        (
            "a tag outside the core schema is refused",
            "version: 1\nprocess: {run_as_user: !!binary aGk=}\n",
            ["2:24: process.run_as_user"],
        ),
        (
            "a core tag that does not fit is refused",
            "version: !!int one\n",
            ["1:10: version"],
        ),
        (
            "infinity is no value",
            "version: .inf",
            ["1:10: version"],
        ),
        (
            "a float that overflows is no value",
            "version: 1e999",
            ["1:10: version"],
        ),
        (
            "half a surrogate pair is no character",
            'version: "\\ud800"',
            ["1:10: version"],
        ),
        (
            "a control character is refused",
            "version: \x07",
            ["1:10"],
        ),
        (
            "an alias needs an anchor",
            "version: *v",
            ["1:10: version"],
        ),
        (
            "an alias cannot hold itself",
            "version: 1\nnetwork_policies: &n {a: *n}",
            ["2:26: network_policies.a"],
        ),
        (
            "one document is a policy",
            "version: 1\n---\nversion: 1\n",
            ["2:1"],
        ),
        (
            "a bracket that is never closed is missed behind the last character",
            "version: 1\nlandlock: {\n\n\n",
            ["2:12"],
        ),
        (
            "a tab is refused where it is",
            "version: 1\nlandlock:\n\tcompatibility: best_effort\n",
            ["3:1"],
        ),
    ],
)
def test_a_violation_of_yaml_or_schema_names_its_place(case, text, expected):
    assert places(text) == expected, case


@pytest.mark.parametrize(
    ("case", "text", "expected"),
    [
        ("brackets without end", "version: 1\nx: " + "[" * 200_000, "2:68: x[0]"),
        ("a list in a list in a list", "- " * 5_000, "1:131: [0][0]"),
        ("mappings without end", "{a: " * 5_000, "1:258: a.a"),
        (
            "aliases that deepen",
            "a0: &a0 []\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 200)),
            "65:12: a64[0]",
        ),
        (
            "a billion laughs",
            "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)),
            "6:34: a5[6]",
        ),
        ("a number of many digits", "version: " + "1" * 100_000, "1:10: version"),
        ("an escape beyond Unicode", 'version: "\\UFFFFFFFF"', "1:1"),
    ],
)
def test_input_that_is_made_to_exhaust_the_reader_is_an_ordinary_error(case, text, expected):
    found = outcome(text)
    assert expected in map(place, found), case


def test_everything_that_is_wrong_is_reported_at_once_in_the_order_of_the_file():
    text = (
        "filesystem_policy:\n"
        "  read_write: [/, /ok, 7]\n"
        "  read_only: !x []\n"
        "  read_write: []\n"
        "landlock:\n"
        "  compatibility: maybe\n"
        "version: 2\n"
    )
    assert places(text) == [
        "2:16: filesystem_policy.read_write[0]",
        "2:24: filesystem_policy.read_write[2]",
        "3:14: filesystem_policy.read_only",
        "4:3: filesystem_policy.read_write",
        "6:18: landlock.compatibility",
        "7:10: version",
    ]


def test_each_line_of_the_message_starts_with_the_file_and_the_place():
    with pytest.raises(InvalidPolicyError) as caught:
        parse("version: 2\nlandlock: 1\n", name="/etc/openshell/policy.yaml")
    wrong = caught.value.violations
    assert str(caught.value).splitlines() == [
        f"/etc/openshell/policy.yaml:1:10: version: {wrong[0].problem}; {wrong[0].remedy}",
        f"/etc/openshell/policy.yaml:2:11: landlock: {wrong[1].problem}; {wrong[1].remedy}",
    ]


def test_a_message_stays_readable_when_thousands_of_things_are_wrong():
    with pytest.raises(InvalidPolicyError) as caught:
        parse("version: 1\nfilesystem_policy:\n  read_only:\n" + "  - x\n" * 5000, name="p")
    assert len(caught.value.violations) == 5001
    lines = str(caught.value).splitlines()
    assert len(lines) == 51
    check_message(lines[-1], 4951, at="p")


def test_a_key_cannot_forge_lines_of_the_message():
    with pytest.raises(InvalidPolicyError) as caught:
        parse('version: 1\n"x\\np:1:1: all is well": 1\n', name="p")
    assert len(str(caught.value).splitlines()) == 1


def test_aliases_stand_for_their_values():
    policy = parse("version: 1\nfilesystem_policy: {read_only: &x [/a], read_write: *x}\n", name="p")
    assert policy.filesystem_policy.read_only == policy.filesystem_policy.read_write == ("/a",)


def test_plain_scalars_follow_the_core_schema():
    text = "version: 0x1\nnetwork_middlewares: {m: {config: {a: 0o17, b: 1e3, c: ~, d: True, e: no, f: 1_000, g: 12:30, h: '1'}}}\n"
    assert parse(text, name="p").declared()["network_middlewares"]["m"]["config"] == {
        "a": 15, "b": 1000.0, "c": None, "d": True, "e": "no", "f": "1_000", "g": "12:30", "h": "1",
    }  # fmt: skip


def test_json_is_yaml_also_where_it_writes_a_character_as_two_escapes():
    text = json.dumps({"version": 1, "filesystem_policy": {"read_only": ["/\U0001f40d"]}})
    assert parse(text, name="p").filesystem_policy.read_only == ("/\U0001f40d",)


def test_an_empty_key_is_a_key():
    assert places('version: 1\nnetwork_policies: {"": 1}') == ['2:24: network_policies[""]']


def test_the_same_text_is_parsed_once_and_errors_still_name_their_own_file():
    text = "version: 1\n# the same text\n"
    assert parse(text, name="a") is parse(text, name="b")
    for name in ("a", "b"):
        with refused(InvalidPolicyError, at=f"{name}:1:1"):
            parse("", name=name)


NEWER = """\
version: 1
network_policies:
  api: {endpoints: [{hosts: x}]}
inference:
  routes: []
"""


def test_what_is_kept_of_a_newer_openshell_is_told_with_its_place():
    policy = parse(NEWER, name="policy.yaml")
    misspelt, newer = policy.notices
    check_message(misspelt, "host?", at="policy.yaml:3:22: network_policies.api.endpoints[0].hosts")
    check_message(newer, at="policy.yaml:4:1: inference")
    assert parse(NEWER, name="other.yaml").notices[0].startswith("other.yaml:3:22: ")
    assert policy.notices[0].startswith("policy.yaml")


def test_it_is_told_of_no_policy_that_has_mistakes_besides():
    assert places(f"{NEWER}landlock: {{scopes: []}}\n") == ["6:12: landlock.scopes"]


# Files


def test_a_file_is_read_anew_each_time(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text("version: 1\n")
    assert load(file).filesystem_policy is None
    file.write_text("version: 1\nfilesystem_policy: {}\n")
    assert load(file).filesystem_policy is not None


def test_a_byte_order_mark_is_accepted(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_bytes(b"\xef\xbb\xbfversion: 1\r\nlandlock: {}\r\n")
    assert load(file).version == 1


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("case", "make"),
    [
        ("no file", str),
        ("a folder", Path.mkdir),
        ("a FIFO, which must not hang", make_fifo),
        ("a socket", make_socket),
        ("a link that leads nowhere", lambda path: path.symlink_to("nowhere")),
        ("a link to itself", lambda path: path.symlink_to(path)),
        ("a file beyond 1 MiB", lambda path: path.write_bytes(b"version: 1\n" + b"#" * 1024 * 1024)),
    ],
)
def test_what_cannot_be_read_is_named(case, make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's name has little room
    path = Path("policy.yaml")
    make(path)
    with refused(PolicyError, at=path):
        load(path)


def test_a_file_that_is_not_utf_8_is_refused_at_the_byte(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_bytes(b"version: 1\nx: \xff")
    with refused(InvalidPolicyError, at=f"{path}:2:4"):
        load(path)


def test_reading_leaves_no_descriptor_behind(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text("version: 1\n")
    before = len(list(Path("/proc/self/fd").iterdir()))
    load(file)
    for bad in (tmp_path, tmp_path / "absent"):
        with pytest.raises(PolicyError):
            load(bad)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_name_that_no_file_can_have_is_an_ordinary_error():
    with refused(PolicyError, "/a"):
        load("/a\0b")


# Properties

WORDS = st.sampled_from(
    [
        "jupyter",
        "environment",
        "pass",
        "set",
        "home",
        "gpu",
        "request",
        "count",
        "devices",
        "baseline_conflicts",
        "mode",
        "version",
        "filesystem_policy",
        "read_only",
        "read_write",
        "include_workdir",
        "landlock",
        "compatibility",
        "hard_requirement",
        "process",
        "run_as_user",
        "network_policies",
        "endpoints",
        "host",
        "port",
        "binaries",
        "path",
        "network_middlewares",
        "/usr",
        "//",
        "..",
        "1",
        "true",
        "~",
        "<<",
        ".inf",
        "1e999",
        "0x",
        "2024-01-01",
    ]
)
YAML_ISH = st.lists(
    st.one_of(
        WORDS,
        st.sampled_from(
            [
                ": ",
                ":\n  ",
                ":\n    ",
                "\n",
                "\n- ",
                "\n  - ",
                "[",
                "]",
                "{",
                "}",
                ", ",
                "&a ",
                "*a ",
                "!x ",
                "!!int ",
                "? ",
                '"',
                "'",
                "|\n ",
                "#",
                "---\n",
                "...\n",
                "%YAML 1.1\n",
                "\t",
                "\r",
                "\\",
            ]
        ),
        st.text(max_size=3),
    ),
    max_size=40,
).map("".join)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), WORDS),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.one_of(WORDS, st.text(max_size=4)), children, max_size=4)
    ),
    max_leaves=20,
)
PATHS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8), max_size=4
).map(lambda parts: "/" + "/".join(part for part in parts if ".." not in part.split("/")))
POLICIES = st.fixed_dictionaries(
    {"version": st.just(1)},
    optional={
        "filesystem_policy": st.fixed_dictionaries(
            {},
            optional={
                "include_workdir": st.booleans(),
                "read_only": st.lists(PATHS, max_size=5),
                "read_write": st.lists(PATHS.map(lambda path: "/data" + path), max_size=5),
            },
        ),
        "landlock": st.fixed_dictionaries(
            {}, optional={"compatibility": st.sampled_from(["best_effort", "hard_requirement"])}
        ),
        "process": st.fixed_dictionaries(
            {},
            optional={
                key: st.integers(1, 4294967294).map(str) | st.just("sandbox") for key in ("run_as_user", "run_as_group")
            },
        ),
        "jupyter": st.fixed_dictionaries(
            {},
            optional={
                "home": st.sampled_from(["project", "ephemeral"]),
                "gpu": st.fixed_dictionaries(
                    {},
                    optional={
                        "request": st.sampled_from(["auto", "required"]),
                        "devices": st.lists(st.integers(0, 9) | st.just("GPU-8932f937"), max_size=2),
                        "extras": st.lists(st.sampled_from(["dri", "mps"]), max_size=2),
                    },
                ),
                "baseline_conflicts": st.fixed_dictionaries(
                    {},
                    optional={
                        "mode": st.sampled_from(["keep_unlisted", "reject_all"]),
                        "allow_promotion": st.lists(st.sampled_from(["/proc", "/dev/*"]), max_size=2),
                    },
                ),
                "environment": st.fixed_dictionaries(
                    {},
                    optional={
                        "pass": st.lists(st.from_regex(r"[A-Z_*?]{1,4}", fullmatch=True), max_size=2),
                        "set": st.dictionaries(
                            st.from_regex(r"[A-Z_]{1,4}", fullmatch=True),
                            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4),
                            max_size=2,
                        ),
                    },
                ),
            },
        ),
        "network_middlewares": st.dictionaries(
            st.text(max_size=4),
            st.fixed_dictionaries(
                {"middleware": st.text(max_size=4)},
                optional={
                    "config": st.dictionaries(
                        st.text(max_size=4), st.floats(allow_nan=False, allow_infinity=False), max_size=2
                    )
                },
            ),
            max_size=2,
        ),
    },
)


@given(st.text())
@example("\ufeff")
@example("a: 1\r\nb: [")
@example("%TAG ! tag:x,2000:\n---\n!int 3")
def test_no_text_crashes_loading(text):
    outcome(text)


@given(YAML_ISH)
@settings(max_examples=500)
def test_nothing_that_looks_like_yaml_crashes_loading(text):
    outcome(text)


@pytest.mark.slow
@given(st.dictionaries(WORDS, VALUES, max_size=5))
def test_no_structure_crashes_loading(data):
    outcome(json.dumps(data))


@given(st.binary())
def test_no_bytes_crash_loading(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("bytes") / "policy.yaml"
    file.write_bytes(content)
    with contextlib.suppress(PolicyError):
        load(file)


@given(POLICIES)
def test_a_valid_policy_survives_being_declared_and_loaded_again(data):
    policy = parse(json.dumps(data), name="policy.yaml")
    assert isinstance(policy, Policy)
    again = parse(json.dumps(policy.declared()), name="policy.yaml")
    assert again == policy
    assert again.declared() == policy.declared()
    assert policy.declared().keys() == data.keys()
