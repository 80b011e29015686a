import math

import pytest
import torch

from training.measures import mean_feature_error, mean_picture_psnr_db, psnr_db


def test_psnr_of_a_known_error() -> None:
    truth = torch.zeros(2, 3, 4, 4)
    assert psnr_db(truth + 0.2, truth) == pytest.approx(10 * math.log10(4 / 0.04), abs=1e-4)


def test_the_mean_picture_is_the_baseline() -> None:
    train = torch.stack([torch.full((3, 2, 2), -0.5), torch.full((3, 2, 2), 0.5)])
    held_out = torch.full((4, 3, 2, 2), 0.1)
    assert mean_picture_psnr_db(train, held_out) == pytest.approx(10 * math.log10(4 / 0.01), abs=1e-3)


def test_the_mean_feature_is_taken_place_by_place() -> None:
    train = torch.eye(2).repeat(5, 1, 1)  # place 0 always (1, 0), place 1 always (0, 1)
    assert mean_feature_error(train, train[:2]) == pytest.approx(0.0, abs=1e-6)
