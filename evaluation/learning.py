"""What the three stages learnt: each number from their manifests beside its baseline and the target it had to reach."""

from collections.abc import Mapping
from dataclasses import dataclass

from evaluation.scores import Scores

_MIN_PSNR_GAIN_DB = 3.0
_MAX_WORD_LOSS_RATIO = 0.5
_MAX_FEATURE_ERROR_RATIO = 0.9


@dataclass(frozen=True)
class LearningRow:
    """One measured number; `reached` is none where a part of it is missing."""

    stage: str
    measure: str
    value: float | None
    unit: str
    baseline: float | None
    baseline_name: str
    target: str
    reached: bool | None


def learning_table(metrics: Mapping[str, float], scores: Scores) -> list[LearningRow]:
    """Set up the table from the stages' metrics in one mapping (missing ones stay empty) and the headline's scores."""
    get = metrics.get
    rows = [
        LearningRow(
            "Stage 1",
            "held-out picture redrawn from its features, PSNR",
            get("stage1_psnr_db"),
            "dB",
            get("stage1_psnr_baseline_db"),
            "the baseline that stage 1 recorded",
            f"at least {_MIN_PSNR_GAIN_DB:g} dB above",
            _at_least(get("stage1_psnr_gain_db"), _MIN_PSNR_GAIN_DB),
        ),
        LearningRow(
            "Stage 2",
            "loss of the next word on held-out stories",
            get("stage2_word_loss"),
            "nats",
            get("stage2_word_loss_untrained"),
            "before stage 2",
            f"at most {_MAX_WORD_LOSS_RATIO:g} of it",
            _at_most(get("stage2_word_loss_ratio"), _MAX_WORD_LOSS_RATIO),
        ),
        LearningRow(
            "Stage 2",
            "error of the predicted picture features",
            get("stage2_feature_error"),
            "",
            get("stage2_feature_error_baseline"),
            "the baseline that stage 2 recorded",
            f"at most {_MAX_FEATURE_ERROR_RATIO:g} of it",
            _at_most(get("stage2_feature_error_ratio"), _MAX_FEATURE_ERROR_RATIO),
        ),
        LearningRow(
            "Stage 3",
            "noise loss on features that stage 2 predicts",
            get("stage3_noise_loss_after"),
            "",
            get("stage3_noise_loss_before"),
            "stage 1's weights on the same features",
            "below it",
            _below(get("stage3_noise_loss_after"), get("stage3_noise_loss_before")),
        ),
    ]
    return rows + _told_rows(scores)


def _told_rows(scores: Scores) -> list[LearningRow]:
    if scores.headline is None:
        return []
    rows = []
    for aspect, accuracy in scores.systems[scores.headline].accuracy.items():
        found, chance = accuracy.accuracy, accuracy.chance_majority
        sure = None if found is None or found.low is None or chance is None else found.low > chance
        rows.append(
            LearningRow(
                "Told stories",
                f"pictures that show the {aspect} of their text",
                None if found is None else 100 * found.value,
                "%",
                None if chance is None else 100 * chance,
                f"always the {aspect} named most often",
                "interval wholly above",
                sure,
            )
        )
    return rows


def _at_least(value: float | None, bound: float) -> bool | None:
    return None if value is None else value >= bound


def _at_most(value: float | None, bound: float) -> bool | None:
    return None if value is None else value <= bound


def _below(value: float | None, other: float | None) -> bool | None:
    return None if value is None or other is None else value < other
