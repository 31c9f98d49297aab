"""The schema: what OpenShell accepts is accepted, what it refuses is refused, and a typo never weakens a sandbox."""

import copy

import pytest
from pydantic import ValidationError
from support.errors import check_message

from openshell_kernel.policy.blocks.block import unknown_keys
from openshell_kernel.policy.blocks.errors import INVALID_VALUE, MISSING_KEY, UNKNOWN_KEY
from openshell_kernel.policy.blocks.paths import normalise
from openshell_kernel.policy.effective import MAX_PATHS
from openshell_kernel.policy.model import Policy


def problems(data):
    """What is wrong with a policy, each as key, kind and text; nothing if it is valid."""
    try:
        Policy.model_validate({"version": 1, **data})
    except ValidationError as error:
        return [
            (".".join(map(str, line["loc"])), line["type"], f"{line['ctx']['problem']}; {line['ctx']['remedy']}")
            for line in error.errors()
        ]
    return []


def check_told(data, key, kind, *named):
    """Check that one thing is wrong, of this kind, at this key, and that its text names what is meant."""
    ((at, found, text),) = problems(data)
    assert (at, found) == (key, kind)
    check_message(text, *named)


def filesystem(**keys):
    return {"filesystem_policy": keys}


def variables(**keys):
    return {"jupyter": {"environment": keys}}


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("/usr", "/usr"),
        ("/usr/", "/usr"),
        ("//usr", "/usr"),
        ("/usr//lib/./x/", "/usr/lib/x"),
        ("/", "/"),
        ("//", "/"),
        ("/.", "/"),
        ("/./", "/"),
        ("/...", "/..."),
        ("/a/../b", "/a/../b"),
        ("./usr", "./usr"),
        ("", ""),
    ],
)
def test_normalisation_is_lexical_and_resolves_neither_links_nor_parents(written, normal):
    assert normalise(written) == normal
    assert normalise(normal) == normal


