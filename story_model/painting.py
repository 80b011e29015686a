"""The painter: image features -> pictures, by SD-XL's Euler sampler or a faster one, with classifier-free guidance.

Pictures of any stories are painted together in batches. Each starts from noise of its own seed, so that what it shows
does not depend on what else is in the batch. The condition of a picture, and what the UNet's cross-attention makes of
it, is computed once, not once a step; that of "no picture" (the features of an all-zero input, as in SEED-Story) once a
painter. Letters: N pictures in all, B of a batch, F features of a picture, D width, C latent channels, H and W sides.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from story_model.autoencoder import Autoencoder
from story_model.build import build_sampler
from story_model.captions_diffusion import TextEncoder
from story_model.config import DetokenizerConfig
from story_model.detokenizer import Detokenizer, size_ids
from story_model.image_encoder import ImageEncoder
from story_model.tell_config import SamplerConfig

Condition = tuple[Tensor, Tensor]
"""Prompt tokens (B, Q, D) and pooled embedding (B, P) of the UNet."""


class Painter:
    """Paints pictures from features; one at a time uses its networks, so that a thread has a painter to itself."""

    def __init__(
        self,
        detokenizer: Detokenizer,
        autoencoder: Autoencoder,
        encoder: ImageEncoder | TextEncoder,
        *,
        config: DetokenizerConfig,
        sampler: SamplerConfig,
    ) -> None:
        """Take the networks, all on one device, and how to sample; `encoder` says what guidance goes away from.

        Raises:
            ValueError: pictures shall have their source's shape, but the de-tokenizer learnt from cropped ones.
        """
        if sampler.aspect == "source" and config.transform == "crop":
            raise ValueError(
                "tell.sampler.aspect is source, but model.detokenizer.transform is crop: the sides were cut off and no "
                "resizing brings them back; set tell.sampler.aspect=square"
            )
        self.detokenizer = detokenizer
        self.autoencoder = autoencoder
        self.encoder = encoder
        self.picture_size = config.picture_size
        self.settings = sampler
        self._sampler = build_sampler(config, sampler.schedule)

    def paint(self, features_NFD: Tensor, seeds: Sequence[int]) -> Iterator[Tensor]:
        """Paint a picture for each set of features and seed; yields batches (B, 3, H, W) in [-1, 1] on the CPU."""
        size = self.settings.batch_size
        for start in range(0, len(seeds), size):
            yield self.paint_batch(features_NFD[start : start + size], seeds[start : start + size])

    @torch.inference_mode()
    def paint_batch(self, features_BFD: Tensor, seeds: Sequence[int]) -> Tensor:
        """Paint all at once: (B, 3, H, W) in [-1, 1] on the CPU."""
        unet = self.detokenizer.unet
        condition = self._guided(self.detokenizer.resampler(features_BFD.to(unet.device, unet.dtype)))
        sampler = self._sampler
        sampler.set_timesteps(self.settings.steps, device=unet.device)
        # Latents stay float32 whatever the UNet computes in: small steps add up to them, and none is to be lost.
        latents = self._noise(seeds).to(unet.device) * sampler.init_noise_sigma
        with projected_once(unet):
            for timestep in sampler.timesteps:
                answer = self._denoise(sampler.scale_model_input(latents, timestep), timestep, condition)
                latents = sampler.step(answer, timestep, latents).prev_sample
        return self.autoencoder.decode(latents).float().cpu()

    @property
    def _is_guided(self) -> bool:
        return self.settings.guidance != 1

    def _guided(self, condition: Condition) -> Condition:
        """Put the condition of "no picture" before that of each picture, where guidance needs it."""
        if not self._is_guided:
            return condition
        pairs = zip(self._no_picture, condition, strict=True)
        prompt, pooled = (torch.cat([nothing.expand_as(given), given]) for nothing, given in pairs)
        return prompt, pooled

    @cached_property
    def _no_picture(self) -> Condition:
        condition: Condition = self.detokenizer.resampler(self.encoder.of_nothing().to(self.detokenizer.unet.dtype))
        return condition

    def _denoise(self, latents_BCHW: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        prompt, pooled = condition
        copies = len(prompt) // len(latents_BCHW)
        answer = self.detokenizer.denoise(
            latents_BCHW.to(prompt.dtype).repeat(copies, 1, 1, 1),
            timestep.expand(len(prompt)),
            prompt,
            pooled,
            size_ids(self.picture_size, len(prompt)).to(prompt.device),
        ).float()
        if not self._is_guided:
            return answer
        without, given = answer.chunk(2)
        return without + self.settings.guidance * (given - without)

    def _noise(self, seeds: Sequence[int]) -> Tensor:
        """Draw each picture's own noise (B, C, H, W), on the CPU so that machines agree."""
        side = self.picture_size // self.autoencoder.factor
        shape = (self.detokenizer.unet.config.in_channels, side, side)
        return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


@contextmanager
def projected_once(unet: UNet2DConditionModel) -> Iterator[None]:
    """Let cross-attention project one and the same prompt to keys and values only once; weights stay as they are."""
    crossed = [module for name, module in unet.named_modules() if name.endswith(".attn2")]
    for attention in crossed:
        attention.to_k, attention.to_v = _Remembered(attention.to_k), _Remembered(attention.to_v)
    try:
        yield
    finally:
        for attention in crossed:
            attention.to_k, attention.to_v = attention.to_k.projection, attention.to_v.projection


class _Remembered(nn.Module):
    """A projection that knows its latest input, by identity, and what came of it."""

    def __init__(self, projection: nn.Module) -> None:
        super().__init__()
        self.projection = projection
        self.given: Tensor | None = None

    def forward(self, given: Tensor) -> Tensor:
        if given is not self.given:
            self.given, self.found = given, self.projection(given)
        return self.found
