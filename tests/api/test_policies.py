"""A policy as it would apply here, and why: the same as for a kernel, and nothing is left of having looked."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.errors import refused

import openshell_kernel

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("landlock_abi")]


def granted(effective):
    return {rule.path: rule for rule in effective.rules}


def test_it_grants_what_is_listed_the_working_directory_and_what_python_needs(folder, policy):
    effective = openshell_kernel.effective_policy(policy)
    rules = granted(effective)
    assert rules["/usr"].origin.value == "policy"
    assert rules[str(folder)].origin.value == "workdir"
    assert rules[os.path.realpath(sys.prefix)].origin.value == "runtime baseline"
    assert effective.source == f"{policy} (policy given for this program)"


def test_another_working_directory_can_be_meant(user, folder, policy):
    (user / "elsewhere").mkdir()
    rules = granted(openshell_kernel.effective_policy(policy, cwd=user / "elsewhere"))
    assert str(user / "elsewhere") in rules
    assert str(folder) not in rules


def test_without_one_the_policy_counts_that_counts_for_notebooks(folder, user):
    path = user / ".config" / "openshell" / "policy.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("version: 1\nfilesystem_policy: {read_only: [/srv]}\n")
    effective = openshell_kernel.effective_policy()
    assert effective.source == f"{path} (user policy)"
    assert "/srv" in granted(effective)


def test_a_policy_of_the_programs_own_needs_no_file(folder):
    policy = openshell_kernel.Policy.model_validate({"version": 1, "filesystem_policy": {"read_only": ["/srv"]}})
    assert "/srv" in granted(openshell_kernel.effective_policy(policy))


@pytest.mark.usefixtures("folder")
def test_what_no_kernel_starts_with_is_an_error_here_too(user):
    path = user / "policy.yaml"
    path.write_text(f"version: 1\nfilesystem_policy: {{read_write: [{user}]}}\n")
    with refused(openshell_kernel.PolicyError, user, path):
        openshell_kernel.effective_policy(path)


@pytest.mark.usefixtures("folder")
def test_nothing_is_left_of_having_looked(policy):
    openshell_kernel.effective_policy(policy)
    assert list(Path(tempfile.gettempdir()).glob("openshell-*")) == []


@pytest.mark.usefixtures("folder")
def test_it_works_where_a_loop_of_events_runs_already(policy):
    code = f"""
import asyncio, json, openshell_kernel
async def main():
    return openshell_kernel.effective_policy({policy!r})
print(json.dumps(len(asyncio.run(main()).rules)))
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) > 0, done.stderr


@pytest.fixture
def effective(folder, policy):
    return openshell_kernel.effective_policy(policy)


def test_an_explanation_names_the_rule_its_origin_and_its_reason(effective, folder):
    answer = openshell_kernel.explain(effective, folder / "new", "write")
    assert answer.allowed
    assert answer.rule.path == str(folder)
    assert answer.origin.value == "workdir"
    assert answer.reason == "the notebook's working directory"
    assert answer.remedy == ""


def test_an_explanation_of_a_refusal_proposes_what_is_safe(effective):
    answer = openshell_kernel.explain(effective, "/srv", openshell_kernel.Action.READ)
    assert (answer.allowed, answer.rule, answer.origin, answer.reason) == (False, None, None, "")
    assert answer.remedy == "filesystem_policy:\n  read_only: [/srv]"


def test_nothing_is_proposed_that_exposes_secrets(effective, user, secret):
    answer = openshell_kernel.explain(effective, secret)
    assert (answer.allowed, answer.remedy) == (False, "")
    assert any(str(user / ".ssh") in note for note in answer.notes)


def test_running_is_judged_for_any_file_and_only_for_what_can_be_run(effective, folder):
    (folder / "script").write_text("")
    assert openshell_kernel.explain(effective, folder / "script", "execute").allowed
    assert not openshell_kernel.explain(effective, "/dev/null", "execute").allowed


def test_a_rule_counts_for_what_its_path_leads_to(user, folder):
    (user / "data").mkdir()
    (user / "link").symlink_to("data")
    policy = openshell_kernel.Policy.model_validate(
        {"version": 1, "filesystem_policy": {"read_only": [str(user / "link")]}}
    )
    assert openshell_kernel.explain(policy, user / "data" / "x").allowed


def test_what_is_not_there_is_skipped(folder):
    policy = openshell_kernel.Policy.model_validate({"version": 1, "filesystem_policy": {"read_only": ["/nowhere"]}})
    effective = openshell_kernel.effective_policy(policy)
    assert "/nowhere" not in granted(effective)
    assert "/nowhere" in {skipped.path for skipped in effective.skipped}


def test_an_unknown_action_is_named(effective):
    with refused(ValueError, "'delete'", "read", "write", "execute"):
        openshell_kernel.explain(effective, "/", "delete")