@pytest.mark.parametrize(
    ("case", "data", "expected"),
    [
        (
            "a relative path is refused",
            filesystem(read_only=["usr"]),
            ("filesystem_policy.read_only.0", INVALID_VALUE),
        ),
        ("an empty path is refused", filesystem(read_only=[""]), ("filesystem_policy.read_only.0", INVALID_VALUE)),
        (
            "a tilde is not expanded",
            filesystem(read_write=["~/x"]),
            ("filesystem_policy.read_write.0", INVALID_VALUE),
        ),
        (
            "a parent component is refused",
            filesystem(read_only=["/a/../b"]),
            ("filesystem_policy.read_only.0", INVALID_VALUE),
        ),
        (
            "a parent component at the end is refused",
            filesystem(read_only=["/a/.."]),
            ("filesystem_policy.read_only.0", INVALID_VALUE),
        ),
        ("a NUL byte is refused", filesystem(read_only=["/a\0b"]), ("filesystem_policy.read_only.0", INVALID_VALUE)),
        (
            "the length is counted in bytes",
            filesystem(read_only=["/" + "é" * 2048]),
            ("filesystem_policy.read_only.0", INVALID_VALUE),
        ),
        (
            "the root is too broad to be written",
            filesystem(read_write=["/"]),
            ("filesystem_policy.read_write.0", INVALID_VALUE),
        ),
        (
            "the root in disguise is too broad as well",
            filesystem(read_write=["/./"]),
            ("filesystem_policy.read_write.0", INVALID_VALUE),
        ),
        (
            "a double slash is the root",
            filesystem(read_write=["//"]),
            ("filesystem_policy.read_write.0", INVALID_VALUE),
        ),
        ("a path must be a string", filesystem(read_only=[1]), ("filesystem_policy.read_only.0", INVALID_VALUE)),
        ("a list of paths is a list", filesystem(read_only="/usr"), ("filesystem_policy.read_only", INVALID_VALUE)),
        (
            "a mapping is not a list of paths",
            filesystem(read_only={"/usr": 1}),
            ("filesystem_policy.read_only", INVALID_VALUE),
        ),
        (
            "yes is a string",
            filesystem(include_workdir="yes"),
            ("filesystem_policy.include_workdir", INVALID_VALUE),
        ),
        ("1 is not true", filesystem(include_workdir=1), ("filesystem_policy.include_workdir", INVALID_VALUE)),
        (
            "256 paths are the limit of both lists together",
            filesystem(read_only=["/a"] * 200, read_write=["/b"] * 57),
            ("filesystem_policy", INVALID_VALUE),
        ),
        (
            "an empty block is ambiguous",
            {"filesystem_policy": None},
            ("filesystem_policy", INVALID_VALUE),
        ),
        (
            "a block is a mapping",
            {"filesystem_policy": [1]},
            ("filesystem_policy", INVALID_VALUE),
        ),
        (
            "a near miss is named",
            {"filesystem": {}},
            ("filesystem", UNKNOWN_KEY, "filesystem_policy"),
        ),
        (
            "a near miss deeper is named",
            filesystem(readonly=[]),
            ("filesystem_policy.readonly", UNKNOWN_KEY, "read_only"),
        ),
        (
            "a far miss gets the known keys",
            {"x/y": 1},
            ("x/y", UNKNOWN_KEY),
        ),
        (
            "a key in the wrong place is named with the right one",
            {"read_only": []},
            ("read_only", UNKNOWN_KEY, "filesystem_policy"),
        ),
        (
            "a block of another name with known keys is a mistake",
            {"fs": {"read_only": []}},
            ("fs", UNKNOWN_KEY),
        ),
        ("a block is known however it is joined", {"file-system": {}}, ("file-system", UNKNOWN_KEY)),
        ("a newer block of what is enforced is refused", {"process_limits": {}}, ("process_limits", UNKNOWN_KEY)),
        ("a newer key of what is enforced is refused", {"landlock": {"scopes": []}}, ("landlock.scopes", UNKNOWN_KEY)),
        ("the version is a number", {"version": "1"}, ("version", INVALID_VALUE)),
        ("the version is not true", {"version": True}, ("version", INVALID_VALUE)),
        ("the version is not a fraction", {"version": 1.0}, ("version", INVALID_VALUE)),
        ("version 2 is unknown", {"version": 2}, ("version", INVALID_VALUE)),
        ("a null version is refused", {"version": None}, ("version", INVALID_VALUE)),
        (
            "a misspelt compatibility is refused",
            {"landlock": {"compatibility": "hard-requirement"}},
            ("landlock.compatibility", INVALID_VALUE),
        ),
        (
            "the case of compatibility counts",
            {"landlock": {"compatibility": "Best_Effort"}},
            ("landlock.compatibility", INVALID_VALUE),
        ),
        (
            "an empty compatibility is refused",
            {"landlock": {"compatibility": ""}},
            ("landlock.compatibility", INVALID_VALUE),
        ),
        (
            "a null compatibility is refused",
            {"landlock": {"compatibility": None}},
            ("landlock.compatibility", INVALID_VALUE),
        ),
        (
            "a number as identity is to be quoted",
            {"process": {"run_as_user": 1500}},
            ("process.run_as_user", INVALID_VALUE, '"1500"'),
        ),
        (
            "root is refused",
            {"process": {"run_as_user": "0"}},
            ("process.run_as_user", INVALID_VALUE),
        ),
        (
            "the reserved id is refused",
            {"process": {"run_as_group": "4294967295"}},
            ("process.run_as_group", INVALID_VALUE),
        ),
        (
            "other names are refused",
            {"process": {"run_as_user": "root"}},
            ("process.run_as_user", INVALID_VALUE),
        ),
        (
            "digits of other scripts are refused",
            {"process": {"run_as_user": "\u0661\u0665"}},
            ("process.run_as_user", INVALID_VALUE),
        ),
        (
            "surrounding blanks are refused",
            {"process": {"run_as_user": " 5"}},
            ("process.run_as_user", INVALID_VALUE),
        ),
        (
            "thousands of digits are refused",
            {"process": {"run_as_user": "9" * 9999}},
            ("process.run_as_user", INVALID_VALUE),
        ),
        (
            "a port has 16 bits",
            {"network_policies": {"a": {"endpoints": [{"port": 65536}]}}},
            ("network_policies.a.endpoints.0.port", INVALID_VALUE),
        ),
        (
            "a list of ports is checked one by one",
            {"network_policies": {"a": {"endpoints": [{"ports": [1, -1]}]}}},
            ("network_policies.a.endpoints.0.ports.1", INVALID_VALUE),
        ),
        (
            "a binary needs a path",
            {"network_policies": {"a": {"binaries": [{}]}}},
            ("network_policies.a.binaries.0.path", MISSING_KEY),
        ),
        (
            "a network policy is a mapping",
            {"network_policies": {"a": 1}},
            ("network_policies.a", INVALID_VALUE),
        ),
        ("policies have names", {"network_policies": [1]}, ("network_policies", INVALID_VALUE)),
        (
            "a middleware selects lists of hosts",
            {"network_middlewares": {"a": {"endpoints": {"include": "x"}}}},
            ("network_middlewares.a.endpoints.include", INVALID_VALUE),
        ),
        ("an empty extension is ambiguous", {"jupyter": None}, ("jupyter", INVALID_VALUE)),
        (
            "an unknown extension is refused",
            {"jupyter": {"enviroment": {}}},
            ("jupyter.enviroment", UNKNOWN_KEY, "environment"),
        ),
        ("keys are named as they are written", variables(x=1), ("jupyter.environment.x", UNKNOWN_KEY)),
        ("a pattern is one of names", variables(**{"pass": ["A-*"]}), ("jupyter.environment.pass.0", INVALID_VALUE)),
        ("a pattern is not empty", variables(**{"pass": [""]}), ("jupyter.environment.pass.0", INVALID_VALUE)),
        (
            "a token of the server cannot be passed",
            variables(**{"pass": ["JUPYTERHUB_API_TOKEN"]}),
            ("jupyter.environment.pass.0", INVALID_VALUE),
        ),
        ("a variable has a name", variables(set={"A B": "x"}), ("jupyter.environment.set.A B", INVALID_VALUE)),
        ("a name holds no pattern", variables(set={"A*": "x"}), ("jupyter.environment.set.A*", INVALID_VALUE)),
        (
            "what Jupyter sets cannot be set",
            variables(set={"JPY_PARENT_PID": "1"}),
            ("jupyter.environment.set.JPY_PARENT_PID", INVALID_VALUE),
        ),
        ("a value is quoted", variables(set={"A": 1}), ("jupyter.environment.set.A", INVALID_VALUE)),
        ("a value holds no NUL", variables(set={"A": "a\0"}), ("jupyter.environment.set.A", INVALID_VALUE)),
        ("a value can be written", variables(set={"A": "\ud800"}), ("jupyter.environment.set.A", INVALID_VALUE)),
        ("a value is not endless", variables(set={"A": "a" * 65537}), ("jupyter.environment.set.A", INVALID_VALUE)),
        ("a home is one of two", {"jupyter": {"home": "none"}}, ("jupyter.home", INVALID_VALUE)),
    ],
)
def test_a_violation_says_where_what_and_what_to_do(case, data, expected):
    check_told(data, *expected)


