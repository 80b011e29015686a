"""The step that judges a run: `python -m evaluation.report RUN_DIR`.

Told stories and the dataset go in; numbers, a row for every told picture, and one self-contained page come out, and
are logged to MLflow. Whether there is anything to do is decided before the heavy libraries are imported.
"""

import argparse
import logging
import sys
from pathlib import Path

from pydantic import BaseModel

from evaluation.systems import systems_of
from story_model.config import RunConfig, Settings, Transform, read_config
from story_model.evaluate_config import EvaluateConfig
from story_model.manifest import Manifest, StepResult, read_manifest, run_step
from story_model.tell_config import CacheConfig
from story_model.workspace import Part, RunFolder

log = logging.getLogger(__name__)

_VERSION = 2
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
    judge_endpoint: str | None
    """A judge that becomes reachable changes the result."""


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

    decisive = EvaluationSettings(
        evaluate=config.evaluate,
        cache=config.tell.cache,
        picture_size=config.model.detokenizer.picture_size,
        transform=config.model.detokenizer.transform,
        seed=config.seed,
        run=run.name,
        judge_endpoint=settings.api_base_url if config.evaluate.judge.model else None,
    )
    return run_step(
        run.evaluation_dir, work, step="evaluate", version=_VERSION, config=decisive, inputs=inputs_of(run, config)
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
    truth = run.videos_dir / "truth"
    return inputs | ({"truth": truth} if truth.is_dir() else {})


def main() -> None:
    """Evaluate the run whose folder is the argument."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.report", description="Judge a run's told stories.")
    parser.add_argument("run_dir", type=Path, help="folder of the run (workspace/<run>)")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run = RunFolder(parser.parse_args().run_dir.resolve())
    try:
        if not run.config_path.is_file():
            raise ValueError(f"{run.root} holds no config.yaml; is it a run's folder?")
        evaluate(run, read_config(run.config_path), Settings())
    except ValueError as error:
        sys.exit(f"evaluation: {error}")
    except OSError as error:  # a full disk, above all: what is finished stays
        sys.exit(f"evaluation: {error}; free some space and run the same command again")
    log.info("report: %s", run.report_path)


if __name__ == "__main__":
    main()
