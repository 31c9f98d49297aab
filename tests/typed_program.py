"""A program of somebody who has installed the package: what `mypy --strict` says of it is what editors show them."""

from __future__ import annotations

import subprocess
from typing import IO

from typing_extensions import assert_type

import openshell_kernel
from openshell_kernel import Action, EffectivePolicy, Explanation, Policy, PolicyError, Process, Report


def load(path: str) -> Policy | None:
    try:
        return openshell_kernel.load_policy(path)
    except openshell_kernel.InvalidPolicyError as error:
        for violation in error.violations:
            print(violation.line, violation.column, violation.key, violation.problem, violation.remedy)
    except PolicyError as error:
        print(error)
    return None


def look(policy: Policy) -> bool:
    effective = openshell_kernel.effective_policy(policy, cwd="/srv")
    assert_type(effective, EffectivePolicy)
    assert_type([rule.path for rule in effective.rules], list[str])
    answer = openshell_kernel.explain(effective, "/usr/bin/env", Action.EXECUTE)
    assert_type(answer, Explanation)
    assert_type(answer.reason, str)
    print(answer.origin.value if answer.origin else "nobody", answer.remedy, answer.notes)
    return answer.allowed


def enclose(policy: Policy) -> bool:
    report = openshell_kernel.confine(policy)
    assert_type(report, Report)
    print([layer.name for layer in report.layers], [item.what for item in report.residual])
    return report.enforced


def work(policy: Policy) -> int:
    with openshell_kernel.run(["cat"], policy=policy, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert_type(process, Process)
        assert_type(process.stdin, IO[bytes] | None)
        stdout, _ = process.communicate(b"words")
        assert_type(stdout, bytes)
    assert_type(process.returncode, int | None)
    return process.wait()
