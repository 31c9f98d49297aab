"""A kernel uses the GPUs that its policy requests and no other, holds them as long as it runs, and can prove it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from fakes import nvml as fake
from support import gpu_machine, programs
from support.errors import check_message

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and mount namespaces need root")

TESTS = Path(__file__).parents[1]
REACHED = "ENOTTY"  # what the stand-ins answer to an ioctl that Landlock lets through
CONTROL = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
# The minors run against the indices.
FOUR = ("driver 570.86.15", "cuda 12080", *(fake.gpu(3 - index, uuid=f"GPU-{index:04d}") for index in range(4)))
DEVICES = tuple(f"device /dev/nvidia{3 - index} NVIDIA H100 number {index}" for index in range(4))


@pytest.fixture
def on_machine(user, tmp_path):
    """Return a function that runs a script on a machine with GPUs and returns what it prints as JSON."""

    def run(script, *arguments, nodes=None, gpus=FOUR, cuda=DEVICES, **environment):
        library = fake.build(tmp_path / "driver")
        fake.configure(library, *gpus)
        fake.build_cuda(library, *cuda)
        nodes = [*CONTROL, *(f"nvidia{minor}" for minor in range(4))] if nodes is None else nodes
        environment = {gpu_machine.GPU_NODES: ",".join(nodes), **environment}
        script = TESTS / "kernels" / script
        return programs.told("-m", "support.gpu_machine", library, script, *arguments, **environment)[0]

    return run


@pytest.fixture
def shared(on_machine, user):
    return on_machine("gpu_sharing.py", str(user / "notebooks"), str(user))


def nodes(*indices):
    """What opening each node gives where the GPUs of these indices are given."""
    return {str(3 - index): REACHED if index in indices else "EACCES" for index in range(4)}


def test_kernels_that_count_get_disjoint_gpus_for_as_long_as_they_run(shared):
    first, second = shared["first"], shared["second"]
    assert (first["devices"], second["devices"]) == (["0", "1"], ["2", "3"])
    assert (first["nodes"], second["nodes"]) == (nodes(0, 1), nodes(2, 3))
    assert (first["env"], second["env"]) == ("GPU-0000,GPU-0001", "GPU-0002,GPU-0003")
    # The first kernel started before the second one claimed, and tells of it all the same.
    both = [["GPU-0000", "GPU-0001"], ["GPU-0002", "GPU-0003"]]
    assert sorted(first["holders"]) == sorted(second["holders"]) == both
    assert "held by root, process" in first["text"]
    assert first["text"].count("this kernel holds it") == 2

    check_message(shared["third"], "jupyter.gpu: ", "GPU 0, GPU 1", "GPU 2, GPU 3", "root")

    assert (shared["poor"]["devices"], shared["poor"]["nodes"]) == ([], nodes())
    assert shared["poor"]["env"] == ""
    assert "GPU 0, GPU 1" in " ".join(shared["poor"]["text"].split())

    # Somebody else tried all the while that it restarted.
    assert (shared["restarted"]["devices"], shared["grabbed"]) == (["2", "3"], [])
    # A notebook that runs as root owns the folders, and has changed their modes.
    assert shared["after hiding"]["devices"] == []
    assert (shared["heir"]["devices"], shared["heir"]["nodes"]) == (["0", "1"], nodes(0, 1))
    assert shared["left"] == []


def test_a_kernel_that_goes_on_without_its_server_holds_its_gpus_until_it_ends(on_machine, user):
    told = on_machine("gpu_orphan.py", str(user / "notebooks"), policy(user, "jupyter: {gpu: {count: 2}}"))
    assert told == {"served": ["GPU-0000", "GPU-0001"], "orphaned": ["GPU-0000", "GPU-0001"], "runs on": True}


def test_a_start_that_fails_or_is_given_up_holds_no_gpu(on_machine, user):
    (user / "policy.yaml").write_text("version: 1\njupyter: {gpu: {count: 1, request: required}}\n")
    told = on_machine("gpu_failing.py", str(user / "notebooks"), str(user / "policy.yaml"))
    # Neither claims nor descriptors are left, also where the cleaning up is cancelled in its turn.
    assert told["given up"] == {"once": [[], 0], "twice": [[], 0]}
    assert told["restart"] == [["GPU-0000"], []]


def test_a_link_in_the_place_of_another_users_records_is_not_followed(on_machine, user):
    (user / "policy.yaml").write_text("version: 1\njupyter: {gpu: {count: 1}}\n")
    claims = user / "claims"
    claims.mkdir()
    claims.chmod(0o1777)
    words = [str(path) for path in (user / "notebooks", user / "policy.yaml", claims, user / ".ssh")]
    assert on_machine("gpu_records.py", *words) == [[[], "PermissionError"], ["PermissionError", "PermissionError"]]


def policy(user, text):
    path = user / "policy.yaml"
    path.write_text(f"version: 1\n{text}\n")
    return str(path)


@pytest.fixture
def checked(on_machine, user):
    """Return a function that has a kernel check its GPUs under a policy."""

    def run(text, **machine):
        return on_machine("gpu_checking.py", str(user / "notebooks"), policy(user, text), **machine)

    return run


def failed(told):
    return {step["step"]: (step["detail"], step["hint"]) for step in told["json"]["steps"] if not step["ok"]}


def test_the_check_adds_vectors_on_each_gpu_that_was_given_and_on_no_other(checked):
    told = checked("jupyter: {gpu: {devices: [1, 3]}}")
    assert failed(told) == {}
    steps = [step["step"] for step in told["json"]["steps"]]
    assert [step for step in steps if "adds two vectors" in step] == [
        "GPU 0 adds two vectors",
        "GPU 1 adds two vectors",
    ]
    assert "NVIDIA H100 number 1" in told["text"]
    assert "NVIDIA H100 number 3" in told["text"]
    assert "NVIDIA H100 number 0" not in told["text"]
    assert told["text"].endswith("CUDA works here.\n")
    assert "cuda-gdb  does not work" in told["text"]
    assert told["command"]["status"] == 0
    assert "ok     cuInit" in told["command"]["text"]
    assert "FAKED" not in told["command"]["text"]
    assert "2 of 4 GPUs given" in told["show"]


def test_what_the_drivers_library_prints_does_not_get_into_the_check(checked):
    told = checked("jupyter: {gpu: {devices: [0]}}", gpus=(*FOUR, "print nvmlInitWithFlags"))
    assert failed(told) == {}
    assert told["text"].endswith("CUDA works here.\n")
    assert told["command"]["status"] == 0


def test_without_the_promotion_of_proc_the_check_names_the_rule_that_is_missing(checked):
    told = checked(
        "filesystem_policy: {read_only: [/usr, /proc]}\njupyter: {baseline_conflicts: {allow_promotion: []}}"
    )
    assert set(failed(told)) == {"a thread's name is written in /proc", "cuInit"}
    detail, hint = failed(told)["cuInit"]
    assert "304 (CUDA_ERROR_OPERATING_SYSTEM)" in detail
    assert "/proc" in hint
    assert told["command"]["status"] == 1
    assert "FAILED cuInit" in told["command"]["text"]


def test_a_refused_control_node_is_named(checked):
    told = checked("filesystem_policy: {read_only: [/usr, /dev/nvidia-uvm]}")
    assert "Permission denied" in failed(told)["/dev/nvidia-uvm opens"][0]
    assert "/dev/nvidia-uvm" in failed(told)["cuInit"][1]


def test_with_a_policy_of_no_gpus_there_is_nothing_to_check(checked):
    told = checked("jupyter: {gpu: {request: none}}")
    assert (told["json"]["given"], told["json"]["ok"], told["json"]["steps"]) == (False, False, [])
    assert "given no GPU" in told["text"]
    assert told["command"]["status"] == 3
    assert "request: none" in told["command"]["text"]


def test_a_kernel_that_is_not_started_has_its_own_exit_status(checked, on_machine, user):
    path = policy(user, "jupyter: {gpu: {devices: [9]}}")
    command = [str(Path(sys.executable).with_name("jupyter")), "openshell", "gpu-check", "--policy", path]
    done = subprocess.run(command, cwd=user / "notebooks", capture_output=True, text=True)
    # Without any GPU at all, a named one is no mistake of the policy's.
    assert done.returncode == 3
    Path(path).write_text("version: 1\njupyter: {gpu: {request: required}}\n")
    done = subprocess.run(command, cwd=user / "notebooks", capture_output=True, text=True)
    assert done.returncode == 4
    assert "jupyter.gpu: " in done.stderr


@pytest.mark.parametrize(
    ("trouble", "step", "words", "remedy"),
    [
        ("fail cuInit 34", "cuInit", "34", "stub"),
        ("fail cuDeviceGetCount 999", "CUDA counts the GPUs", "999", "/dev/nvidia-uvm"),
        ("fail cuMemAlloc_v2 2", "GPU 0 adds two vectors", "cuMemAlloc_v2", "memory"),
        ("fail cuModuleLoadData 221", "GPU 0 adds two vectors", "221", "libnvidia-ptxjitcompiler.so.1"),
        ("fail cuLaunchKernel 700", "GPU 0 adds two vectors", "700", "dmesg"),
        ("wrong", "GPU 0 adds two vectors", "2097153", "dmesg"),
        ("crash cuModuleLoadData", "the check ends", "signal 11", "driver"),
    ],
)
def test_what_goes_wrong_on_a_gpu_is_told_with_what_helps(checked, trouble, step, words, remedy):
    told = checked("jupyter: {gpu: {devices: [0]}}", cuda=(trouble, *DEVICES))
    detail, hint = failed(told)[step]
    assert words in detail
    assert remedy in hint
    assert told["command"]["status"] == 1


MIG = (fake.gpu(0, mig=True), fake.mig_device(1, uuid="MIG-aaaa"), fake.mig_device(2, uuid="MIG-bbbb"))
MIG_NODES = [*CONTROL, "nvidia0", *(f"nvidia-caps/nvidia-cap{number}" for number in (1, 2, 12, 13, 21, 22))]
MIG_MINORS = "config 1\nmonitor 2\n" + "".join(
    f"gpu0/gi{instance}/{name} {minor}\n"
    for instance, first in ((1, 12), (2, 21))
    for name, minor in (("access", first), ("ci0/access", first + 1))
)


def test_a_mig_device_is_opened_by_its_own_capabilities_and_its_sibling_is_not(on_machine, user):
    told = on_machine(
        "gpu_mig.py",
        str(user / "notebooks"),
        policy(user, "jupyter: {gpu: {devices: [MIG-bbbb]}}"),
        gpus=MIG,
        nodes=MIG_NODES,
        **{gpu_machine.MIG_MINORS: MIG_MINORS},
    )
    assert told["nodes"] == {
        "nvidia0": "ok",
        **dict.fromkeys(["nvidia-caps/nvidia-cap21", "nvidia-caps/nvidia-cap22"], "ok"),
        **{f"nvidia-caps/nvidia-cap{number}": "EACCES" for number in (1, 2, 12, 13)},
    }
    assert told["writing"] == "EACCES"
    assert told["env"] == "MIG-bbbb"
    assert "0:1" in told["text"]


def test_without_the_nodes_of_its_capabilities_a_mig_device_is_left_out(checked):
    told = checked("jupyter: {gpu: {devices: [MIG-bbbb]}}", gpus=MIG, nodes=MIG_NODES)
    assert "0 of 2 GPUs given" in told["show"]
    assert "/dev/nvidia-caps" in told["show"]
    assert told["command"]["status"] == 3


@pytest.fixture
def started(on_machine, user):
    """Return a function that starts a kernel under each of several policies and tells how that went."""

    def run(*texts, tried, **machine):
        paths = []
        for number, text in enumerate(texts):
            paths.append(str(user / f"policy{number}.yaml"))
            Path(paths[-1]).write_text(f"version: 1\n{text}\n")
        return on_machine("gpu_start.py", str(user / "notebooks"), ",".join(tried), *paths, **machine)

    return run


AUTO, REQUIRED = "jupyter: {gpu: {request: auto}}", "jupyter: {gpu: {request: required}}"
COUNTED = "jupyter: {gpu: {request: auto, count: 3}}"
ALL = dict.fromkeys((f"nvidia{minor}" for minor in range(4)), REACHED)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        pytest.param("fail nvmlInitWithFlags 9", "no driver is loaded", id="driver not loaded"),
        pytest.param("fail nvmlInitWithFlags 18", "different versions", id="versions differ"),
        pytest.param("fail nvmlInitWithFlags 4", "refuses this user", id="insufficient permissions"),
        pytest.param("fail nvmlInitWithFlags 12", "no NVIDIA driver library", id="NVML missing"),
        pytest.param("hang nvmlDeviceGetUUID", "did not answer within", id="a hang"),
        pytest.param("crash nvmlDeviceGetName", "crashed (SIGSEGV)", id="a crash"),
    ],
)
def test_whatever_the_driver_says_auto_starts_with_what_is_there_and_required_does_not(started, trouble, reason):
    traits = {"discovery_timeout": 1.0, "required_discovery_timeout": 1.0}
    auto, counted, required = started(
        AUTO, COUNTED, REQUIRED, tried=ALL, gpus=(*FOUR, trouble), TRAITS=json.dumps(traits)
    )
    assert auto["nodes"] == ALL
    assert reason in auto["show"]
    assert counted["nodes"] == dict.fromkeys(ALL, "EACCES")
    assert reason in counted["show"]
    assert reason in required["error"]


@pytest.mark.parametrize(
    ("trouble", "lost", "reason"),
    [
        pytest.param("fail nvmlDeviceGetHandleByIndex_v2 15 1", "nvidia2", "GPU is lost", id="a lost GPU"),
        pytest.param("fail nvmlDeviceGetUUID 15 1", "nvidia2", "GPU is lost", id="a GPU lost while it was asked"),
        pytest.param("count 5", None, "GPU 4: Invalid Argument", id="a count that changes between two calls"),
    ],
)
def test_auto_goes_on_without_the_gpu_that_is_lost_and_required_does_not(started, trouble, lost, reason):
    auto, required = started(AUTO, REQUIRED, tried=ALL, gpus=(*FOUR, trouble))
    assert auto["nodes"] == {**ALL, **({lost: "EACCES"} if lost else {})}
    assert reason in auto["show"]
    assert reason in required["error"]


def test_a_control_node_alone_without_a_driver_is_no_gpu_and_promotes_nothing(started):
    plain, listing = started(
        AUTO,
        "filesystem_policy: {read_only: [/proc]}",
        tried=("nvidiactl",),
        nodes=("nvidiactl",),
        gpus=("fail nvmlInitWithFlags 9",),
    )
    for kernel in (plain, listing):
        assert kernel["nodes"] == {"nvidiactl": "EACCES"}
        assert kernel["effective"]["hardware"]["present"] is False
        assert kernel["effective"]["promotions"] == []
        assert kernel["proc"] == "EACCES"


def test_a_policy_that_requires_a_gpu_waits_for_a_slow_driver_as_auto_does_not(started):
    traits = {"discovery_timeout": 0.2, "required_discovery_timeout": 60.0}
    slow = (*FOUR, "run nvmlInitWithFlags sleep 2")
    auto, required = started(AUTO, REQUIRED, tried=ALL, gpus=slow, TRAITS=json.dumps(traits))
    assert "nvidia-smi -pm 1" in auto["show"]
    assert required["effective"]["selection"]["devices"] == ["0", "1", "2", "3"]


def test_a_gpu_that_is_lost_later_is_noticed_where_it_is_required(on_machine, user):
    told = on_machine("gpu_lost.py", str(user / "notebooks"), policy(user, "jupyter: {gpu: {request: required}}"))
    assert told["before"] == "started"
    assert "GPU is lost" in told["after"]


def test_a_device_that_does_not_exist_stops_the_start_and_the_message_names_what_does(started):
    (refused,) = started("jupyter: {gpu: {devices: [7]}}", tried=ALL)
    check_message(refused["error"], "'7'", "GPU 0", "NVIDIA H100 80GB HBM3", "GPU-0000", "0000:63:00.0")


def test_without_the_node_that_cuda_needs_besides_the_kernel_says_so_at_its_start(started):
    told, whole = started(AUTO, tried=ALL, nodes=["nvidiactl", *ALL])[0], started(AUTO, tried=ALL)[0]
    assert told["nodes"] == ALL
    assert "nvidia-modprobe -u" in told["show"]
    assert "nvidia-modprobe -u" not in whole["show"]


def test_the_servers_own_variable_bounds_what_is_given(started):
    (bounded,) = started(AUTO, tried=ALL, CUDA_VISIBLE_DEVICES="1")
    assert bounded["nodes"] == {**dict.fromkeys(ALL, "EACCES"), "nvidia2": REACHED}
    assert bounded["env"] == "GPU-0001"


LISTED = "filesystem_policy: {read_only: [/usr, /proc, /dev/nvidia1]}\n"


def test_conflicts_are_decided_as_policy_and_operator_say(started):
    kept, rejected, all_rejected, promoted = started(
        LISTED,
        LISTED + "jupyter: {baseline_conflicts: {mode: reject_unlisted}}",
        LISTED + "jupyter: {baseline_conflicts: {mode: reject_all}}",
        LISTED + "jupyter: {baseline_conflicts: {mode: promote_all}}",
        tried=ALL,
    )
    assert kept["nodes"] == {**ALL, "nvidia1": "EACCES"}
    assert [item["path"] for item in kept["effective"]["conflicts"]] == ["/dev/nvidia1"]
    # Each conflict is a line with its own path, which is also the one to move.
    assert "read_only: /dev/nvidia1 " in rejected["error"]
    assert "read_only: /proc " not in rejected["error"]
    assert "read_only: /proc " in all_rejected["error"]
    assert promoted["nodes"] == ALL
    assert {item["path"] for item in promoted["effective"]["promotions"]} == {"/proc", "/dev/nvidia1"}

    traits = json.dumps({"baseline_conflicts": {"mode": "keep_unlisted", "allow_promotion": []}})
    (pinned,) = started(LISTED + "jupyter: {baseline_conflicts: {mode: promote_all}}", tried=ALL, TRAITS=traits)
    assert pinned["nodes"] == {**ALL, "nvidia1": "EACCES"}
    assert pinned["proc"] == "EACCES"


def test_what_the_policy_lists_of_gpus_that_were_not_selected_is_told(started):
    (told,) = started(
        "filesystem_policy: {read_only: [/usr, /proc], read_write: [/dev/nvidia1]}\njupyter: {gpu: {devices: [0]}}",
        tried=ALL,
    )
    assert told["nodes"] == {**dict.fromkeys(ALL, "EACCES"), "nvidia3": REACHED, "nvidia1": REACHED}
    assert [notice for notice in told["effective"]["notices"] if "read_write" in notice and "/dev/nvidia1" in notice]


def test_a_link_in_the_place_of_the_folder_of_mps_is_not_followed(started, user):
    pipes = Path(tempfile.mkdtemp(dir="/tmp", prefix="openshell-mps-"))
    secret = user / "secret"
    secret.mkdir()
    (secret / "control").write_text("SECRET")
    (pipes / "mps").symlink_to(secret)
    (told,) = started("jupyter: {gpu: {extras: [mps]}}", tried=["nvidia0"], CUDA_MPS_PIPE_DIRECTORY=str(pipes / "mps"))
    shutil.rmtree(pipes)
    assert str(secret) not in [rule["resolved"] for rule in told["effective"]["rules"]]
    assert str(pipes / "mps") in [skipped["path"] for skipped in told["effective"]["skipped"]]


def test_extras_are_given_where_they_are_asked_for(started):
    extras = ["nvidia-caps-imex-channels/channel0", "infiniband/uverbs0", "nvidia-nvswitchctl", "nvidia-fs0", "gdrdrv"]
    without, asked = started(
        AUTO,
        "jupyter: {gpu: {extras: [imex, rdma, dri]}}",
        tried=extras,
        nodes=[*CONTROL, "nvidia0", *extras],
        gpus=(fake.gpu(0),),
    )
    assert without["nodes"] == dict.fromkeys(extras, "EACCES")
    assert asked["nodes"] == {
        **dict.fromkeys(extras, "EACCES"),
        **dict.fromkeys([extras[0], extras[1], "gdrdrv"], REACHED),
    }
    assert [notice for notice in asked["effective"]["selection"]["notices"] if "dri" in notice]
    assert [family["name"] for family in asked["effective"]["selection"]["extras"]] == ["imex", "rdma"]


@pytest.mark.parametrize(
    ("nodes", "words"),
    [(["dxg"], "CUDA_VISIBLE_DEVICES names"), (["nvmap", "nvhost-ctrl-gpu", "nvgpu/igpu0/ctrl"], "")],
    ids=["WSL2", "Jetson"],
)
def test_where_gpus_have_no_nodes_of_their_own_the_shared_ones_are_given(started, nodes, words):
    gpus = (fake.gpu(0, uuid="GPU-0000"), fake.gpu(1, uuid="GPU-0001"), "fail nvmlDeviceGetMinorNumber 3")
    one, nothing = started(
        "jupyter: {gpu: {devices: [1], request: required}}",
        "jupyter: {gpu: {request: none}}",
        tried=nodes,
        nodes=nodes,
        gpus=gpus,
    )
    assert one["nodes"] == dict.fromkeys(nodes, REACHED)
    assert one["env"] == "GPU-0001"
    assert words in one["show"]
    assert nothing["nodes"] == dict.fromkeys(nodes, "EACCES")
    assert nothing["effective"]["promotions"] == []


def test_cuda_is_led_to_the_mps_server_only_where_the_policy_asks_for_it(started, user):
    pipes = user / "mps"
    pipes.mkdir()
    (pipes / "control").touch()
    asking, without, none = started(
        "jupyter: {gpu: {extras: [mps]}}",
        AUTO,
        "jupyter: {gpu: {request: none}}",
        tried=ALL,
        CUDA_MPS_PIPE_DIRECTORY=str(pipes),
    )
    assert asking["mps"] == str(pipes)
    assert without["mps"].endswith("/run/no-mps")
    assert none["nodes"] == dict.fromkeys(ALL, "EACCES")
    unenforced = [[item["what"] for item in kernel["effective"]["unenforced"]] for kernel in (asking, without, none)]
    assert ["the MPS server" in whats for whats in unenforced] == [False, True, False]


def test_the_suite_for_machines_with_a_gpu_runs_as_far_as_the_stand_ins_allow(on_machine):
    outcomes = on_machine("gpu_suite.py")
    frameworks = {name: outcome for name, outcome in outcomes.items() if "framework" in name}
    assert {outcome for name, outcome in outcomes.items() if name not in frameworks} == {"passed"}
    assert len(outcomes) - len(frameworks) == 3
    assert len(frameworks) == 4


def test_the_suite_for_machines_with_a_gpu_records_no_stand_ins(on_machine, tmp_path):
    page = tmp_path / "results.md"
    page.touch()
    outcomes = on_machine("gpu_suite.py", OPENSHELL_GPU_RESULTS=str(page))
    assert set(outcomes.values()) == {"failed"}
    assert page.read_text() == ""


def test_on_a_machine_that_is_expected_to_have_a_gpu_the_suite_fails_without_landlock(on_machine):
    suite = str(TESTS / "kernels" / "gpu_suite.py")
    without = TESTS / "support" / "without_call.py"
    outcomes = on_machine(without, "landlock_create_ruleset", "ENOSYS", sys.executable, suite, OPENSHELL_EXPECT_GPU="1")
    assert set(outcomes.values()) == {"failed"}
    outcomes = on_machine(without, "landlock_create_ruleset", "ENOSYS", sys.executable, suite, OPENSHELL_EXPECT_GPU="")
    assert set(outcomes.values()) == {"skipped"}


def test_in_a_hub_holders_are_named_as_the_hub_knows_them_and_the_hub_decides_what_kernels_ask_for(on_machine, user):
    text = "filesystem_policy: {include_workdir: true}\njupyter: {gpu: {request: auto}}"
    told = on_machine("gpu_hub.py", str(user / "notebooks"), policy(user, text))
    assert len(told["devices"]) == 3
    assert told["notices"]
    assert told["without"] == []
    check_message(told["refused"], "alice", "training", "root")
    assert "process" not in told["refused"]
    check_message(told["table"], "alice", "training", "root")
    assert "this kernel holds it" in told["shown"]


def test_where_proc_cannot_be_protected_the_remedy_for_a_gpu_can_be_followed_and_a_refused_start_holds_none(
    on_machine, user
):
    proc = "filesystem_policy: {include_workdir: true, read_only: [/usr, /etc, /proc]}\n"
    texts = {
        "refused": f"{proc}jupyter: {{gpu: {{count: 1}}}}",
        "kept": f"{proc}jupyter: {{gpu: {{count: 1}}, baseline_conflicts: {{allow_promotion: []}}}}",
        "without": f"{proc}jupyter: {{gpu: {{request: none}}}}",
    }
    for name, text in texts.items():
        (user / f"{name}.yaml").write_text(f"version: 1\n{text}\n")
    paths = [str(user / f"{name}.yaml") for name in texts]
    refused, kept, without = on_machine("gpu_unprotected.py", str(user), *paths)
    remedies = ("jupyter: {baseline_conflicts: {allow_promotion: []}}", "jupyter: {gpu: {request: none}}")
    check_message(refused["error"], "GPU", "/proc", *remedies)
    assert refused["held"] == []
    assert (kept["text"], len(kept["held"])) == ("run\n", 1)
    assert (without["text"], without["held"]) == ("run\n", [])