@pytest.mark.parametrize(
    ("case", "data"),
    [
        ("only a version", {}),
        ("an empty filesystem policy", {"filesystem_policy": {}}),
        ("lists left empty", filesystem(read_only=None, read_write=None)),
        ("a path in both lists", filesystem(read_only=["/a"], read_write=["/a"])),
        ("256 paths", filesystem(read_only=["/a"] * MAX_PATHS)),
        ("a path of 4096 bytes", filesystem(read_only=["/" + "a" * 4095])),
        ("a long path that normalises to a short one", filesystem(read_only=["/a" + "/." * 4096])),
        ("reading everything", filesystem(read_only=["/"])),
        ("dots that are a name", filesystem(read_write=["/a/...", "/a/..b"])),
        ("the smallest and the largest id", {"process": {"run_as_user": "1", "run_as_group": "4294967294"}}),
        ("OpenShell's own user", {"process": {"run_as_user": "sandbox", "run_as_group": "sandbox"}}),
        ("an empty landlock block", {"landlock": {}}),
        ("an empty extension", {"jupyter": {}}),
        ("variables left empty", variables(**{"pass": None, "set": None})),
        ("variables by name and by pattern", variables(**{"pass": ["HF_TOKEN", "SLURM_*", "?_x"]})),
        ("variables with any text", variables(set={"A": "", "_b1": "ü\n$A ~"})),
        ("a home that goes away", {"jupyter": {"home": "ephemeral"}}),
        ("maps left empty", {"network_policies": None, "network_middlewares": None}),
        (
            "a binary's obsolete key",
            {"network_policies": {"a": {"binaries": [{"path": "/**", "harness": True}]}}},
        ),
        (
            "what belongs to the proxy is not looked at",
            {
                "network_policies": {
                    "a": {
                        "endpoints": [
                            {
                                "rules": [{"any": ["thing", 1, None]}],
                                "deny_rules": [{}],
                                "mcp": {"x": True},
                                "json_rpc": {"max_body_bytes": 1},
                                "credential_binding": {"provider": "p"},
                                "graphql_persisted_queries": {"q": {"fields": []}},
                            }
                        ]
                    }
                }
            },
        ),
    ],
)
def test_accepted(case, data):
    assert problems(data) == [], case


