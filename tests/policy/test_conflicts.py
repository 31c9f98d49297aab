"""What the policy lists read-only becomes read-write only as the conflict settings say, and never in silence."""

import pytest
from support.errors import check_message

from openshell_kernel.base.hardware import Hardware, Status
from openshell_kernel.errors import PolicyError
from openshell_kernel.policy import baseline
from openshell_kernel.policy.conflicts import matches
from openshell_kernel.policy.effective import PROC_WRITE_RIGHTS, Access, Origin
from openshell_kernel.policy.enrichment import enrich
from openshell_kernel.policy.model import ConflictsPolicy, Policy
from openshell_kernel.policy.runtime import Runtime

GPU = Hardware(status=Status.OK, detail="", present=True, nodes=("/dev/nvidiactl", "/dev/nvidia0"))
RUNTIME = Runtime(needs=baseline.SYSTEM, workdir="/home/me/notebooks")
LISTED = ["/proc", "/dev/nvidiactl", "/dev/shm"]


def enriched(*, settings=None, pinned=None, listed=LISTED, gpu=None, hardware=GPU):
    jupyter = {**({"baseline_conflicts": settings} if settings is not None else {}), **({"gpu": gpu} if gpu else {})}
    policy = Policy.model_validate({"version": 1, "filesystem_policy": {"read_only": listed}, "jupyter": jupyter})
    settings = None if pinned is None else ConflictsPolicy.model_validate(pinned)
    return enrich(policy, hardware, RUNTIME, source="policy.yaml", pinned=settings, exists=lambda _: True)


def outcome(effective):
    return (
        {promotion.path for promotion in effective.promotions},
        {conflict.path for conflict in effective.conflicts},
    )


def refusal(**arguments):
    with pytest.raises(PolicyError) as caught:
        enriched(**arguments)
    return str(caught.value)


@pytest.mark.parametrize("settings", [None, {}, {"mode": "keep_unlisted"}, {"allow_promotion": ["/proc"]}])
def test_by_default_proc_is_promoted_and_the_rest_kept_and_told(settings):
    effective = enriched(settings=settings)
    assert outcome(effective) == ({"/proc"}, {"/dev/nvidiactl", "/dev/shm"})
    rules = {rule.path: rule for rule in effective.rules}
    assert (rules["/proc"].origin, set(rules["/proc"].rights)) == (Origin.PROMOTION, set(PROC_WRITE_RIGHTS))
    assert rules["/dev/nvidiactl"].access is Access.READ_ONLY


def test_a_listed_path_is_promoted_with_the_rights_that_the_baseline_wants():
    effective = enriched(settings={"allow_promotion": ["/proc", "/dev/nvidia*"]})
    assert outcome(effective) == ({"/proc", "/dev/nvidiactl"}, {"/dev/shm"})
    rule = next(rule for rule in effective.rules if rule.path == "/dev/nvidiactl")
    assert (rule.access, rule.origin, "ioctl_dev" in rule.rights) == (Access.READ_WRITE, Origin.PROMOTION, True)


def test_with_nothing_listed_proc_stays_read_only_too():
    assert outcome(enriched(settings={"allow_promotion": []})) == (set(), set(LISTED))


def test_an_unlisted_conflict_is_refused_with_the_path_and_both_remedies():
    text = refusal(settings={"mode": "reject_unlisted"})
    check_message(text, "/dev/nvidiactl", "/dev/shm", "read_write", "allow_promotion")
    assert "/proc" not in text
    assert outcome(enriched(settings={"mode": "reject_unlisted"}, listed=["/proc"])) == ({"/proc"}, set())


def test_reject_all_refuses_proc_as_well():
    assert "/proc" in refusal(settings={"mode": "reject_all"}, listed=["/proc"])
    assert "/proc" in refusal(settings={"mode": "reject_all", "allow_promotion": ["/proc"]}, listed=["/proc"])


def test_promote_all_promotes_all_and_shows_it():
    effective = enriched(settings={"mode": "promote_all"})
    assert outcome(effective) == (set(LISTED), set())
    assert all(promotion.reason for promotion in effective.promotions)


@pytest.mark.parametrize(
    ("pinned", "settings", "expected"),
    [
        pytest.param({}, {"mode": "promote_all"}, ({"/proc"}, {"/dev/nvidiactl", "/dev/shm"}), id="the mode"),
        pytest.param(
            {},
            {"allow_promotion": ["/proc", "/dev/**"]},
            ({"/proc"}, {"/dev/nvidiactl", "/dev/shm"}),
            id="the patterns",
        ),
        pytest.param({"allow_promotion": []}, {}, (set(), set(LISTED)), id="proc"),
        pytest.param(
            {"allow_promotion": ["/**"]}, {}, ({"/proc"}, {"/dev/nvidiactl", "/dev/shm"}), id="a policy may be stricter"
        ),
    ],
)
def test_a_policy_cannot_loosen_what_the_operator_has_pinned(pinned, settings, expected):
    assert outcome(enriched(pinned=pinned, settings=settings)) == expected


def test_an_operator_can_refuse_what_every_policy_would_allow():
    assert "reject_all" in refusal(pinned={"mode": "reject_all"}, settings={"mode": "promote_all"}, listed=["/proc"])


def test_without_a_gpu_there_is_no_conflict_about_proc():
    nothing = Hardware(status=Status.NO_LIBRARY, detail="")
    for arguments in ({"hardware": nothing}, {"gpu": {"request": "none"}}):
        effective = enriched(settings={"mode": "reject_all"}, listed=["/proc"], **arguments)
        assert outcome(effective) == (set(), set())


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/proc", "/proc", True),
        ("/proc", "/proc/sys", False),
        ("/dev/nvidia*", "/dev/nvidia-uvm", True),
        ("/dev/*", "/dev/nvidia-caps/nvidia-cap1", False),
        ("/dev/**", "/dev/nvidia-caps/nvidia-cap1", True),
        ("/dev/nvidia?", "/dev/nvidia10", False),
        ("/a.c", "/abc", False),
        ("/a*", "/a\nb", True),
    ],
)
def test_a_star_stays_within_a_name(pattern, path, fits):
    assert matches(pattern, path) is fits
