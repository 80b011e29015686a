"""All systems of a run and the dataset itself, measured with one ruler; each rival beside the headline system."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tqdm import tqdm

from evaluation.distances.distances import Distances
from evaluation.judging.report import JudgeReport
from evaluation.material import System, Systems, dataset_itself, headline_of
from evaluation.measures.cartoon_world import Verdict, Verdicts, verdicts_of
from evaluation.measures.measure import Measured
from evaluation.measures.probe import Probe, ProbeConfig, load_probe, train_probe
from evaluation.measuring import distances_between, measure_system
from evaluation.pictures import Pair, Telling, sample_keyframes, stack
from evaluation.rivals import compare, compare_slopes
from evaluation.ruler import Ruler
from evaluation.scores import Scores
from story_model.config import RunConfig, Settings
from story_model.device import chosen_device
from story_model.pixels import Square, detokenizer_square
from story_model.schema import TrueWorld, read_truth
from story_model.workspace import RunFolder

_GALLERY = 2000
"""Training keyframes among which copies are looked for, where there are so many."""


@dataclass(frozen=True)
class Evaluated:
    """All that was measured, before it is written."""

    systems: Systems
    scores: Scores
    values: list[tuple[System, Measured]]
    """Of every system and of the dataset."""
    verdicts: Mapping[str, Verdicts]
    """Of the probe, by system; empty where the videos are not drawn."""

    def with_judge(self, report: JudgeReport) -> "Evaluated":
        """Add what the judges said."""
        return replace(self, scores=self.scores.model_copy(update={"judge": report}))


def measure_run(run: RunFolder, config: RunConfig, systems: Systems) -> Evaluated:
    """Take all measures of all systems.

    Raises:
        ValueError: a picture, or the file of a network, is not what it should be.
    """
    square = detokenizer_square(config.model.detokenizer)
    own = next(system for system in systems.values() if system.kind != "external").tellings
    world, probe, probe_metrics = _probe(run, config, square)
    number = sum(len(telling.reference) for telling in own)
    keyframes = sample_keyframes(run.dataset_dir, max(number, _GALLERY), square=square, seed=config.seed)
    ruler = Ruler(
        config=config.evaluate,
        square=square,
        world=world,
        probe=probe,
        keyframes=stack(keyframes),
        tellings=own,
        features_dir=run.seen_dir,
        trained_length=config.build.stories.chunk_length - 1,
        seed=config.seed,
        device=chosen_device(Settings().device),
    )
    everybody = {**systems, "dataset": dataset_itself(own)}
    verdicts = {name: _verdicts(one.tellings, probe, world) for name, one in everybody.items() if probe and world}
    bar = tqdm(everybody.items(), desc="systems", unit="system", mininterval=2)
    measured = {name: measure_system(system, ruler, verdicts.get(name)) for name, system in bar}
    scored = {name: measured[name][0] for name in systems}
    others = _other_episodes(own, keyframes[:number], ruler)
    headline = headline_of(config, systems)
    scores = Scores(
        networks=ruler.digests,
        headline=headline,
        systems=scored,
        reference=measured["dataset"][0].model_copy(update={"distances": others}),
        comparisons=compare(
            scored,
            config.evaluate.headline_policy,
            primary=config.evaluate.champion.primary,
            resamples=config.evaluate.bootstrap,
            seed=config.seed,
        ),
        slope_differences=compare_slopes(
            {name: values for name, (_, values) in measured.items()},
            scored,
            config.evaluate.headline_policy,
            resamples=config.evaluate.bootstrap,
            seed=config.seed,
        ),
        probe=probe_metrics,
        judge=JudgeReport(),
    )
    return Evaluated(systems, scores, [(everybody[name], values) for name, (_, values) in measured.items()], verdicts)


def _probe(
    run: RunFolder, config: RunConfig, square: Square
) -> tuple[TrueWorld | None, Probe | None, dict[str, float] | None]:
    """Train what knows the drawn series by sight; nothing where the videos are not drawn."""
    truth = read_truth(run.videos_dir)
    if truth is None:
        return None, None, None
    trained = train_probe(run, ProbeConfig(steps=config.evaluate.probe_steps, seed=config.seed, square=square))
    return truth[0], load_probe(run.probe_dir, truth[0]), trained.metrics


def _verdicts(tellings: Sequence[Telling], probe: Probe, world: TrueWorld) -> dict[str, list[Verdict]]:
    return {
        telling.story_id: verdicts_of(
            telling, world, *(part.tolist() for part in probe.probabilities(stack(telling.told)))
        )
        for telling in tellings
    }


def _other_episodes(tellings: Sequence[Telling], keyframes: Sequence[Pair], ruler: Ruler) -> dict[str, Distances]:
    """Hold each story's pictures against an equal share of keyframes: true pictures, of other scenes."""
    shares, taken = [], 0
    for telling in tellings:
        shares.append(keyframes[taken : taken + len(telling.reference)])
        taken += len(telling.reference)
    if taken > len(keyframes):
        return {}
    return distances_between(shares, [telling.reference for telling in tellings], ruler)
