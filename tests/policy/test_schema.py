"""The JSON Schema that editors are given says of a policy what loading says, as far as a schema can."""

import ast
import functools
import json
import re
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from openshell_kernel.policy import schema
from openshell_kernel.policy.loading import InvalidPolicyError, parse
from openshell_kernel.policy.sources import BUILT_IN_POLICY

TESTS = Path(__file__).parents[1]
SHIPPED = json.loads(Path(schema.PATH).read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SHIPPED)


def values(text):
    return YAML(typ="safe", pure=True).load(text)


@functools.cache
def policies_in_tests():
    """Every text in the tests that is a policy, whatever it is there for."""
    texts = {
        node.value
        for file in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.search(r"^version: 1\b", node.value, re.MULTILINE)
    }
    return [text for text in sorted(texts) if loads(text)]


def loads(text):
    try:
        parse(text, name="policy.yaml")
    except InvalidPolicyError:
        return False
    return True


def test_what_is_shipped_is_what_the_model_generates():
    remedy = "run python -m openshell_kernel.policy.schema > openshell_kernel/policy/policy.schema.json"
    assert schema.generate() == SHIPPED, remedy


def test_it_is_a_json_schema():
    jsonschema.Draft202012Validator.check_schema(SHIPPED)


def test_the_built_in_policy_names_it_in_its_first_line_and_fits_it():
    text = Path(BUILT_IN_POLICY).read_text(encoding="utf-8")
    name = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert Path(BUILT_IN_POLICY).with_name(name).samefile(schema.PATH)
    assert list(VALIDATOR.iter_errors(values(text))) == []
    examples = re.sub(r"^( *)#(?=\S|  )", r"\1", text, flags=re.MULTILINE)
    assert list(VALIDATOR.iter_errors(values(examples))) == []


def test_every_policy_of_the_tests_fits_it():
    found = policies_in_tests()
    assert len(found) >= 40
    wrong = {text: str(error.message) for text in found for error in VALIDATOR.iter_errors(values(text))}
    assert wrong == {}


LAXITIES = [
    "filesystem_policy: {read_only: , read_write: }",
    "process: {run_as_user: '', run_as_group: '1500'}",
    "process: {run_as_user: sandbox}",
    "network_policies:",
    "network_policies: {a: {endpoints: , binaries: [{path: /usr/bin/git, a_newer_key: 1}]}}",
    "jupyter: {environment: {pass: , set: }}",
    "jupyter: {gpu: {count: , devices: [0, '1:2', GPU-8932f937, mig-c7384736, '0000:65:00.0']}}",
    "a_newer_block: {whatever: 1}",
]


@pytest.mark.parametrize("text", LAXITIES)
def test_what_may_be_left_empty_or_is_of_a_newer_openshell_fits_it(text):
    policy = f"version: 1\n{text}\n"
    assert loads(policy)
    assert list(VALIDATOR.iter_errors(values(policy))) == []


MISTAKES = [
    "filesystem_policy: {read_onyl: [/usr]}",
    "filesystem_policy: {read_only: [usr]}",
    "filesystem_policy: {read_only: [~/x]}",
    "filesystem_policy: {read_only: [/a/../b]}",
    "filesystem_policy: {read_only: [/a/..]}",
    "filesystem_policy: {read_only: /usr}",
    "filesystem_policy: {read_write: [/]}",
    "filesystem_policy: {read_write: [/./]}",
    "filesystem_policy: {read_write: [//.]}",
    "filesystem_policy: {include_workdir: 'yes'}",
    "filesystem_policy:",
    "landlock: {compatibility: best-effort}",
    "landlock: {}\njupyter: {home: temporary}",
    "process: {run_as_user: 1500}",
    "process: {run_as_user: '0'}",
    "process: {run_as_user: alice}",
    "network_policies: {a: {binaries: [{harness: true}]}}",
    "network_policies: {a: {endpoints: [{port: 65536}]}}",
    "jupyter: {gpus: {}}",
    "jupyter: {gpu: {request: maybe}}",
    "jupyter: {gpu: {count: 0}}",
    "jupyter: {gpu: {devices: [GPU]}}",
    "jupyter: {gpu: {extras: [nfs]}}",
    "jupyter: {environment: {pass: ['A B']}}",
    "jupyter: {environment: {set: {A-B: '1'}}}",
    "jupyter: {environment: {set: {A: 1}}}",
    "jupyter: {baseline_conflicts: {mode: keep}}",
    "jupyter: {baseline_conflicts: {allow_promotion: [proc]}}",
]


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_in_one_key_or_value_does_not_fit_it(text):
    policy = f"version: 1\n{text}\n"
    assert not loads(policy)
    assert not VALIDATOR.is_valid(values(policy))


@pytest.mark.parametrize("text", ["{}", "version: 2", "version: '1'", "- version: 1"])
def test_what_is_no_policy_of_this_version_does_not_fit_it(text):
    assert not loads(text)
    assert not VALIDATOR.is_valid(values(text))


def test_names_that_end_in_a_dot_are_no_roots():
    for path in ("/...", "/a/.", "/.a", "//a"):
        policy = f"version: 1\nfilesystem_policy: {{read_write: [{path}]}}\n"
        assert loads(policy)
        assert VALIDATOR.is_valid(values(policy))
