"""The de-tokenizer's noise-prediction loss and its pictures, shared by stages 1 and 3."""

from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch import Tensor
from torch.nn import functional as F

from story_model.build import build_noise_schedule
from story_model.config import DetokenizerConfig
from story_model.detokenizer import Detokenizer
from training.views import Views

_BATCH = 32


@dataclass(frozen=True)
class NoiseTask:
    """Noising of latents and what the UNet is to answer."""

    schedule: DDPMScheduler
    timestep_power: float

    def loss(self, detokenizer: Detokenizer, views: Views, generator: torch.Generator) -> Tensor:
        """Mean squared error of the predicted noise (or v) at random timesteps, one a picture."""
        latents = views.latents
        shares = torch.rand(len(latents), generator=generator)
        steps = self.schedule.config.num_train_timesteps
        timesteps = ((1 - shares**self.timestep_power) * steps).long().clamp(max=steps - 1)
        noise = torch.randn(latents.shape, generator=generator)
        noisy = self.schedule.add_noise(latents, noise, timesteps)
        is_v = self.schedule.config.prediction_type == "v_prediction"
        target = self.schedule.get_velocity(latents, noise, timesteps) if is_v else noise
        return F.mse_loss(detokenizer(noisy, timesteps, views.features, views.size_ids), target)

    @torch.no_grad()
    def held_out_loss(self, detokenizer: Detokenizer, views: Views, seed: int) -> float:
        """Measure the loss on held-out pictures, noise and timesteps the same at every call with a seed."""
        generator = torch.Generator().manual_seed(seed)
        total = torch.zeros(())
        for _ in range(4):
            for rows in torch.arange(len(views.latents)).split(_BATCH):
                batch = views.rows(rows.tolist())
                total += self.loss(detokenizer, batch, generator) * len(rows) / len(views.latents) / 4
        return float(total)


def noise_task(config: DetokenizerConfig) -> NoiseTask:
    """Set up the task of a configured de-tokenizer."""
    return NoiseTask(build_noise_schedule(config), config.timestep_power)
