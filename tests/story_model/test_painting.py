"""The painter: exact where exactness can be known, and each picture on its own."""

import pytest
import torch
from torch import Tensor

from story_model.autoencoder import LinearAutoencoder
from story_model.build import build_autoencoder, build_detokenizer, build_image_encoder, build_noise_schedule
from story_model.config import ModelConfig, SamplerConfig
from story_model.detokenizer import Detokenizer
from story_model.painting import Painter

SIDE, NUM_FEATURES, WIDTH = 16, 4, 16


def model_config(prediction_type: str = "epsilon") -> ModelConfig:
    encoder = {"image_size": SIDE, "patch_size": 8, "width": WIDTH, "layers": 1, "num_queries": NUM_FEATURES}
    return ModelConfig.model_validate(
        {
            "image_encoder": {**encoder, "output_dim": WIDTH},
            "detokenizer": {
                "picture_size": SIDE,
                "latent_channels": 4,
                "unet_channels": (16, 32),
                "unet_heads": (2, 2),
                "unet_transformer_layers": (1, 1),
                "norm_groups": 8,
                "resampler_dim": 16,
                "resampler_depth": 1,
                "num_queries": 4,
                "prompt_dims": (8, 8),
                "prediction_type": prediction_type,
            },
        }
    )


def autoencoder(config: ModelConfig) -> LinearAutoencoder:
    """Make one whose small latents are never clipped."""
    fitted = build_autoencoder(config.detokenizer)
    fitted.basis.copy_(torch.linalg.qr(torch.randn(fitted.basis.shape[::-1]))[0].T)
    fitted.scale.fill_(0.01)
    return fitted


def painter(detokenizer: Detokenizer | None = None, *, config: ModelConfig | None = None, **sampler) -> Painter:
    torch.manual_seed(0)
    config = config or model_config()
    detokenizer = (detokenizer or build_detokenizer(config)).eval().requires_grad_(False)
    encoder = build_image_encoder(config.image_encoder).eval().requires_grad_(False)
    settings = SamplerConfig(**{"steps": 3, "guidance": 4.0, "batch_size": 8, **sampler})
    return Painter(detokenizer, autoencoder(config), encoder, config=config.detokenizer, sampler=settings)


def features(count: int) -> Tensor:
    return torch.randn(count, NUM_FEATURES, WIDTH, generator=torch.Generator().manual_seed(5))


def painted(one: Painter, count: int) -> Tensor:
    return torch.cat(list(one.paint(features(count), range(count))))


class _KnowsThePicture(Detokenizer):
    """Answers with the very noise (or v) that lies on the latents of a known picture."""

    def __init__(self, config: ModelConfig, latents: Tensor) -> None:
        known = build_detokenizer(config)
        super().__init__(known.unet, known.resampler)
        self.latents = latents
        self.schedule = build_noise_schedule(config.detokenizer)

    def denoise(self, noisy_latents, timesteps, prompt, pooled, time_ids) -> Tensor:
        signal = self.schedule.alphas_cumprod[timesteps.long()].sqrt()[:, None, None, None]
        noise_level = (1 - signal**2).sqrt()
        noise = (noisy_latents - signal * self.latents) / noise_level
        is_v = self.schedule.config.prediction_type == "v_prediction"
        return signal * noise - noise_level * self.latents if is_v else noise


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_perfect_denoiser_s_picture_is_found(prediction_type) -> None:
    config = model_config(prediction_type)
    latents = torch.randn(1, 4, SIDE // 4, SIDE // 4, generator=torch.Generator().manual_seed(7))
    one = painter(_KnowsThePicture(config, latents), config=config, steps=10)
    torch.testing.assert_close(painted(one, 1), one.autoencoder.decode(latents), atol=1e-4, rtol=0)


def test_a_picture_does_not_depend_on_its_batch() -> None:
    together, apart = painted(painter(batch_size=5), 5), painted(painter(batch_size=2), 5)
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=0)


def test_another_seed_is_another_picture() -> None:
    one = painter()
    pictures = one.paint_batch(features(1).expand(2, -1, -1), [0, 1])
    assert not torch.allclose(pictures[0], pictures[1], atol=1e-3)


def test_other_features_are_another_picture() -> None:
    pictures = painter().paint_batch(features(2), [0, 0])
    assert not torch.allclose(pictures[0], pictures[1], atol=1e-6)


def test_guidance_goes_on_from_no_picture_through_the_picture() -> None:
    without, given, guided = (painted(painter(steps=1, guidance=guidance), 3) for guidance in (0.0, 1.0, 2.5))
    torch.testing.assert_close(guided, without + 2.5 * (given - without), atol=1e-5, rtol=0)
    assert not torch.allclose(given, without, atol=1e-6)


@pytest.mark.parametrize(("guidance", "branches"), [(1.0, 1), (4.0, 2)])
def test_without_guidance_the_second_branch_is_not_run(guidance, branches) -> None:
    one = painter(guidance=guidance)
    rows: list[int] = []
    one.detokenizer.unet.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    painted(one, 3)
    assert rows == [3 * branches] * one.settings.steps


def test_a_condition_is_computed_once_a_picture() -> None:
    one = painter(batch_size=2)
    rows: list[int] = []
    one.detokenizer.resampler.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    painted(one, 6)
    assert sorted(rows) == [1, 2, 2, 2]  # "no picture" once, then three batches
