"""The schema: what OpenShell accepts is accepted, what it refuses is refused, and a typo never weakens a sandbox."""

import copy

import pytest
from pydantic import ValidationError

from openshell_kernel.policy.blocks.block import unknown_keys
from openshell_kernel.policy.blocks.paths import normalise
from openshell_kernel.policy.effective import MAX_PATHS
from openshell_kernel.policy.model import Policy


def problems(data):
    """What is wrong with a policy, as `key: problem`; nothing if it is valid."""
    try:
        Policy.model_validate({"version": 1, **data})
    except ValidationError as error:
        return [
            f"{'.'.join(map(str, line['loc']))}: {line['ctx']['problem']}; {line['ctx']['remedy']}"
            for line in error.errors()
        ]
    return []


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
            "read_only.0: path 'usr' must be absolute",
        ),
        ("an empty path is refused", filesystem(read_only=[""]), "read_only.0: path '' must be absolute"),
        (
            "a tilde is not expanded",
            filesystem(read_write=["~/x"]),
            "must be absolute (start with '/'); write the full path",
        ),
        (
            "a parent component is refused",
            filesystem(read_only=["/a/../b"]),
            "contains a '..' traversal component",
        ),
        (
            "a parent component at the end is refused",
            filesystem(read_only=["/a/.."]),
            "'..' traversal component",
        ),
        ("a NUL byte is refused", filesystem(read_only=["/a\0b"]), "contains a NUL byte"),
        ("the length is counted in bytes", filesystem(read_only=["/" + "é" * 2048]), "4097 bytes > 4096"),
        (
            "the root is too broad to be written",
            filesystem(read_write=["/"]),
            "overly broad as a read-write path",
        ),
        (
            "the root in disguise is too broad as well",
            filesystem(read_write=["/./"]),
            "overly broad as a read-write path",
        ),
        ("a double slash is the root", filesystem(read_write=["//"]), "overly broad as a read-write path"),
        ("a path must be a string", filesystem(read_only=[1]), "read_only.0: must be a string, not 1"),
        ("a list of paths is a list", filesystem(read_only="/usr"), "read_only: must be a list, not '/usr'"),
        (
            "a mapping is not a list of paths",
            filesystem(read_only={"/usr": 1}),
            "read_only: must be a list, not a mapping",
        ),
        (
            "yes is a string",
            filesystem(include_workdir="yes"),
            "include_workdir: must be true or false, not 'yes'",
        ),
        ("1 is not true", filesystem(include_workdir=1), "include_workdir: must be true or false, not 1"),
        (
            "256 paths are the limit of both lists together",
            filesystem(read_only=["/a"] * 200, read_write=["/b"] * 57),
            "filesystem_policy: too many filesystem paths (257 > 256",
        ),
        (
            "an empty block is ambiguous",
            {"filesystem_policy": None},
            "filesystem_policy: is empty; remove the key, or write {}",
        ),
        (
            "a block is a mapping",
            {"filesystem_policy": [1]},
            "filesystem_policy: must be a mapping, not a list",
        ),
        (
            "a near miss is named",
            {"filesystem": {}},
            "filesystem: unknown key; did you mean filesystem_policy?",
        ),
        ("a near miss deeper is named", filesystem(readonly=[]), "unknown key; did you mean read_only?"),
        (
            "a far miss gets the known keys",
            {"x/y": 1},
            "unknown key; known here: version, filesystem_policy, landlock",
        ),
        (
            "a key in the wrong place is named with the right one",
            {"read_only": []},
            "it belongs beneath filesystem_policy",
        ),
        (
            "a block of another name with known keys is a mistake",
            {"fs": {"read_only": []}},
            "fs: unknown key; known here",
        ),
        ("a block is known however it is joined", {"file-system": {}}, "file-system: unknown key; did you mean"),
        ("a newer block of what is enforced is refused", {"process_limits": {}}, "process_limits: unknown key"),
        ("a newer key of what is enforced is refused", {"landlock": {"scopes": []}}, "landlock.scopes: unknown key"),
        ("the version is a number", {"version": "1"}, "version: must be the number 1, not '1'"),
        ("the version is not true", {"version": True}, "version: must be the number 1, not true"),
        ("the version is not a fraction", {"version": 1.0}, "version: must be the number 1, not 1.0"),
        ("version 2 is unknown", {"version": 2}, "version: must be the number 1, not 2"),
        ("a null version is refused", {"version": None}, "version: must be the number 1, not empty"),
        (
            "a misspelt compatibility is refused",
            {"landlock": {"compatibility": "hard-requirement"}},
            "landlock.compatibility: must be best_effort or hard_requirement, not 'hard-requirement'",
        ),
        (
            "the case of compatibility counts",
            {"landlock": {"compatibility": "Best_Effort"}},
            "must be best_effort or",
        ),
        ("an empty compatibility is refused", {"landlock": {"compatibility": ""}}, "must be best_effort or"),
        ("a null compatibility is refused", {"landlock": {"compatibility": None}}, "must be best_effort or"),
        (
            "a number as identity is to be quoted",
            {"process": {"run_as_user": 1500}},
            'process.run_as_user: must be a string, not the number 1500; put it in quotes: "1500"',
        ),
        (
            "root is refused",
            {"process": {"run_as_user": "0"}},
            "must be 'sandbox' or a numeric UID/GID in range [1, 4294967294]",
        ),
        (
            "the reserved id is refused",
            {"process": {"run_as_group": "4294967295"}},
            "run_as_group: must be 'sandbox' or",
        ),
        (
            "other names are refused",
            {"process": {"run_as_user": "root"}},
            "run_as_user: must be 'sandbox' or a numeric",
        ),
        (
            "digits of other scripts are refused",
            {"process": {"run_as_user": "\u0661\u0665"}},
            "must be 'sandbox' or a numeric",
        ),
        (
            "surrounding blanks are refused",
            {"process": {"run_as_user": " 5"}},
            "must be 'sandbox' or a numeric",
        ),
        (
            "thousands of digits are refused",
            {"process": {"run_as_user": "9" * 9999}},
            "must be 'sandbox' or a numeric",
        ),
        (
            "a port has 16 bits",
            {"network_policies": {"a": {"endpoints": [{"port": 65536}]}}},
            "port: must be at most 65535, not 65536",
        ),
        (
            "a list of ports is checked one by one",
            {"network_policies": {"a": {"endpoints": [{"ports": [1, -1]}]}}},
            "ports.1: must be at least 0, not -1",
        ),
        (
            "a binary needs a path",
            {"network_policies": {"a": {"binaries": [{}]}}},
            "binaries.0.path: a required key is missing; add `path: ...`",
        ),
        (
            "a network policy is a mapping",
            {"network_policies": {"a": 1}},
            "network_policies.a: must be a mapping, not 1",
        ),
        ("policies have names", {"network_policies": [1]}, "network_policies: must be a mapping, not a list"),
        (
            "a middleware selects lists of hosts",
            {"network_middlewares": {"a": {"endpoints": {"include": "x"}}}},
            "network_middlewares.a.endpoints.include: must be a list, not 'x'",
        ),
        ("an empty extension is ambiguous", {"jupyter": None}, "jupyter: is empty; remove the key, or write {}"),
        ("an unknown extension is refused", {"jupyter": {"enviroment": {}}}, "did you mean environment?"),
        ("keys are named as they are written", variables(x=1), "environment.x: unknown key; known here: pass, set"),
        ("a pattern is one of names", variables(**{"pass": ["A-*"]}), "pass.0: 'A-*' is not the name of"),
        ("a pattern is not empty", variables(**{"pass": [""]}), "pass.0: '' is not the name of"),
        (
            "a token of the server cannot be passed",
            variables(**{"pass": ["JUPYTERHUB_API_TOKEN"]}),
            "pass.0: JUPYTERHUB_API_TOKEN is a token of the Jupyter server, with which a notebook could start",
        ),
        ("a variable has a name", variables(set={"A B": "x"}), "'A B' is not the name of an environment variable"),
        ("a name holds no pattern", variables(set={"A*": "x"}), "'A*' is not the name of an environment variable"),
        (
            "what Jupyter sets cannot be set",
            variables(set={"JPY_PARENT_PID": "1"}),
            "JPY_PARENT_PID is set by Jupyter or by openshell_kernel",
        ),
        ("a value is quoted", variables(set={"A": 1}), "set.A: a variable's value must be a string; put it in quotes"),
        ("a value holds no NUL", variables(set={"A": "a\0"}), "set.A: a variable's value may hold neither NUL"),
        ("a value can be written", variables(set={"A": "\ud800"}), "set.A: a variable's value may hold neither NUL"),
        ("a value is not endless", variables(set={"A": "a" * 65537}), "nor more than 65536 bytes"),
        ("a home is one of two", {"jupyter": {"home": "none"}}, "home: must be project or ephemeral, not 'none'"),
    ],
)
def test_a_violation_says_where_what_and_what_to_do(case, data, expected):
    (problem,) = problems(data)
    assert expected in problem, case


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


