"""`jupyter.baseline_conflicts`: what happens where a policy and a baseline differ."""

from typing import Annotated

from pydantic import AfterValidator, Field

from openshell_kernel.base.enums import StrEnum
from openshell_kernel.policy.blocks.block import Block
from openshell_kernel.policy.blocks.kinds import ListOf, word_of
from openshell_kernel.policy.blocks.paths import NO_PARENT, check_glob
from openshell_kernel.policy.effective import MAX_PATHS
from openshell_kernel.policy.in_json_schema import matching


class ConflictMode(StrEnum):
    """What becomes of conflicts, see `ConflictsPolicy`."""

    KEEP_UNLISTED = "keep_unlisted"
    REJECT_UNLISTED = "reject_unlisted"
    PROMOTE_ALL = "promote_all"
    REJECT_ALL = "reject_all"


class ConflictsPolicy(Block):
    """What happens where the policy lists a path read-only and a baseline wants it read-write.

    `allow_promotion` are patterns of absolute paths that may become read-write. Of the others, `keep_unlisted` keeps
    them read-only, and `reject_unlisted` refuses the start. `promote_all` makes all of them read-write, `reject_all`
    refuses the start for any. The shape is that of OpenShell's issue #1629, the default OpenShell's rule of today.
    """

    mode: Annotated[ConflictMode, word_of(ConflictMode)] = ConflictMode.KEEP_UNLISTED
    allow_promotion: Annotated[
        ListOf[Annotated[str, AfterValidator(check_glob), matching(f"^/{NO_PARENT}")]], Field(max_length=MAX_PATHS)
    ] = ("/proc",)
