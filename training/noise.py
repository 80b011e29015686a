"""The de-tokenizer's noise prediction, which stages 1 and 3 are trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from story_model.build import build_noise_schedule
from story_model.config import DetokenizerConfig
from training.task import Draw, Losses, draws_of
from training.views import View, Views

_BATCH = 32
_ROUNDS = 4


@dataclass(frozen=True)
class NoisyBatch:
    """Noised latents and what the UNet is to answer."""

    noisy_latents: Tensor
    timesteps: Tensor
    features: Tensor
    size_ids: Tensor
    answer: Tensor
    """The noise, or v."""

    @property
    def counts(self) -> dict[str, int]:
        """What the loss is a mean over: pictures."""
        return {"noise": len(self.timesteps)}

    @property
    def num_tokens(self) -> int:
        """Latent positions."""
        return self.noisy_latents[:, 0].numel()

    def to(self, device: torch.device) -> "NoisyBatch":
        """Move it."""
        return NoisyBatch(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class Denoising:
    """Views of pictures as a task for the loop: noise them, and have the de-tokenizer say what the noise was."""

    views: Views
    config: DetokenizerConfig
    schedule: DDPMScheduler

    @property
    def num_samples(self) -> int:
        """Pictures."""
        return len(self.views)

    @property
    def weights(self) -> Sequence[float] | None:
        """Of the pictures."""
        return self.views.weights

    def batch(self, draws: Sequence[Draw]) -> NoisyBatch:
        """Noise pictures; each has its own timestep and noise, whatever batch it comes in."""
        view = self.views.rows([draw.row for draw in draws])
        generators = [draw.generator() for draw in draws]
        shares = torch.stack([torch.rand((), generator=generator) for generator in generators])
        noise = torch.stack([torch.randn(view.latents.shape[1:], generator=generator) for generator in generators])
        return self._noised(view, shares, noise)

    def losses(self, network: nn.Module, batch: NoisyBatch) -> Losses:
        """Mean squared error of the predicted noise (or v)."""
        said = network(batch.noisy_latents, batch.timesteps, batch.features, batch.size_ids)
        return {"noise": F.mse_loss(said.float(), batch.answer)}

    @torch.no_grad()
    def loss(self, network: nn.Module, device: torch.device, *, seed: int) -> float:
        """Measure the loss over all views, several times; with a seed, noise and timesteps are always the same."""
        was_training = network.training
        network.eval()
        total = 0.0
        for turn in range(_ROUNDS):
            draws = draws_of(range(len(self.views)), seed=seed, step=turn)
            for first in range(0, len(draws), _BATCH):
                batch = self.batch(draws[first : first + _BATCH]).to(device)
                total += float(self.losses(network, batch)["noise"]) * len(batch.timesteps)
        network.train(was_training)
        return total / len(self.views) / _ROUNDS

    def _noised(self, view: View, shares: Tensor, noise: Tensor) -> NoisyBatch:
        steps = self.schedule.config.num_train_timesteps
        timesteps = ((1 - shares**self.config.timestep_power) * steps).long().clamp(max=steps - 1)
        noisy = self.schedule.add_noise(view.latents, noise, timesteps)
        is_v = self.schedule.config.prediction_type == "v_prediction"
        answer = self.schedule.get_velocity(view.latents, noise, timesteps) if is_v else noise
        return NoisyBatch(noisy, timesteps, view.features, view.size_ids, answer)


def denoising(views: Views, config: DetokenizerConfig) -> Denoising:
    """Set up the task of a configured de-tokenizer."""
    return Denoising(views, config, build_noise_schedule(config))