def test_one_path_with_two_faults_names_both():
    (problem,) = problems(filesystem(read_only=["../etc"]))
    assert "must be absolute (start with '/') and contains a '..' traversal component" in problem


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
        (problem,) = problems(variables(set={"A": value}))
        assert "31415926" not in problem


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
        (gpus(request="yes"), "gpu.request: must be auto, none or required, not 'yes'"),
        (gpus(request="require"), "did you mean required?"),
        (gpus(request=None), "gpu.request: must be auto, none or required, not empty"),
        (gpus(count=0), "gpu.count: must be at least 1, not 0"),
        (gpus(count=True), "gpu.count: must be a whole number, not true"),
        (gpus(count=1, devices=[0]), "gpu: count and devices contradict each other; count lets GPUs be chosen"),
        (gpus(request="none", count=1), "gpu: request: none contradicts count"),
        (gpus(devices=["/dev/nvidia0"]), "gpu.devices.0: '/dev/nvidia0' is not the name of a GPU"),
        (gpus(devices=[-1]), "-1 is not the name of a GPU; write its index, its UUID"),
        (gpus(devices=[True]), "true is not the name of a GPU"),
        (gpus(devices=["GPU-xyz!"]), "is not the name of a GPU"),
        (gpus(devices=["0\n"]), "is not the name of a GPU"),
        (gpus(extras=["rmda"]), "did you mean rdma?"),
        (gpus(nodes=[1]), "unknown key"),
        (conflicts(mode="keep_unlist"), "did you mean keep_unlisted?"),
        (conflicts(allow_promotion=["proc"]), "'proc' is not an absolute path or pattern of paths"),
        (conflicts(allow_promotion=["/a/../proc"]), "not an absolute path"),
        (conflicts(allow="/proc"), "did you mean allow_promotion?"),
        ({"jupyter": {"gpu": None}}, "gpu: is empty"),
    ],
)
def test_a_mistake_in_what_concerns_gpus_is_told_with_its_remedy(data, expected):
    assert expected in "\n".join(problems(data))


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
