"""The step that evaluates a run: `python -m evaluation.report RUN_DIR`.

Told stories, other people's and the dataset's go in; numbers, a row for every value, what the judges said and one
self-contained page come out, and are logged to MLflow. `--dry-run` says what the judges would be asked and what that
would cost. Whether there is anything to do is decided before the heavy libraries are imported.
"""

import argparse
import logging
import sys
from datetime import UTC, date, datetime
from pathlib import Path

from pydantic import BaseModel

from evaluation.external_forms import external_folders
from evaluation.judging.addresses import judge_addresses
from evaluation.judging.again import asked_again
from evaluation.systems import systems_of
from story_model.config import RunConfig, Settings, Transform, read_config
from story_model.evaluate_config import ChampionConfig, EvaluateConfig, JudgeConfig
from story_model.manifest import Manifest, StepResult, read_manifest, run_step
from story_model.tell_config import CacheConfig
from story_model.workspace import Part, RunFolder

log = logging.getLogger(__name__)

_VERSION = 4
_PARTS: tuple[Part, ...] = ("stage1", "stage2", "stage3", "baseline")


class EvaluationSettings(BaseModel):
    """What decides the numbers and the page, the inputs apart."""

    evaluate: EvaluateConfig
    cache: CacheConfig
    picture_size: int
    transform: Transform
    """Told pictures' side, and how the dataset's become the same squares."""
    seed: int
    run: str
    judges: list[str]
    """Where they are reached: a judge that becomes reachable changes the result. Addresses only, no user or key."""
    judge_round: str | None
    """Of the anchors, which are judged anew in each; none where there is no judge."""
    asked_again: int
    """How often questions that got no answer, because a judge's endpoint failed, were asked again."""


def evaluate(run: RunFolder, config: RunConfig, settings: Settings) -> Manifest:
    """Measure a run's told stories and write `evaluation/`, unless that is done.

    Raises:
        ValueError: the stories are not told yet, or the headline policy was not among those told.
    """
    if config.evaluate.headline_policy not in config.tell.policies:
        raise ValueError(
            f"evaluate.headline_policy is {config.evaluate.headline_policy!r}, but tell.policies has only "
            f"{', '.join(config.tell.policies)}; change one of them"
        )

    def work(out_dir: Path) -> StepResult:
        from evaluation.scoring import score_run

        return score_run(run, config, settings, out_dir)

    def before() -> None:
        from evaluation.judged import call_judges
        from evaluation.material import read_systems

        call_judges(run, config, settings, read_systems(run, config))

    judges = judge_addresses(config.evaluate.judge, settings)
    is_there = read_manifest(run.evaluation_dir) is not None  # a judge who has gone must not cost it
    primary = config.evaluate.champion.primary  # of the champion's settings, the one that these numbers hang on
    decisive = EvaluationSettings(
        evaluate=config.evaluate.model_copy(update={"champion": ChampionConfig(primary=primary)}),
        cache=config.tell.cache,
        picture_size=config.model.detokenizer.picture_size,
        transform=config.model.detokenizer.transform,
        seed=config.seed,
        run=run.name,
        judges=judges,
        judge_round=_round(config.evaluate.judge, settings),
        asked_again=asked_again(run.evaluation_dir, judges),
    )
    return run_step(
        run.evaluation_dir,
        work,
        step="evaluate",
        version=_VERSION,
        config=decisive,
        inputs=inputs_of(run, config),
        before=before if judges and is_there else None,
    )


def inputs_of(run: RunFolder, config: RunConfig) -> dict[str, Path]:
    """Name the folders that the step reads.

    Raises:
        ValueError: a system's stories are not all told.
    """
    told = {f"{mode}-{policy}": run.told_dir(mode, policy) for mode, policy in systems_of(config)}
    for name, told_dir in told.items():
        if read_manifest(told_dir) is None:
            raise ValueError(f"stories/{name} of {run.root} is not finished; tell the stories first")
    inputs = {f"stories/{name}": told_dir for name, told_dir in told.items()} | {"dataset": run.dataset_dir}
    inputs |= {f"model/{part}": run.part_dir(part) for part in _PARTS if read_manifest(run.part_dir(part)) is not None}
    inputs |= external_folders(config.evaluate.external)
    given = {"truth": run.videos_dir / "truth", "human": run.human_path}
    return inputs | {name: path for name, path in given.items() if path.exists()}


def round_of(today: date) -> str:
    """Name the round of the judges' anchors that a day falls in: its ISO week."""
    year, week, _ = today.isocalendar()
    return f"{year}-W{week:02d}"


def _round(judge: JudgeConfig, settings: Settings) -> str | None:
    return round_of(datetime.now(UTC).date()) if judge.anchors and judge_addresses(judge, settings) else None


def _tell_plan(run: RunFolder, config: RunConfig, settings: Settings) -> None:
    from evaluation.judged import dry_run

    inputs_of(run, config)
    for line in dry_run(run, config, settings):
        log.info("%s", line)


def main() -> None:
    """Evaluate the run whose folder is the argument."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.report", description="Judge a run's told stories.")
    parser.add_argument("run_dir", type=Path, help="folder of the run (workspace/<run>)")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what judges would be asked, and its price; ask nobody"
    )
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = parser.parse_args()
    run = RunFolder(args.run_dir.resolve())
    try:
        if not run.config_path.is_file():
            raise ValueError(f"{run.root} holds no config.yaml; is it a run's folder?")
        if args.dry_run:
            _tell_plan(run, read_config(run.config_path), Settings())
            return
        evaluate(run, read_config(run.config_path), Settings())
    except ValueError as error:
        sys.exit(f"evaluation: {error}")
    except OSError as error:  # a full disk, above all: what is finished stays
        sys.exit(f"evaluation: {error}; free some space and run the same command again")
    log.info("report: %s", run.report_path)


if __name__ == "__main__":
    main()
