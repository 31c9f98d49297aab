"""What README.md gives to copy works as it is pasted."""

import re
from pathlib import Path

from support import kernels

README = Path(__file__).parents[2] / "README.md"


def test_the_example_of_a_policy_starts_a_kernel_on_a_machine_that_has_none_of_its_folders(user, write_policy):
    section = README.read_text().partition("\n## The policy\n")[2]
    write_policy(re.search(r"```yaml\n(.*?)```", section, re.DOTALL)[1])
    assert not Path("/srv/datasets").exists()
    with kernels.started(cwd=user / "notebooks") as kernel:
        assert kernel.run("open('x', 'w')").error == ""
        assert "user policy" in kernel.run("%policy show").text
