"""The painter: exact where exactness can be known, and each picture on its own."""

from collections import Counter
from contextlib import nullcontext
from typing import get_args

import pytest
import torch
from torch import Tensor

from story_model import painting
from story_model.autoencoder import LinearAutoencoder
from story_model.build import build_autoencoder, build_detokenizer, build_image_encoder, build_noise_schedule
from story_model.config import ModelConfig
from story_model.detokenizer import Detokenizer
from story_model.painting import Painter, projected_once
from story_model.pixels import unsquashed
from story_model.tell_config import SamplerConfig, Schedule

SIDE, NUM_FEATURES, WIDTH = 16, 4, 16
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)

each_prediction = pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES)


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


class _KnowsTheNoise(Detokenizer):
    """Answers from a known rule instead of a trained network, as a network of the configured prediction type would."""

    def __init__(self, config: ModelConfig) -> None:
        known = build_detokenizer(config)
        super().__init__(known.unet, known.resampler)
        self.schedule = build_noise_schedule(config.detokenizer)

    def denoise(self, noisy_latents, timesteps, prompt, pooled, time_ids) -> Tensor:
        signal = self.schedule.alphas_cumprod[timesteps.long()].sqrt()[:, None, None, None]
        noise_level = (1 - signal**2).sqrt()
        latents = self.clean(noisy_latents, signal, noise_level)
        noise = (noisy_latents - signal * latents) / noise_level
        is_v = self.schedule.config.prediction_type == "v_prediction"
        return signal * noise - noise_level * latents if is_v else noise

    def clean(self, noisy: Tensor, signal: Tensor, noise_level: Tensor) -> Tensor:
        raise NotImplementedError


class _KnowsThePicture(_KnowsTheNoise):
    """Sees one known picture's latents in all noise."""

    def __init__(self, config: ModelConfig, latents: Tensor) -> None:
        super().__init__(config)
        self.latents = latents

    def clean(self, noisy: Tensor, signal: Tensor, noise_level: Tensor) -> Tensor:
        return self.latents


class _KnowsTheSpread(_KnowsTheNoise):
    """Sees in noise the mean of the pictures that may lie under it, where latents are normal with a known spread."""

    MEAN, SPREAD = 0.4, 0.5

    def clean(self, noisy: Tensor, signal: Tensor, noise_level: Tensor) -> Tensor:
        gain = signal * self.SPREAD**2 / ((signal * self.SPREAD) ** 2 + noise_level**2)
        return self.MEAN + gain * (noisy - signal * self.MEAN)

    def painted_from(self, noise: Tensor) -> Tensor:
        """Give where the probability flow (Song et al. 2021, equation 13) ends that starts at the last timestep."""
        signal = self.schedule.alphas_cumprod[-1].sqrt()
        spread = ((signal * self.SPREAD) ** 2 + 1 - signal**2).sqrt()
        return self.MEAN + self.SPREAD * (noise - signal * self.MEAN) / spread


