"""With GPUs, found by the real pynvml over a fake driver, a kernel gets their nodes and /proc; without, neither."""

import json
import os
from pathlib import Path

import pytest
from fakes import nvml as fake
from support import gpu_machine, programs

GPUS = ("driver 570.86.15", "cuda 12080", fake.gpu(0), fake.gpu(3))
SCRIPT = Path(__file__).with_name("gpu_attempts.py")
NODES = ("nvidiactl", "nvidia0", "nvidia3", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
REACHED = "ENOTTY"  # what the stand-ins answer to an ioctl that Landlock lets through
NETWORK = "network_policies:\n  api: {name: api, endpoints: [{host: example.org, port: 443}], binaries: []}\n"
WORDS = {
    "trait": "trait",
    "variable": "OPENSHELL_SANDBOX_POLICY",
    "user": "user policy",
    "system": "system policy",
    "built-in": "built-in policy",
}
POLICY = "version: 1\nfilesystem_policy:\n  include_workdir: true\n  read_only: [/usr, /proc, /tmp]\n"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and mount namespaces need root")


@pytest.fixture
def outcome(user, tmp_path):
    """Return a function that runs a kernel on a machine with two GPUs, or on this one, and tells what it could do."""

    def run(*trouble, gpus=True, configuration=None, **environment):
        machine = []
        if gpus:
            library = fake.build(tmp_path / "driver")
            fake.configure(library, *GPUS, *trouble)
            machine = ["-m", "support.gpu_machine", library]
        script = (SCRIPT, user / "notebooks", json.dumps(configuration))
        seen, log = programs.told(*machine, *script, **environment)
        return {**seen, "log": log}

    return run


def rules(outcome):
    return {rule["path"]: rule for rule in outcome["snapshot"]["effective"]["rules"]}


@needs_root
@pytest.mark.parametrize("network", ["", NETWORK], ids=["without network policies", "with network policies"])
@pytest.mark.parametrize("source", ["trait", "variable", "user", "system", "built-in"])
def test_two_gpus_are_granted_and_proc_is_promoted_whatever_the_policys_source(
    outcome, user, write_policy, source, network
):
    if source == "built-in" and network:
        pytest.skip("the built-in policy has no network policies")
    path = user / "policy.yaml"
    path.write_text(POLICY + network)
    options = {
        "trait": {"configuration": {"policy": str(path)}},
        "variable": {"OPENSHELL_SANDBOX_POLICY": str(path)},
        "system": {gpu_machine.SYSTEM_POLICY: POLICY + network},
    }
    if source == "user":
        write_policy(POLICY + network)
    seen = outcome(**options.get(source, {}))
    assert WORDS[source] in seen["snapshot"]["effective"]["source"]
    assert seen["nodes"] == dict.fromkeys(NODES, REACHED)
    assert (seen["comm"], seen["comm in a thread"], seen["comm in a child"]) == ("ok", "ok", "ok")
    assert seen["create in proc"] in ("ENOENT", "EACCES")
    assert set(seen["sysfs"].values()) == {"ok"}
    effective = seen["snapshot"]["effective"]
    assert [(gpu["minor"], gpu["uuid"]) for gpu in effective["hardware"]["gpus"]] == [
        (0, "GPU-00000000-0000-0000-0000-000000000000"),
        (3, "GPU-00000000-0000-0000-0000-000000000003"),
    ]
    assert [promotion["path"] for promotion in effective["promotions"]] == ["/proc"]
    assert [line for line in seen["log"].splitlines() if line.startswith("INFO:traitlets:OpenShell: /proc ")]
    assert ("network_policies" in [item["what"] for item in effective["unenforced"]]) == bool(network)
    found = rules(seen)
    assert (found["/proc"]["access"], found["/proc"]["origin"]) == ("read_write", "promotion")
    assert set(found["/proc"]["rights"]) == {"read_file", "read_dir", "write_file", "truncate"}
    for name in NODES:
        assert (found[f"/dev/{name}"]["origin"], "ioctl_dev" in found[f"/dev/{name}"]["rights"]) == (
            "gpu baseline",
            True,
        )
    assert "NVIDIA H100" in seen["text"]
    assert "not enforced" in seen["text"].lower()


def test_without_a_gpu_proc_stays_read_only(outcome):
    seen = outcome(gpus=False)
    assert set(seen["nodes"].values()) <= {"ENOENT", "EACCES"}
    assert (seen["comm"], seen["comm in a thread"], seen["comm in a child"]) == ("EACCES", "EACCES", "EACCES")
    assert set(seen["sysfs"].values()) <= {"EACCES"}
    assert rules(seen)["/proc"]["access"] == "read_only"
    assert seen["snapshot"]["effective"]["promotions"] == []


@needs_root
def test_an_explicit_read_only_node_stays_read_only(outcome, write_policy):
    write_policy("version: 1\nfilesystem_policy:\n  include_workdir: true\n  read_only: [/usr, /proc, /dev/nvidia3]\n")
    seen = outcome()
    assert seen["nodes"] == {**dict.fromkeys(NODES, REACHED), "nvidia3": "EACCES"}
    assert [conflict["path"] for conflict in seen["snapshot"]["effective"]["conflicts"]] == ["/dev/nvidia3"]


@needs_root
def test_nodes_count_although_nvml_fails(outcome, write_policy):
    write_policy(POLICY)
    seen = outcome("fail nvmlInitWithFlags 18")
    assert seen["nodes"] == dict.fromkeys(NODES, REACHED)
    assert seen["snapshot"]["effective"]["hardware"]["status"] == "version_mismatch"
