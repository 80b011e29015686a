import pytest

from evaluation.judging.report import JudgeReport
from evaluation.learning import learning_table
from evaluation.scores import Scores, SystemScores


@pytest.fixture
def scores():
    return Scores.model_construct(
        headline=None,
        networks={},
        systems={},
        reference=SystemScores.model_construct(),
        comparisons=[],
        probe=None,
        judge=JudgeReport(skipped="test"),
    )


def test_a_missing_number_is_neither_reached_nor_missed(scores):
    assert {row.reached for row in learning_table({}, scores)} == {None}


@pytest.mark.parametrize(
    ("metrics", "row", "reached"),
    [
        ({"stage1_psnr_gain_db": 3.0}, 0, True),
        ({"stage1_psnr_gain_db": 2.9}, 0, False),
        ({"stage2_word_loss_ratio": 0.4}, 1, True),
        ({"stage2_feature_error_ratio": 0.95}, 2, False),
        ({"stage3_noise_loss_before": 0.2, "stage3_noise_loss_after": 0.1}, 3, True),
        ({"stage3_noise_loss_before": 0.1, "stage3_noise_loss_after": 0.1}, 3, False),
        ({"baseline_noise_loss_before": 0.2, "baseline_noise_loss_after": 0.1}, 4, True),
        ({"baseline_noise_loss_before": 0.1, "baseline_noise_loss_after": 0.2}, 4, False),
    ],
)
def test_a_target_is_reached_or_missed(scores, metrics, row, reached):
    assert learning_table(metrics, scores)[row].reached is reached
