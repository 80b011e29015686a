"""What the three stages learnt: each number from their manifests beside its baseline and the target it had to reach."""

from collections.abc import Mapping

from evaluation.scores import Scores
from story_model.manifest import read_manifest
from story_model.schema import LearningRow
from story_model.workspace import Part, RunFolder

_MIN_PSNR_GAIN_DB = 3.0
_MAX_WORD_LOSS_RATIO = 0.5
_MAX_FEATURE_ERROR_RATIO = 0.8
_MIN_CHARACTER_ACCURACY = 0.6


_STAGES: tuple[Part, ...] = ("stage1", "stage2", "stage3", "baseline")


def stage_metrics(run: RunFolder) -> dict[str, float]:
    """Read what the trained stages measured of themselves, all in one mapping."""
    manifests = (read_manifest(run.part_dir(stage)) for stage in _STAGES)
    return {name: value for manifest in manifests if manifest for name, value in manifest.metrics.items()}


def learning_table(metrics: Mapping[str, float], scores: Scores) -> list[LearningRow]:
    """Set up the table from the stages' metrics in one mapping (missing ones stay empty) and the headline's scores."""
    get = metrics.get
    rows = [
        LearningRow(
            stage="Stage 1",
            measure="held-out picture redrawn from its features, PSNR",
            value=get("stage1_psnr_db"),
            unit="dB",
            baseline=get("stage1_psnr_baseline_db"),
            baseline_name="answering with the mean training picture",
            target=f"at least {_MIN_PSNR_GAIN_DB:g} dB above",
            reached=_at_least(get("stage1_psnr_gain_db"), _MIN_PSNR_GAIN_DB),
        ),
        LearningRow(
            stage="Stage 2",
            measure="loss of the next word on held-out stories",
            value=get("stage2_word_loss"),
            unit="nats",
            baseline=get("stage2_word_loss_untrained"),
            baseline_name="a network of fresh weights",
            target=f"at most {_MAX_WORD_LOSS_RATIO:g} of it",
            reached=_at_most(get("stage2_word_loss_ratio"), _MAX_WORD_LOSS_RATIO),
        ),
        LearningRow(
            stage="Stage 2",
            measure="error of the predicted picture features",
            value=get("stage2_feature_error"),
            unit="",
            baseline=get("stage2_feature_error_baseline"),
            baseline_name="answering with the mean training features",
            target=f"at most {_MAX_FEATURE_ERROR_RATIO:g} of it",
            reached=_at_most(get("stage2_feature_error_ratio"), _MAX_FEATURE_ERROR_RATIO),
        ),
        LearningRow(
            stage="Stage 3",
            measure="noise loss on features that stage 2 predicts",
            value=get("stage3_noise_loss_after"),
            unit="",
            baseline=get("stage3_noise_loss_before"),
            baseline_name="stage 1's weights on the same features",
            target="below it",
            reached=_below(get("stage3_noise_loss_after"), get("stage3_noise_loss_before")),
        ),
    ]
    if "baseline_noise_loss_after" in metrics:
        rows.append(_baseline_row(metrics["baseline_noise_loss_before"], metrics["baseline_noise_loss_after"]))
    return rows + _told_rows(scores)


def _baseline_row(before: float, after: float) -> LearningRow:
    return LearningRow(
        stage="Baseline",
        measure="noise loss on captions alone",
        value=after,
        unit="",
        baseline=before,
        baseline_name="untrained projections on the same captions",
        target="below it",
        reached=_below(after, before),
    )


def _told_rows(scores: Scores) -> list[LearningRow]:
    if scores.headline is None:
        return []
    rows = []
    for aspect, accuracy in scores.systems[scores.headline].accuracy.items():
        found, chance = accuracy.accuracy, accuracy.chance_majority
        target, reached = "interval wholly above", None
        if aspect == "character":
            target = f"at least {100 * _MIN_CHARACTER_ACCURACY:g} %"
            reached = None if found is None else found.value >= _MIN_CHARACTER_ACCURACY
        elif found is not None and found.low is not None and chance is not None:
            reached = found.low > chance
        rows.append(
            LearningRow(
                stage="Told stories",
                measure=f"pictures that show the {aspect} of their text",
                value=None if found is None else 100 * found.value,
                unit="%",
                baseline=None if chance is None else 100 * chance,
                baseline_name=f"always the {aspect} named most often",
                target=target,
                reached=reached,
            )
        )
    return rows


def _at_least(value: float | None, bound: float) -> bool | None:
    return None if value is None else value >= bound


def _at_most(value: float | None, bound: float) -> bool | None:
    return None if value is None else value <= bound


def _below(value: float | None, other: float | None) -> bool | None:
    return None if value is None or other is None else value < other
