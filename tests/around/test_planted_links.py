"""Two notebooks, one policy, any folder: a link that one kernel makes carries no right of the other's policy anywhere."""

import pytest
from support import kernels
from support.errors import refused

from openshell_kernel.errors import ConfinementError

POLICY = """\
version: 1
filesystem_policy: {{include_workdir: true, read_only: [/usr, /proc], read_write: [{out}]}}
landlock: {{compatibility: {compatibility}}}
"""


@pytest.fixture
def project(user):
    """A project with a folder for results, beside it one of another notebook, and a file that decides who may log in."""
    for name in ("work/proj/out", "work/other"):
        (user / name).mkdir(parents=True)
    (user / ".ssh" / "authorized_keys").write_text("mine\n")
    return user / "work" / "proj"


def planting(project, write_policy, compatibility, target):
    """Let a kernel of the project exchange the folder that its policy lists for a link."""
    write_policy(POLICY.format(out=project / "out", compatibility=compatibility))
    with kernels.started(cwd=project) as kernel:
        made = f"import os; os.rmdir('out'); os.symlink({str(target)!r}, 'out')"
        assert kernel.run(made).error == ""


WRITE = "open({path!r}, 'a').write('theirs\\n')"


def test_the_second_kernel_is_not_given_what_the_first_ones_link_leads_to(user, project, write_policy):
    planting(project, write_policy, "best_effort", user / ".ssh")
    attempt = WRITE.format(path=f"{user}/.ssh/authorized_keys")
    with kernels.started(cwd=user / "work" / "other") as kernel:
        assert kernel.run(attempt).error.startswith("PermissionError")
        assert kernel.run(WRITE.format(path=f"{project}/out/authorized_keys")).error.startswith("PermissionError")
        effective = kernel.record()["effective"]
    assert str(user / ".ssh") not in [rule["resolved"] for rule in effective["rules"]]
    assert [item for item in effective["skipped"] if item["path"] == f"{project}/out" and f"{user}/.ssh" in item["why"]]
    assert (user / ".ssh" / "authorized_keys").read_text() == "mine\n"


def test_where_the_policy_requires_all_of_its_paths_the_start_is_refused_with_the_remedy(user, project, write_policy):
    planting(project, write_policy, "hard_requirement", user / ".ssh")
    with (
        refused(ConfinementError, project / "out", user / ".ssh"),
        kernels.started(cwd=user / "work" / "other"),
    ):
        pass


def test_without_the_sandbox_the_link_leads_there(user, project, write_policy):
    planting(project, write_policy, "best_effort", user / ".ssh")
    with kernels.started("python3", cwd=user / "work" / "other") as kernel:
        assert kernel.run(WRITE.format(path=f"{project}/out/authorized_keys")).error == ""
    assert (user / ".ssh" / "authorized_keys").read_text() == "mine\ntheirs\n"


def test_as_long_as_it_is_a_folder_both_kernels_write_there(user, project, write_policy):
    write_policy(POLICY.format(out=project / "out", compatibility="hard_requirement"))
    with kernels.started(cwd=user / "work" / "other") as kernel:
        assert kernel.run(WRITE.format(path=f"{project}/out/result")).error == ""
    assert (project / "out" / "result").read_text() == "theirs\n"


@pytest.mark.parametrize("variable", ["PYTHONPATH", "LD_LIBRARY_PATH"])
def test_a_folder_that_a_variable_names_is_not_followed_through_such_a_link_either(
    user, project, write_policy, monkeypatch, variable, tmp_path
):
    (tmp_path / "proj" / "out").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("x")
    planting(tmp_path / "proj", write_policy, "best_effort", tmp_path / "secret")
    monkeypatch.setenv(variable, str(tmp_path / "proj" / "out"))
    with kernels.started(cwd=user / "work" / "other") as kernel:
        assert kernel.run(f"open({str(tmp_path / 'secret' / 'file')!r})").error.startswith("PermissionError")
        assert f"{tmp_path}/proj/out" in kernel.run("%policy show").text
