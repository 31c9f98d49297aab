"""Enrichment follows OpenShell's rules for every policy and any hardware, and tells what it decided."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.errors import check_message, refused

from openshell_kernel.base.hardware import Extra, Family, Hardware, Status
from openshell_kernel.errors import PolicyError
from openshell_kernel.policy import baseline, loading, unenforced
from openshell_kernel.policy.effective import (
    DEVICE_RIGHTS,
    PROC_READ_RIGHTS,
    PROC_WRITE_RIGHTS,
    Access,
    Compatibility,
    EffectivePolicy,
    Origin,
    decode,
)
from openshell_kernel.policy.enrichment import enrich
from openshell_kernel.policy.model import Policy
from openshell_kernel.policy.runtime import Runtime

NO_GPU = Hardware(status=Status.NO_LIBRARY, detail="")
TWO_GPUS = Hardware(
    status=Status.OK,
    detail="",
    present=True,
    nodes=("/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia3", "/dev/nvidia-uvm", "/dev/nvidia"),
)
RUNTIME = Runtime(
    needs=(baseline.writing("/private/tmp", "temporary", required=True), *baseline.SYSTEM), workdir="/home/me/notebooks"
)


def policy(
    read_only=(), read_write=(), *, workdir=False, network=None, compatibility="best_effort", block=True, gpu=None
):
    data = {"version": 1, "landlock": {"compatibility": compatibility}}
    if block:
        data["filesystem_policy"] = {
            "include_workdir": workdir,
            "read_only": list(read_only),
            "read_write": list(read_write),
        }
    if network is not None:
        data["network_policies"] = network
    if gpu is not None:
        data["jupyter"] = {"gpu": gpu}
    return Policy.model_validate(data)


def enriched(document, hardware=NO_GPU, runtime=RUNTIME, exists=lambda _: True, realpath=str):
    return enrich(document, hardware, runtime, source="test", exists=exists, realpath=realpath)


def rules(effective):
    return {rule.path: rule for rule in effective.rules}


NETWORK = {"api": {"name": "api", "endpoints": [{"host": "example.org", "port": 443}], "binaries": []}}


@pytest.mark.parametrize(
    "network", [None, {}, NETWORK], ids=["no network policies", "empty ones", "with network policies"]
)
def test_with_a_gpu_proc_is_promoted_to_reading_and_writing_existing_files(network):
    effective = enriched(policy(read_only=["/usr", "/proc"], network=network), TWO_GPUS)
    rule = rules(effective)["/proc"]
    assert (rule.access, rule.origin, rule.rights) == (Access.READ_WRITE, Origin.PROMOTION, PROC_WRITE_RIGHTS)
    assert [promotion.path for promotion in effective.promotions] == ["/proc"]
    assert rule.reason


def test_without_a_gpu_proc_stays_read_only():
    effective = enriched(policy(read_only=["/proc"]))
    assert rules(effective)["/proc"].access is Access.READ_ONLY
    assert rules(effective)["/proc"].rights == PROC_READ_RIGHTS
    assert effective.promotions == ()


def test_proc_is_recognised_however_it_is_written():
    assert enriched(policy(read_only=["//proc/./"]), TWO_GPUS).promotions[0].path == "/proc"


def test_a_gpu_adds_proc_where_the_policy_does_not_list_it():
    effective = enriched(policy(), TWO_GPUS)
    assert rules(effective)["/proc"].origin is Origin.GPU_BASELINE
    assert effective.promotions == ()


@pytest.mark.parametrize("path", ["/dev/nvidiactl", "/dev/nvidia0", "/dev/shm", "/dev/null", "/private/tmp"])
def test_any_other_explicit_read_only_path_stays_read_only_and_the_conflict_is_told(path):
    effective = enriched(policy(read_only=[path]), TWO_GPUS)
    assert rules(effective)[path].access is Access.READ_ONLY
    assert [conflict.path for conflict in effective.conflicts] == [path]
    assert effective.promotions == ()


def test_gpu_nodes_are_read_write_with_ioctl_and_only_numbered_ones_count():
    found = rules(enriched(policy(), TWO_GPUS))
    for path in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia3", "/dev/nvidia-uvm"):
        assert (found[path].access, found[path].rights) == (Access.READ_WRITE, DEVICE_RIGHTS)
        assert found[path].origin is Origin.GPU_BASELINE
    assert "/dev/nvidia" not in found
    assert "/dev/nvidia1" not in found


def test_without_a_gpu_no_gpu_path_is_granted():
    assert not [path for path in rules(enriched(policy())) if "nvidia" in path or path == "/dev/dxg"]


def test_with_a_gpu_the_toolkit_and_the_drivers_settings_are_readable():
    found = rules(enriched(policy(), TWO_GPUS))
    assert [found[path].access for path in ("/opt/nvidia", "/opt/cuda", "/etc/nvidia")] == [Access.READ_ONLY] * 3
    assert "execute" in found["/opt/cuda"].rights
    assert "execute" not in found["/etc/nvidia"].rights
    assert not {"/opt/nvidia", "/opt/cuda", "/etc/nvidia"} & rules(enriched(policy())).keys()


@pytest.mark.parametrize("path", ["/proc", "/sys/class/net", "/sys/bus/pci/devices"])
def test_what_programs_look_up_of_the_machine_is_readable_where_the_policy_says_nothing(path):
    rule = rules(enriched(policy()))[path]
    assert (rule.access, rule.origin, set(rule.rights)) == (
        Access.READ_ONLY,
        Origin.RUNTIME_BASELINE,
        {"read_file", "read_dir"},
    )


def test_without_a_gpu_what_each_device_is_can_be_read_for_gloo():
    classes = ("/sys/bus/pci/devices/0000:00:01.0/class",)
    hardware = replace(NO_GPU, pci_classes=classes)
    assert rules(enriched(policy(), hardware))[classes[0]].origin is Origin.RUNTIME_BASELINE
    assert classes[0] not in rules(enriched(policy(), replace(TWO_GPUS, pci_classes=classes)))


def test_on_a_machine_whose_gpus_it_is_not_given_a_kernel_may_name_its_own_threads():
    rule = rules(enriched(policy(gpu={"request": "none"}), TWO_GPUS))["/proc/self/task"]
    assert (rule.access, rule.rights) == (Access.READ_WRITE, PROC_WRITE_RIGHTS)
    assert "/proc/self/task" not in rules(enriched(policy(), TWO_GPUS)) | rules(enriched(policy()))


@pytest.mark.parametrize(("extras", "owned_up"), [([], True), (["mps"], False)])
def test_the_mps_server_is_owned_up_to_where_the_policy_does_not_ask_for_it(extras, owned_up):
    hardware = replace(TWO_GPUS, extras=(Family(name=Extra.MPS, paths=("/tmp/nvidia-mps",)),))
    effective = enriched(policy(gpu={"extras": extras}), hardware)
    assert ("the MPS server" in {item.what for item in effective.unenforced}) is owned_up


def test_the_proxy_baseline_needs_network_policies():
    assert "/app" not in rules(enriched(policy()))
    assert "/app" not in rules(enriched(policy(network={})))
    assert rules(enriched(policy(network=NETWORK)))["/app"].origin is Origin.PROXY_BASELINE


def test_baseline_paths_that_do_not_exist_are_skipped_and_the_policys_are_not():
    effective = enriched(policy(read_only=["/missing"]), TWO_GPUS, exists=lambda _: False)
    assert set(rules(effective)) == {"/missing", "/private/tmp"}


@pytest.mark.parametrize(("compatibility", "required"), [("best_effort", False), ("hard_requirement", True)])
def test_hard_requirement_makes_the_policys_paths_required_and_not_the_baselines(compatibility, required):
    found = rules(enriched(policy(read_only=["/data"], compatibility=compatibility)))
    assert found["/data"].required is required
    assert found["/usr"].required is False


def test_the_working_directory_is_granted_where_the_policy_includes_it():
    assert rules(enriched(policy(workdir=True)))["/home/me/notebooks"].origin is Origin.WORKDIR
    assert rules(enriched(policy(block=False)))["/home/me/notebooks"].origin is Origin.WORKDIR
    assert "/home/me/notebooks" not in rules(enriched(policy(workdir=False)))


def test_an_unsafe_working_directory_is_left_out_and_told():
    runtime = Runtime(needs=(), workdir="/home/me", workdir_refusal="it is your home directory")
    effective = enriched(policy(workdir=True), runtime=runtime)
    assert "/home/me" not in rules(effective)
    assert [(skipped.path, skipped.why) for skipped in effective.skipped] == [("/home/me", "it is your home directory")]


def test_a_working_directory_that_the_policy_lists_read_only_stays_read_only():
    effective = enriched(policy(read_only=["/home/me/notebooks"], workdir=True))
    assert rules(effective)["/home/me/notebooks"].access is Access.READ_ONLY
    assert [conflict.origin for conflict in effective.conflicts] == [Origin.WORKDIR]


def test_a_read_only_path_beneath_a_read_write_one_is_told():
    effective = enriched(policy(read_only=["/data/raw"], read_write=["/data"]))
    check_message(effective.notices[0], "/data/raw")


@pytest.mark.parametrize(
    ("listed", "workdir", "folder"),
    [
        pytest.param({"read_only": ["/data/raw/x"], "read_write": ["/data"]}, False, "/data", id="one that it lists"),
        pytest.param({"read_only": ["/home/me/notebooks/raw"]}, True, "/home/me/notebooks", id="the working directory"),
    ],
)
def test_with_hard_requirement_a_read_only_path_beneath_a_folder_that_the_policy_makes_writable_is_an_error(
    listed, workdir, folder
):
    document = policy(**listed, workdir=workdir, compatibility="hard_requirement")
    with refused(PolicyError, listed["read_only"][0], folder, "landlock.compatibility", at="test") as caught:
        enriched(document)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["/home/me/notebooks/raw", "/home/me/notebooks"])
def test_a_folder_that_has_another_name_than_the_policys_is_known_all_the_same(path):
    listed = {"read_only": [path], "read_write": ["/data/home/me/notebooks"]}

    def realpath(path):
        return f"/data{path}" if path.startswith("/home") else path

    effective = enriched(policy(**listed), realpath=realpath)
    check_message(effective.notices[0], path)
    with refused(PolicyError, path, "landlock.compatibility"):
        enriched(policy(**listed, compatibility="hard_requirement"), realpath=realpath)


@pytest.mark.parametrize("path", ["/private/tmp/x", "/dev/shm/x", "/tmp/x"])
def test_what_a_baseline_makes_writable_is_told_and_no_error(path):
    effective = enriched(policy(read_only=[path], network=NETWORK, compatibility="hard_requirement"))
    check_message(effective.notices[0], path)


def test_a_read_only_path_beneath_the_promoted_proc_is_told():
    effective = enriched(policy(read_only=["/proc", "/proc/sys"], compatibility="hard_requirement"), TWO_GPUS)
    check_message(effective.notices[0], "/proc/sys")
    assert enriched(policy(read_only=["/proc", "/proc/sys"])).notices == ()


def test_network_policies_are_told_as_not_enforced_and_kept():
    effective = enriched(policy(network=NETWORK))
    assert "network_policies" in [item.what for item in effective.unenforced]
    assert effective.declared["network_policies"] == NETWORK


@pytest.mark.parametrize(
    ("identity", "told"), [({"run_as_user": "1500"}, True), ({"run_as_user": ""}, False), ({}, False)]
)
def test_an_identity_that_is_not_applied_is_told_where_one_is_asked_for(identity, told):
    effective = enriched(Policy.model_validate({"version": 1, "process": identity}))
    assert (unenforced.PROCESS in effective.unenforced) is told


def test_devices_are_never_made_whatever_the_policy_says():
    effective = enriched(policy(read_write=["/data", "/dev"]), TWO_GPUS)
    assert not {"make_char", "make_block"} & {right for rule in effective.rules for right in rule.rights}
    assert "ioctl_dev" not in rules(effective)["/dev"].rights


PATHS = st.lists(
    st.sampled_from(
        [
            "/proc",
            "/usr",
            "/data",
            "/data/x",
            "/dev/nvidia0",
            "/dev/nvidiactl",
            "/dev/null",
            "/dev/shm",
            "/tmp",
            "/etc",
            "/home/me/notebooks",
            "/private/tmp",
            "/app",
            "/run/nvidia-persistenced",
        ]
    )
    | st.from_regex(r"(/[a-z.]{1,8}){1,4}", fullmatch=True).filter(
        lambda path: ".." not in path.split("/") and path != "/."
    ),
    max_size=12,
)
POLICIES = st.builds(
    policy,
    PATHS,
    PATHS.map(lambda paths: [path for path in paths if path.strip("/.")]),
    workdir=st.booleans(),
    network=st.sampled_from([None, {}, NETWORK]),
)
INVENTORIES = st.sampled_from([NO_GPU, TWO_GPUS])


def as_lists(effective):
    return {access: {rule.path for rule in effective.rules if rule.access is access} for access in Access}


@pytest.mark.slow
@given(POLICIES, INVENTORIES)
def test_the_lists_stay_disjoint_and_no_path_of_the_user_is_lost(document, hardware):
    effective = enriched(document, hardware)
    paths = [rule.path for rule in effective.rules]
    assert len(paths) == len(set(paths))
    lists = as_lists(effective)
    declared = document.filesystem_policy
    assert set(declared.read_write) <= lists[Access.READ_WRITE]
    promoted = {promotion.path for promotion in effective.promotions}
    assert promoted <= {"/proc"}
    assert set(declared.read_only) - set(declared.read_write) - promoted <= lists[Access.READ_ONLY]


@pytest.mark.slow
@given(POLICIES, INVENTORIES)
def test_hard_requirement_changes_what_is_required_or_refuses_what_stays_writable(document, hardware):
    hard = document.model_copy(
        update={"landlock": document.landlock.model_copy(update={"compatibility": Compatibility.HARD_REQUIREMENT})}
    )
    loose = enriched(document, hardware)
    try:
        strict = enriched(hard, hardware)
    except PolicyError:
        assert loose.notices
    else:
        assert [rule._replace(required=False) for rule in strict.rules] == [
            rule._replace(required=False) for rule in loose.rules
        ]


@pytest.mark.slow
@given(POLICIES, INVENTORIES)
def test_enrichment_is_idempotent(document, hardware):
    once = as_lists(enriched(document, hardware))
    network = document.declared().get("network_policies")
    again = policy(once[Access.READ_ONLY], once[Access.READ_WRITE], workdir=document.include_workdir, network=network)
    assert as_lists(enriched(again, hardware)) == once


@pytest.mark.slow
@given(POLICIES, INVENTORIES)
def test_every_rule_has_a_reason_and_the_record_survives_json(document, hardware):
    effective = enriched(document, hardware)
    assert all(rule.reason and rule.rights for rule in effective.rules)
    assert decode(EffectivePolicy, effective.to_json()) == effective


def silent(**lists):
    return Policy.model_validate({"version": 1, "filesystem_policy": {"read_only": ["/usr"], **lists}})


def test_a_policy_that_does_not_say_whether_it_includes_the_notebooks_folder_is_told_the_line():
    (lost,) = enriched(silent()).skipped
    assert (lost.path, lost.origin, lost.access) == ("/home/me/notebooks", Origin.WORKDIR, Access.READ_WRITE)
    assert "include_workdir: true" in lost.why


def test_nobody_is_told_to_include_a_folder_that_would_be_refused():
    (lost,) = enriched(silent(), runtime=replace(RUNTIME, workdir_refusal="it is your home directory")).skipped
    assert "it is your home directory" in lost.why
    assert "include_workdir: true" not in lost.why


@pytest.mark.parametrize(
    "document",
    [
        policy(["/usr"], workdir=False),
        policy(["/usr"], workdir=True),
        policy(block=False),
        silent(read_write=["/home/me/notebooks"]),
        silent(read_write=["/home/me"]),
    ],
    ids=["it says no", "it says yes", "it has no such section", "it lists the folder", "it lists one above"],
)
def test_where_the_author_has_decided_nothing_is_told(document):
    assert enriched(document).skipped == ()


def test_what_a_newer_openshell_demands_is_told_and_owned_up_to():
    written = loading.parse("version: 1\ninference: {}\nnetwork_policies: {a: {new: 1}}\n", name="p")
    effective = enriched(written)
    for notice, place in zip(effective.notices, ("p:2:1: inference", "p:3:24: network_policies.a.new"), strict=False):
        check_message(notice, at=place)
    assert unenforced.unknown(["inference"]) in effective.unenforced
    assert effective.declared["inference"] == {}


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ({"read_write": ("/home/me",)}, None),
        ({"read_write": ("/home/me/notebooks",)}, None),
        ({"read_only": ("/home/me",)}, "unsafe"),
        ({"read_write": ("/home/me/notes",)}, "unsafe"),
    ],
)
def test_a_working_directory_that_is_not_granted_by_itself_and_is_by_the_policy_is_not_missed(listed, told):
    runtime = replace(RUNTIME, workdir_refusal="unsafe")
    effective = enrich(policy(workdir=True, **listed), NO_GPU, runtime, source="p", realpath=lambda path: path)
    assert [told in skipped.why for skipped in effective.skipped] == ([True] if told else [])


def test_what_is_refused_by_itself_is_told_of_only_where_the_policy_does_not_grant_it():
    runtime = replace(RUNTIME, refused=(("/home/me/lib", "lib is not granted"), ("/srv/lib", "srv is not granted")))
    for listed, expected in (((), ["lib is not granted", "srv is not granted"]), (("/srv",), ["lib is not granted"])):
        effective = enrich(policy(listed), NO_GPU, runtime, source="p", realpath=lambda path: path)
        assert [notice for notice in effective.notices if "is not granted" in notice] == expected
