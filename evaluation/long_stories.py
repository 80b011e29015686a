"""The step that tells long stories: `python -m evaluation.long_stories RUN_DIR`.

The first validation stories give their opening pair; from it a story is told in every configured mode under every cache
policy, and beside them, where it is configured, by the baseline; the dataset's own pictures are painted from their own
features as the ceiling of them all. Each of these systems is a step with a folder of its own, so that a further policy
tells only its own stories. Whether there is anything to do is decided before the heavy libraries are imported.
"""

import argparse
import functools
import logging
import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from evaluation.systems import CAPTIONS_ALONE, RECONSTRUCTION, RECONSTRUCTION_MODE, texts_policy
from story_model.config import DetokenizerConfig, ImageEncoderConfig, ModelConfig, RunConfig, read_config
from story_model.manifest import Manifest, StepResult, run_step
from story_model.tell_config import Mode, Policy, SamplerConfig, TellConfig
from story_model.train_config import BaselineConfig, Precision
from story_model.workspace import Part, RunFolder

if TYPE_CHECKING:
    from evaluation.telling.captions_alone import Illustrator
    from evaluation.telling.storyteller import Storyteller

log = logging.getLogger(__name__)

_VERSION = 2
_BASELINE_VERSION = 1
_PARTS: tuple[Part, ...] = ("tokenizer", "image_encoder", "autoencoder", "stage2", "stage3")
_BASELINE_PARTS: tuple[Part, ...] = ("tokenizer", "autoencoder", "language_model", "baseline")
_PAINTING_PARTS: tuple[Part, ...] = ("image_encoder", "autoencoder", "stage3")
_RECONSTRUCTION_VERSION = 1


class TellingSettings(BaseModel):
    """What decides the stories of one system, the inputs apart."""

    tell: TellConfig
    """Its lists of modes and policies hold this system's alone: the others do not matter to it."""
    model: ModelConfig
    seed: int


class BaselineSettings(BaseModel):
    """What decides the baseline's pictures, the inputs apart."""

    sampler: SamplerConfig
    precision: Precision
    baseline: BaselineConfig
    model: ModelConfig
    seed: int


class ReconstructionSettings(BaseModel):
    """What decides the rebuilt pictures, the inputs apart."""

    sampler: SamplerConfig
    precision: Precision
    stories: int
    segments: int
    image_encoder: ImageEncoderConfig
    detokenizer: DetokenizerConfig
    seed: int


def tell_stories(run: RunFolder, config: RunConfig) -> list[Manifest]:
    """Tell each system's stories into its folder, unless that is done.

    Raises:
        ValueError: the dataset or a trained part is missing.
    """
    return _tell_by_policies(run, config) + _tell_by_captions_alone(run, config) + _rebuild(run, config)


def _tell_by_policies(run: RunFolder, config: RunConfig) -> list[Manifest]:

    @functools.cache
    def storyteller() -> "Storyteller":
        from evaluation.telling.storyteller import load_storyteller

        return load_storyteller(run, config)

    inputs = {"dataset": run.dataset_dir} | {f"model/{part}": run.part_dir(part) for part in _PARTS}
    manifests = []
    for mode, policy in product(config.tell.modes, config.tell.policies):

        def work(out_dir: Path, mode: Mode = mode, policy: Policy = policy) -> StepResult:
            return storyteller().tell(mode, policy, out_dir)

        tell = config.tell.model_copy(update={"modes": (mode,), "policies": (policy,)})
        decisive = TellingSettings(tell=tell, model=config.model, seed=config.seed)
        step = f"tell {mode}-{policy}"
        out_dir = run.told_dir(mode, policy)
        manifests.append(run_step(out_dir, work, step=step, version=_VERSION, config=decisive, inputs=inputs))
    return manifests


def _tell_by_captions_alone(run: RunFolder, config: RunConfig) -> list[Manifest]:
    """Have the baseline illustrate, in each mode, the texts of the headline policy."""
    if config.train.baseline is None:
        return []

    @functools.cache
    def illustrator() -> "Illustrator":
        from evaluation.telling.captions_alone import load_illustrator

        return load_illustrator(run, config)

    decisive = BaselineSettings(
        sampler=config.tell.sampler,
        precision=config.tell.precision,
        baseline=config.train.baseline,
        model=config.model,
        seed=config.seed,
    )
    manifests = []
    for mode in config.tell.modes:
        texts_dir = run.told_dir(mode, texts_policy(config))

        def work(out_dir: Path, texts_dir: Path = texts_dir) -> StepResult:
            return illustrator().illustrate(texts_dir, out_dir)

        inputs = {"texts": texts_dir} | {f"model/{part}": run.part_dir(part) for part in _BASELINE_PARTS}
        step, out_dir = f"tell {mode}-{CAPTIONS_ALONE}", run.told_dir(mode, CAPTIONS_ALONE)
        manifests.append(run_step(out_dir, work, step=step, version=_BASELINE_VERSION, config=decisive, inputs=inputs))
    return manifests


def _rebuild(run: RunFolder, config: RunConfig) -> list[Manifest]:
    """Paint the dataset's pictures from their own features, where that is asked for."""
    if not config.evaluate.reconstruction:
        return []

    def work(out_dir: Path) -> StepResult:
        from evaluation.telling.reconstruction import load_rebuilder

        return load_rebuilder(run, config).rebuild(out_dir)

    decisive = ReconstructionSettings(
        sampler=config.tell.sampler,
        precision=config.tell.precision,
        stories=config.tell.stories,
        segments=config.tell.segments,
        image_encoder=config.model.image_encoder,
        detokenizer=config.model.detokenizer,
        seed=config.seed,
    )
    inputs = {"dataset": run.dataset_dir} | {f"model/{part}": run.part_dir(part) for part in _PAINTING_PARTS}
    out_dir = run.told_dir(RECONSTRUCTION_MODE, RECONSTRUCTION)
    step = f"rebuild {RECONSTRUCTION_MODE}-{RECONSTRUCTION}"
    return [run_step(out_dir, work, step=step, version=_RECONSTRUCTION_VERSION, config=decisive, inputs=inputs)]


def main() -> None:
    """Tell the stories of the run whose folder is the argument."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.long_stories", description="Tell a run's long stories.")
    parser.add_argument("run_dir", type=Path, help="folder of the run (workspace/<run>)")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run = RunFolder(parser.parse_args().run_dir.resolve())
    try:
        if not run.config_path.is_file():
            raise ValueError(f"{run.root} holds no config.yaml; is it a run's folder?")
        tell_stories(run, read_config(run.config_path))
    except ValueError as error:
        sys.exit(f"telling: {error}")
    except OSError as error:  # a full disk, above all: what is finished stays
        sys.exit(f"telling: {error}; free some space and run the same command again")
    log.info("stories: %s", run.root / "stories")


if __name__ == "__main__":
    main()