def test_an_empty_identity_is_one_that_is_left_out():
    policy = Policy.model_validate({"version": 1, "process": {"run_as_user": "", "run_as_group": "1500"}})
    assert (policy.process.run_as_user, policy.process.run_as_group) == (None, "1500")
    assert policy.declared()["process"] == {"run_as_group": "1500"}


def test_all_violations_of_all_blocks_are_reported_together():
    data = {
        "filesystem_policy": {"read_only": ["a", 1, "/x/.."], "read_write": ["/"] * 300, "typo": 1},
        "landlock": {"compatibility": "soft"},
        "process": {"run_as_user": "0", "run_as_group": 0},
        "version": 3,
    }
    found = problems(data)
    assert len(found) == 1 + 3 + 300 + 1 + 1 + 2 + 1


def test_one_path_with_two_faults_is_told_once():
    check_told(filesystem(read_only=["../etc"]), "filesystem_policy.read_only.0", INVALID_VALUE)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, True),
        (filesystem(), False),
        (filesystem(include_workdir=True), True),
        (filesystem(include_workdir=False), False),
    ],
)
def test_the_working_directory_is_asked_for_by_an_absent_block_and_not_by_an_absent_key(data, expected):
    assert Policy.model_validate({"version": 1, **data}).include_workdir is expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, "best_effort"),
        ({"landlock": {}}, "best_effort"),
        ({"landlock": {"compatibility": "best_effort"}}, "best_effort"),
        ({"landlock": {"compatibility": "hard_requirement"}}, "hard_requirement"),
    ],
)
def test_compatibility_is_best_effort_unless_the_policy_says_otherwise(data, expected):
    assert Policy.model_validate({"version": 1, **data}).compatibility == expected


def test_declared_holds_only_what_was_set_with_normal_paths():
    policy = Policy.model_validate({"version": 1, **filesystem(read_only=["//usr/", "/proc"])})
    assert policy.declared() == {"version": 1, "filesystem_policy": {"read_only": ["/usr", "/proc"]}}


def test_what_concerns_kernels_has_defaults_and_is_declared_as_it_was_written():
    assert Policy.model_validate({"version": 1}).home == "project"
    assert Policy.model_validate({"version": 1}).environment.passing == ()
    data = {"version": 1, "jupyter": {"environment": {"pass": ["A"], "set": {"B": "c"}}, "home": "ephemeral"}}
    policy = Policy.model_validate(data)
    assert (policy.environment.passing, policy.environment.setting, policy.home) == (("A",), {"B": "c"}, "ephemeral")
    assert policy.declared() == data


def test_a_value_is_never_shown_in_an_error():
    for value in (31415926, "31415926\0", ["31415926"]):
        ((_, _, text),) = problems(variables(set={"A": value}))
        assert "31415926" not in text


def test_declared_is_the_callers_own_and_changing_it_does_not_change_the_policy():
    data = {"version": 1, "network_middlewares": {"m": {"config": {"terms": ["a"]}}}}
    policy = Policy.model_validate(copy.deepcopy(data))
    policy.declared()["network_middlewares"]["m"]["config"]["terms"].append("b")
    assert policy.declared() == data


def test_a_policy_cannot_be_changed():
    policy = Policy.model_validate({"version": 1, **filesystem(read_only=["/usr"])})
    with pytest.raises(ValidationError):
        policy.version = 1
    with pytest.raises(ValidationError):
        policy.filesystem_policy.read_only = ()


def gpus(**keys):
    return {"jupyter": {"gpu": keys}}


def conflicts(**keys):
    return {"jupyter": {"baseline_conflicts": keys}}


