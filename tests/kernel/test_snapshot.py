"""The snapshot can only be read as the launcher left it; whatever else is there is one readable error."""

import copy
import fcntl
import json
import os

import pytest
from fakes import snapshots
from hypothesis import given
from hypothesis import strategies as st
from support.errors import refused

from openshell_kernel.errors import SnapshotError
from openshell_kernel.kernel import memfd, snapshot
from openshell_kernel.policy.effective import Access, Origin
from openshell_kernel.policy.explain import Kind
from openshell_kernel.sandbox.layers.table import LAYERS
from openshell_kernel.sandbox.report import LayerStatus

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@pytest.fixture
def sealed():
    """Make memory files that are closed after the test."""
    fds = []

    def make(*args, **kwargs):
        fds.append(snapshots.memfd(*args, **kwargs))
        return fds[-1]

    yield make
    for fd in fds:
        os.close(fd)


def parse(data):
    return snapshot.parse(json.dumps(data).encode())


def test_what_the_launcher_sealed_is_read_wherever_the_offset_stands(sealed):
    fd = sealed(snapshots.record())
    first = snapshot.read(fd)
    assert snapshot.read(fd) == first
    assert first.report.abi == 7
    assert first.kernel.workdir == "/home/ada/projects/vision"


def test_an_applied_rule_has_the_rights_and_the_place_that_were_really_given():
    policy = snapshots.effective(snapshots.rule("/data/link", Access.READ_WRITE))
    given_rights = policy.rules[0]._replace(resolved="/mnt/file", kind=Kind.FILE, rights=("read_file",))
    result = parse(snapshots.record(policy, rules=(given_rights,)))
    (rule,) = result.effective.rules
    assert rule.rights == ("read_file",)
    assert rule.resolved == "/mnt/file"
    assert result.kinds() == {"/data/link": Kind.FILE}


def test_a_rule_that_could_not_be_applied_is_skipped_with_its_problem():
    policy = snapshots.effective(snapshots.rule("/a"), snapshots.rule("/b"))
    rules = [snapshots.applied(policy.rules[0]), snapshots.applied(policy.rules[1], "No such file or directory")]
    result = parse(snapshots.record(policy, rules=rules)).effective
    assert [rule.path for rule in result.rules] == ["/a"]
    (skipped,) = result.skipped
    assert (skipped.path, skipped.why) == ("/b", "No such file or directory")
    assert (skipped.access, skipped.origin) == (Access.READ_ONLY, Origin.POLICY)


def test_without_landlock_the_rules_stay_as_they_were_asked_for():
    result = parse(snapshots.unenforced())
    assert not result.report.enforced
    asked = snapshots.rich_policy()
    assert [(rule.path, rule.rights) for rule in result.effective.rules] == [
        (rule.path, rule.rights) for rule in asked.rules
    ]
    assert result.effective.skipped == asked.skipped


def test_the_json_for_programs_is_json_and_names_the_rights_that_were_given():
    result = parse(snapshots.record())
    data = json.loads(json.dumps(result.to_json()))
    assert data.keys() == {"format", "effective", "report", "kernel"}
    assert data["effective"]["rules"][0]["resolved"] == "/usr"
    assert data["report"]["rules"][0]["kind"] == "directory"


@pytest.mark.parametrize("missing", [fcntl.F_SEAL_SEAL, fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, fcntl.F_SEAL_WRITE])
def test_a_memory_file_that_lacks_any_seal_is_refused(sealed, missing):
    with pytest.raises(SnapshotError):
        snapshot.read(sealed(snapshots.record(), seals=snapshots.ALL_SEALS & ~missing))


def test_a_memory_file_without_seals_is_refused(sealed):
    with pytest.raises(SnapshotError):
        snapshot.read(sealed(snapshots.record(), seals=0))


def test_a_file_in_place_of_the_memory_file_is_refused(tmp_path):
    path = tmp_path / "snapshot"
    path.write_text(json.dumps(snapshots.record()))
    with path.open() as file, pytest.raises(SnapshotError):
        snapshot.read(file.fileno())


def test_a_closed_descriptor_is_refused():
    with pytest.raises(SnapshotError):
        snapshot.read(987_654)


def test_a_record_that_is_too_large_is_not_read(sealed):
    with pytest.raises(SnapshotError):
        snapshot.read(sealed(b" " * (memfd.SIZE_LIMIT + 1)))


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "٣", "99999999999999999999", " 3"])
def test_a_variable_that_is_not_a_number_is_refused(value):
    with refused(SnapshotError, memfd.VARIABLE):
        memfd.descriptor({memfd.VARIABLE: value})


def test_outside_an_openshell_kernel_there_is_no_descriptor():
    assert memfd.descriptor({}) is None


@pytest.mark.parametrize("version", [0, 1, "2", None, True, [1]])
def test_another_format_is_refused(version):
    with pytest.raises(SnapshotError):
        parse({**snapshots.record(), "format": version})


def test_in_the_record_the_rules_stand_once():
    data = snapshots.record()
    assert data["effective"]["rules"] == []
    assert len(parse(data).effective.rules) == len(data["report"]["rules"]) - 1


def test_what_a_missing_layer_leaves_open_is_not_enforced():
    tunables = snapshots.layer("tunables", LayerStatus.ABSENT, residual=LAYERS["tunables"].residual)
    missing = parse(snapshots.record(layers=(snapshots.layer("landlock"), tunables))).effective.unenforced
    whole = parse(snapshots.record(layers=(snapshots.layer("landlock"), snapshots.layer("tunables"))))
    assert set(missing) - set(whole.effective.unenforced) == set(LAYERS["tunables"].residual)


def test_a_damaged_report_is_named_by_its_path():
    data = snapshots.record()
    data["report"]["rules"][3]["path"] = "relative"
    with refused(SnapshotError, "$.report.rules[3].path: "):
        parse(data)


def test_nesting_beyond_all_measure_is_an_error_not_a_crash():
    with pytest.raises(SnapshotError):
        snapshot.parse(b"[" * 200_000)


@given(st.binary(max_size=200))
def test_no_bytes_cause_anything_but_a_snapshot_error(content):
    with pytest.raises(SnapshotError):
        snapshot.parse(content)


@given(JSON)
def test_no_json_causes_anything_but_a_snapshot_error(data):
    with pytest.raises(SnapshotError):
        parse(data)


@pytest.mark.slow
@given(st.data(), JSON)
def test_no_damage_at_any_place_causes_anything_but_a_snapshot_error(data, value):
    """Any value anywhere in a good record is replaced; the message then names a place or the whole is still sound."""
    record = copy.deepcopy(snapshots.record())
    node = record
    while True:
        key = data.draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
        child = node[key]
        if not isinstance(child, (dict, list)) or not child or data.draw(st.booleans()):
            break
        node = child
    node[key] = value
    try:
        parse(record)
    except SnapshotError as error:
        assert str(error)  # noqa: PT017 - both outcomes are sound
