"""Measures and baselines that several parts share."""

import torch
from torch import Tensor

from story_model.mllm import feature_error


def psnr_db(pictures: Tensor, truth: Tensor) -> float:
    """Give the peak signal-to-noise ratio over all of a set's pixels in dB; pictures in [-1, 1], (N, 3, H, W)."""
    error = (pictures - truth).square().mean()
    return float(10 * torch.log10(4 / error))


def mean_picture_psnr_db(train: Tensor, held_out: Tensor) -> float:
    """Baseline of a rebuilt picture: answer each held-out picture with the mean training picture."""
    return psnr_db(train.mean(0).expand_as(held_out), held_out)


def mean_feature_error(train_NFD: Tensor, held_out_NFD: Tensor) -> float:
    """Baseline of predicted features: answer with the mean training feature of each of the F places."""
    return float(feature_error(train_NFD.mean(0).expand_as(held_out_NFD), held_out_NFD))
