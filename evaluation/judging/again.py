"""Whether a finished step asks its judges again: where an endpoint failed, what is missing may come now.

A step that is finished is not run again, so the answers that it lacks would be lacking until its settings change. What
was answered is in the ledgers and costs nothing; questions that a budget left unasked wait for another budget.
"""

from collections.abc import Sequence
from pathlib import Path

from story_model.manifest import read_manifest

ERRORS = "judge_errors"
"""In a manifest's counts: questions that got no answer."""
FIELD = "asked_again"
"""In a step's settings: how often questions that had got none were asked again."""


def asked_again(out_dir: Path, judges: Sequence[str]) -> int:
    """Tell the field's value for a step's next run: one more where answers are missing that one of the judges may give.

    Args:
        out_dir: of the step.
        judges: those that can be reached now.
    """
    done = read_manifest(out_dir)
    if done is None:
        return 0
    before = done.config.get(FIELD)
    is_lacking = done.counts.get(ERRORS, 0) > 0 and bool(judges)
    return (before if isinstance(before, int) else 0) + is_lacking