@pytest.mark.parametrize(
    "data",
    [
        gpus(),
        gpus(request="auto", count=2, extras=["dri", "mps"]),
        gpus(request="none", devices=[], extras=[]),
        gpus(request="required", devices=[0, "1", "0:1", "GPU-8932f937", "MIG-c7384736-a75d-5afc-978f-d2f1294409fd"]),
        gpus(
            devices=["MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/0", "0000:65:00.0", "65:00.0", "00000000:65:00.0"]
        ),
        conflicts(),
        conflicts(mode="promote_all", allow_promotion=["/proc", "/dev/nvidia*", "/srv/**"]),
        conflicts(mode="reject_all", allow_promotion=[]),
    ],
)
def test_requests_for_gpus_and_settings_for_conflicts_are_accepted(data):
    assert problems(data) == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (gpus(request="yes"), ("jupyter.gpu.request", INVALID_VALUE)),
        (gpus(request="require"), ("jupyter.gpu.request", INVALID_VALUE, "required")),
        (gpus(request=None), ("jupyter.gpu.request", INVALID_VALUE)),
        (gpus(count=0), ("jupyter.gpu.count", INVALID_VALUE)),
        (gpus(count=True), ("jupyter.gpu.count", INVALID_VALUE)),
        (gpus(count=1, devices=[0]), ("jupyter.gpu", INVALID_VALUE)),
        (gpus(request="none", count=1), ("jupyter.gpu", INVALID_VALUE)),
        (gpus(devices=["/dev/nvidia0"]), ("jupyter.gpu.devices.0", INVALID_VALUE)),
        (gpus(devices=[-1]), ("jupyter.gpu.devices.0", INVALID_VALUE)),
        (gpus(devices=[True]), ("jupyter.gpu.devices.0", INVALID_VALUE)),
        (gpus(devices=["GPU-xyz!"]), ("jupyter.gpu.devices.0", INVALID_VALUE)),
        (gpus(devices=["0\n"]), ("jupyter.gpu.devices.0", INVALID_VALUE)),
        (gpus(extras=["rmda"]), ("jupyter.gpu.extras.0", INVALID_VALUE, "rdma")),
        (gpus(nodes=[1]), ("jupyter.gpu.nodes", UNKNOWN_KEY)),
        (conflicts(mode="keep_unlist"), ("jupyter.baseline_conflicts.mode", INVALID_VALUE, "keep_unlisted")),
        (conflicts(allow_promotion=["proc"]), ("jupyter.baseline_conflicts.allow_promotion.0", INVALID_VALUE)),
        (conflicts(allow_promotion=["/a/../proc"]), ("jupyter.baseline_conflicts.allow_promotion.0", INVALID_VALUE)),
        (conflicts(allow="/proc"), ("jupyter.baseline_conflicts.allow", UNKNOWN_KEY, "allow_promotion")),
        ({"jupyter": {"gpu": None}}, ("jupyter.gpu", INVALID_VALUE)),
    ],
)
def test_a_mistake_in_what_concerns_gpus_is_told_with_its_remedy(data, expected):
    check_told(data, *expected)


def test_a_pattern_is_normalised_as_paths_are():
    policy = Policy.model_validate({"version": 1, **conflicts(allow_promotion=["//proc/."])})
    assert policy.baseline_conflicts.allow_promotion == ("/proc",)


NEWER = {
    "network_policies": {"a": {"endpoints": [{"hosts": "x"}], "binaries": [{"path": "/x", "hash": "1"}], "new": 1}},
    "network_middlewares": {"a": {"endpoints": {"includes": []}, "middlewares": "x"}},
    "inference": {"routes": []},
}


def test_a_key_of_a_newer_openshell_is_kept_where_nothing_here_enforces_anything():
    policy = Policy.model_validate({"version": 1, **copy.deepcopy(NEWER)})
    assert policy.declared() == {"version": 1, **NEWER}
    assert policy.unknown_blocks == ("inference",)
    assert {".".join(map(str, key)): meant for key, meant in unknown_keys(policy)} == {
        "inference": "a newer OpenShell may know it",
        "network_policies.a.new": "a newer OpenShell may know it",
        "network_policies.a.endpoints.0.hosts": "did you mean host?",
        "network_policies.a.binaries.0.hash": "a newer OpenShell may know it",
        "network_middlewares.a.middlewares": "did you mean middleware?",
        "network_middlewares.a.endpoints.includes": "did you mean include?",
    }


@pytest.mark.parametrize("key", ["filesystem_polcy", "filesystemPolicy", "network_policy", "LANDLOCK", "<<", "jupiter"])
def test_a_block_that_is_misspelt_is_an_error(key):
    assert problems({key: {}})


@pytest.mark.parametrize("key", ["inference", "providers", "seccomp", "x-anchors", "telemetry", "secrets"])
def test_a_block_that_resembles_none_is_not(key):
    assert problems({key: {}}) == []
