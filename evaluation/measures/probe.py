"""A small classifier that names the character and the place in a picture of the drawn series.

It learns from the training split's keyframes, whose truth is known, under blur, noise and coarse scaling, so that it
reads soft generated pictures too. Its accuracy on validation keyframes is the ceiling of what it can attest.
"""

import logging
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm import trange

from evaluation.distances.random_features import as_tensor
from evaluation.measures.cartoon_world import labels_of
from evaluation.pictures import MEASURED_SIDE, Pixels, measured
from story_model.dataset import read_stories
from story_model.manifest import Manifest, StepResult, run_step
from story_model.pixels import Square
from story_model.schema import TrueEpisode, TrueWorld, read_truth
from story_model.workspace import RunFolder

log = logging.getLogger(__name__)

WEIGHTS = "probe.safetensors"
_BATCH = 32
_LEARNING_RATE = 2e-3
_WIDTHS = (3, 24, 48, 96)


class ProbeConfig(BaseModel):
    """What decides the probe's weights, its training data apart."""

    steps: int
    seed: int
    square: Square
    """Of the told pictures that it is to read; it learns from keyframes made square likewise."""


class Probe(nn.Module):
    """Strided convolutions, then the strongest and the mean response of the picture, then two heads."""

    def __init__(self, num_characters: int, num_places: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in pairwise(_WIDTHS)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for width in _WIDTHS[1:])
        self.character = nn.Linear(2 * _WIDTHS[-1], num_characters)
        self.place = nn.Linear(2 * _WIDTHS[-1], num_places)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Map pictures [N, 3, S, S] in -1..1 to logits [N, characters] and [N, places]."""
        hidden = pictures
        for conv, norm in zip(self.convs, self.norms, strict=True):
            hidden = functional.relu(norm(conv(hidden)))
        pooled = torch.cat([hidden.amax(dim=(2, 3)), hidden.mean(dim=(2, 3))], dim=1)
        return self.character(pooled), self.place(pooled)

    @torch.inference_mode()
    def probabilities(self, pictures: Pixels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Read uint8 pictures [N, S, S, 3]: probabilities [N, characters] and [N, places]."""
        logits = [self(as_tensor(pictures[start : start + 256])) for start in range(0, len(pictures), 256)]
        if not logits:
            return np.empty((0, self.character.out_features)), np.empty((0, self.place.out_features))
        who, where = (torch.cat(part).softmax(dim=1).double().numpy() for part in zip(*logits, strict=True))
        return who, where


def train_probe(run: RunFolder, config: ProbeConfig) -> Manifest:
    """Train and measure the probe of a run on the drawn series, unless that is done.

    Raises:
        ValueError: the run's videos are not drawn, so nothing is known to learn from.
    """
    inputs = {"dataset": run.dataset_dir, "truth": run.videos_dir / "truth"}
    return run_step(
        run.probe_dir,
        lambda out_dir: _train(run, config, out_dir),
        step="probe",
        version=1,
        config=config,
        inputs=inputs,
    )


def load_probe(probe_dir: Path, world: TrueWorld) -> Probe:
    """Load a trained probe for inference."""
    probe = Probe(len(world.characters), len(world.places))
    probe.load_state_dict(load_file(probe_dir / WEIGHTS))
    return probe.eval()


def _train(run: RunFolder, config: ProbeConfig, out_dir: Path) -> StepResult:
    truth = read_truth(run.videos_dir)
    if truth is None:
        raise ValueError(f"{run.videos_dir} holds no drawn series; its pictures' truth is not known")
    world, episodes = truth
    pictures, labels = _examples(run.dataset_dir, "train", episodes, world, config.square)
    held_pictures, held_labels = _examples(run.dataset_dir, "validation", episodes, world, config.square)
    probe = fit(pictures, labels, world, steps=config.steps, seed=config.seed)
    save_file(probe.state_dict(), out_dir / WEIGHTS)
    who, where = probe.probabilities(held_pictures)
    metrics = {
        "probe_character_accuracy": float((who.argmax(1) == held_labels[:, 0]).mean()),
        "probe_place_accuracy": float((where.argmax(1) == held_labels[:, 1]).mean()),
    }
    log.info("probe on validation keyframes: %s", metrics)
    counts = {"train_keyframes": len(pictures), "validation_keyframes": len(held_pictures)}
    return StepResult(counts=counts, metrics=metrics)


def fit(pictures: Pixels, labels: NDArray[np.int64], world: TrueWorld, *, steps: int, seed: int) -> Probe:
    """Train on uint8 pictures [N, S, S, 3] with labels [N, 2] (character, place); equal seeds give equal weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = Probe(len(world.characters), len(world.places))
        optimizer = torch.optim.AdamW(probe.parameters(), lr=_LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps + 1)
        inputs, targets = as_tensor(pictures), torch.from_numpy(labels)
        for _ in trange(steps, desc="probe", unit="step", mininterval=2):
            rows = torch.randint(len(inputs), (_BATCH,))
            who, where = probe(_roughen(inputs[rows]))
            loss = functional.cross_entropy(who, targets[rows, 0]) + functional.cross_entropy(where, targets[rows, 1])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    return probe.eval()


def _roughen(pictures: Tensor) -> Tensor:
    """Spoil a batch lightly, as generated pictures are: coarse detail, shifted brightness, noise, mirroring."""
    coarse = int(torch.randint(MEASURED_SIDE // 4, MEASURED_SIDE + 1, ()))
    small = functional.interpolate(pictures, size=(coarse, coarse), mode="bilinear", antialias=True)
    pictures = functional.interpolate(small, size=(MEASURED_SIDE, MEASURED_SIDE), mode="bilinear")
    pictures = pictures * (1 + 0.15 * torch.randn(len(pictures), 1, 1, 1)) + 0.1 * torch.randn(len(pictures), 3, 1, 1)
    pictures = pictures + 0.15 * torch.rand(len(pictures), 1, 1, 1) * torch.randn_like(pictures)
    return pictures.flip(3) if torch.rand(()) < 0.5 else pictures


def _examples(
    dataset_dir: Path, split: str, episodes: Sequence[TrueEpisode], world: TrueWorld, square: Square
) -> tuple[Pixels, NDArray[np.int64]]:
    """Collect a split's keyframes whose truth is known, with their numbers of character and place."""
    stories = read_stories(dataset_dir, split)
    shots = labels_of(stories, episodes, dataset_dir / "meta" / "episodes.parquet")
    pictures, labels = [], []
    for story in stories:
        for image, shot in zip(story.images, shots[story.story_id], strict=True):
            if shot is not None and shot.character is not None and shot.place is not None:
                pictures.append(measured(image, square=square))
                labels.append((world.characters.index(shot.character), world.places.index(shot.place)))
    if not pictures:
        raise ValueError(f"no keyframe of {dataset_dir} lies in a drawn shot; dataset and truth do not belong together")
    return np.stack(pictures), np.array(labels, dtype=np.int64)
