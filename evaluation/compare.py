"""The step that holds a run against an earlier one: `python -m evaluation.compare RUN_A RUN_B`.

A is the older run or the champion, B the newer; both are evaluated. What both told from the same start is compared
story by story, in every measure; the verdict follows the rule of `comparing/ruling.py`. The result lies in
`RUN_B/comparisons/<name of A>/`. Whether there is anything to do is decided before the heavy libraries are imported.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from evaluation.comparing.sides import Evaluated, Side, judges_who_miss_damage, open_evaluated, side_of
from evaluation.judging.addresses import judge_addresses
from evaluation.judging.again import asked_again
from story_model.config import Settings
from story_model.evaluate_config import EvaluateConfig
from story_model.manifest import Manifest, StepResult, run_step
from story_model.strict_json import read_json

if TYPE_CHECKING:
    from evaluation.comparing.comparison import Comparison

log = logging.getLogger(__name__)

_VERSION = 2


class ComparisonSettings(BaseModel):
    """What decides a comparison, the inputs apart."""

    left: Side
    right: Side
    """Names, versions and configurations, as the page shows them."""
    evaluate: EvaluateConfig
    """The newer run's: the rule, the intervals, the judge."""
    distrusted: dict[str, list[str]]
    """Judges who missed damage, by dimension: they have no part in the verdict."""
    judge_endpoints: list[str]
    """Digests of their addresses: a judge that becomes reachable changes the result."""
    asked_again: int
    """How often questions that got no answer, because a judge's endpoint failed, were asked again."""


def compare(left: Evaluated, right: Evaluated, settings: Settings) -> Manifest:
    """Compare two runs and write the newer one's `comparisons/<older>/`, unless that is done.

    Raises:
        ValueError: both are the same run, or a told story cannot be read.
    """
    if left.run.root == right.run.root:
        raise ValueError(f"{left.run.root} cannot be compared with itself; name two runs")

    def work(out_dir: Path) -> StepResult:
        from evaluation.comparing.side_by_side import compare_runs

        return compare_runs(left, right, settings, out_dir)

    sides, judges = {"left": left, "right": right}, judge_addresses(right.config.evaluate.judge, settings)
    out_dir = right.run.comparison_dir(left.run.name)
    decisive = ComparisonSettings(
        left=side_of(left),
        right=side_of(right),
        evaluate=right.config.evaluate,
        distrusted=judges_who_miss_damage(right),
        judge_endpoints=judges,
        asked_again=asked_again(out_dir, judges),
    )
    # Not the whole evaluation: a judge's anchors, asked anew each week, leave a comparison as it is.
    inputs = {f"{name}/{mode}": told for name, one in sides.items() for mode, told in one.told().items()}
    return run_step(out_dir, work, step="compare", version=_VERSION, config=decisive, inputs=inputs)


def read_comparison(out_dir: Path) -> "Comparison":
    """Read the result of a comparison."""
    from evaluation.comparing.comparison import Comparison

    return Comparison.model_validate(read_json((out_dir / "comparison.json").read_bytes()))


def main() -> None:
    """Compare the two runs whose folders are the arguments."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.compare", description="Hold a run against another.")
    parser.add_argument("run_a", type=Path, help="folder of the older run, or of the champion (workspace/<run>)")
    parser.add_argument("run_b", type=Path, help="folder of the newer run")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = parser.parse_args()
    try:
        left, right = open_evaluated(args.run_a), open_evaluated(args.run_b)
        compare(left, right, Settings())
    except ValueError as error:
        sys.exit(f"comparison: {error}")
    except OSError as error:  # a full disk, above all: what is finished stays
        sys.exit(f"comparison: {error}; free some space and run the same command again")
    out_dir = right.run.comparison_dir(left.run.name)
    found = read_comparison(out_dir)
    log.info("%s beside %s: %s (%s)", found.right.run, found.left.run, found.verdict, found.reason)
    log.info("page: %s", out_dir / "comparison.html")


if __name__ == "__main__":
    main()