@each_schedule
@each_prediction
def test_a_perfect_denoiser_s_picture_is_found(prediction_type, schedule) -> None:
    config = model_config(prediction_type)
    latents = torch.randn(1, 4, SIDE // 4, SIDE // 4, generator=torch.Generator().manual_seed(7))
    one = painter(_KnowsThePicture(config, latents), config=config, steps=10, schedule=schedule)
    torch.testing.assert_close(painted(one, 1), one.autoencoder.decode(latents), atol=1e-4, rtol=0)


def distance(schedule: Schedule, steps: int, prediction_type: str = "v_prediction") -> float:
    """Measure how far a schedule's latents end from where they would with infinitely many steps."""
    config = model_config(prediction_type)
    knowing = _KnowsTheSpread(config)
    one = painter(knowing, config=config, steps=steps, schedule=schedule, guidance=1.0)
    one.autoencoder.decode = lambda latents: latents
    return (painted(one, 4) - knowing.painted_from(one._noise(range(4)))).abs().max().item()


@each_schedule
@each_prediction
def test_with_many_steps_every_schedule_paints_the_same_picture(prediction_type, schedule) -> None:
    assert distance(schedule, 500, prediction_type) < 0.03


@pytest.mark.parametrize("schedule", ["dpmpp_2m", "unipc"])
def test_a_second_order_schedule_needs_fewer_steps(schedule) -> None:
    assert distance(schedule, 10) < distance("euler", 10) / 2


@each_schedule
def test_a_schedule_asks_the_network_once_a_step(schedule) -> None:
    for steps in (1, 2, 7):
        one = painter(schedule=schedule, steps=steps)
        rows: list[int] = []
        one.detokenizer.unet.register_forward_pre_hook(lambda _, given, rows=rows: rows.append(len(given[0])))
        pictures = painted(one, 3)
        assert len(rows) == steps
        assert pictures.isfinite().all()


@each_schedule
def test_a_painter_can_paint_again(schedule) -> None:
    one = painter(schedule=schedule)
    assert torch.equal(painted(one, 2), painted(one, 2))


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


def test_keys_and_values_of_a_condition_are_projected_once_a_batch() -> None:
    one = painter(batch_size=2)
    projected: Counter[str] = Counter()
    for name, module in one.detokenizer.unet.named_modules():
        if name.endswith(("attn2.to_k", "attn2.to_v")):
            module.register_forward_pre_hook(lambda _, given, name=name: projected.update({name: len(given[0])}))
    painted(one, 5)
    assert len(projected) == 2 * 4  # keys and values of one block going down, two going up and one between
    assert set(projected.values()) == {2 * 5}  # with guidance two rows a picture


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_projecting_once_leaves_pictures_as_they_are(guidance, monkeypatch) -> None:
    once = painted(painter(guidance=guidance, batch_size=2), 5)
    monkeypatch.setattr(painting, "projected_once", lambda unet: nullcontext())
    torch.testing.assert_close(once, painted(painter(guidance=guidance, batch_size=2), 5), atol=1e-5, rtol=0)


def test_a_painter_leaves_the_network_as_it_was_even_when_interrupted() -> None:
    one = painter()
    before = list(one.detokenizer.state_dict())

    def interrupted() -> None:
        with projected_once(one.detokenizer.unet):
            assert list(one.detokenizer.state_dict()) != before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(one.detokenizer.state_dict()) == before


@pytest.mark.parametrize(("size", "shape"), [((854, 480), (28, 16)), ((480, 854), (16, 28)), ((50, 50), (16, 16))])
def test_a_stretched_square_has_its_source_s_shape_and_shows_the_same(size, shape) -> None:
    square = torch.full((3, 16, 16), 10, dtype=torch.uint8)
    square[0, :, 8:] = 200  # the right half is red
    stretched = unsquashed(square, size)
    width, height = shape
    assert stretched.shape == (3, height, width)
    assert (stretched[0, :, : width // 4] == 10).all()
    assert (stretched[0, :, -width // 4 :] == 200).all()


def test_a_picture_that_was_square_stays_equal_to_the_byte() -> None:
    square = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(unsquashed(square, (640, 640)), square)


def test_pictures_that_were_cropped_cannot_have_their_source_s_shape() -> None:
    config = model_config().model_copy(
        update={"detokenizer": model_config().detokenizer.model_copy(update={"transform": "crop"})}
    )
    with pytest.raises(ValueError, match=r"tell\.sampler\.aspect is source.*crop"):
        painter(config=config, aspect="source")


def test_another_prompt_is_projected_anew() -> None:
    unet = painter().detokenizer.unet
    attention = next(module for name, module in unet.named_modules() if name.endswith(".attn2"))
    prompts = torch.randn(2, 3, 4, 16, generator=torch.Generator().manual_seed(0))
    expected = [attention.to_k(prompt) for prompt in prompts]
    with projected_once(unet):
        found = [attention.to_k(prompt) for prompt in prompts]
    torch.testing.assert_close(found, expected, atol=0, rtol=0)
