"""The de-tokenizer is told each picture's own size and crop, and a held-out loss is the mean over pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from story_model.config import DetokenizerConfig
from training.noise import Denoising, denoising
from training.task import draws_of
from training.views import View

COUNT = 70
CPU = torch.device("cpu")


class Listener(nn.Module):
    """Answers with nothing, and remembers what it was told of which picture."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[float, list[float]]] = []

    def forward(self, noisy: Tensor, timesteps: Tensor, features: Tensor, time_ids: Tensor) -> Tensor:
        self.told += zip(features[:, 0, 0].tolist(), time_ids.tolist(), strict=True)
        return torch.zeros_like(noisy)


@dataclass(frozen=True)
class Numbered:
    """Pictures of which each one's number stands in its feature and its size ids."""

    latents: Tensor
    weights: None = None

    def __len__(self) -> int:
        return len(self.latents)

    def rows(self, rows: Sequence[int]) -> View:
        numbers = torch.tensor(rows).float()
        return View(self.latents[list(rows)], numbers[:, None, None], numbers[:, None] + torch.arange(6))


def task(prediction_type: str = "epsilon") -> Denoising:
    latents = torch.randn(COUNT, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    return denoising(Numbered(latents), DetokenizerConfig(prediction_type=prediction_type))


def of(number: int) -> tuple[float, list[float]]:
    return float(number), [float(number + place) for place in range(6)]


def test_a_loss_tells_the_de_tokenizer_each_picture_s_own_size() -> None:
    listener = Listener()
    task().losses(listener, task().batch(draws_of([9, 2], seed=0, step=0)))
    assert listener.told == [of(9), of(2)]


def test_a_picture_is_noised_alike_whatever_batch_it_comes_in() -> None:
    draws = draws_of([9, 2, 5, 40], seed=0, step=3)
    whole, parts = task().batch(draws), [task().batch(draws[:1]), task().batch(draws[1:])]
    for name in ("noisy_latents", "timesteps", "answer"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]))


def test_the_same_picture_is_noised_otherwise_at_another_place_and_step() -> None:
    batch = task().batch(draws_of([9, 9], seed=0, step=3))
    other = task().batch(draws_of([9, 9], seed=0, step=4))
    noises = [batch.answer[0], batch.answer[1], other.answer[0], other.answer[1]]
    assert len({tuple(noise.flatten().tolist()) for noise in noises}) == 4


def test_the_answer_is_the_noise_that_was_mixed_in() -> None:
    noising = task()
    batch = noising.batch(draws_of([9, 2, 5], seed=0, step=0))
    kept = noising.schedule.alphas_cumprod[batch.timesteps][:, None, None, None]
    clean = noising.views.rows([9, 2, 5]).latents
    torch.testing.assert_close(batch.noisy_latents, kept.sqrt() * clean + (1 - kept).sqrt() * batch.answer)


def test_v_is_asked_for_where_it_is_configured() -> None:
    draws = draws_of([9, 2, 5], seed=0, step=0)
    noising, velocity = task(), task("v_prediction").batch(draws)
    noise = noising.batch(draws).answer
    kept = noising.schedule.alphas_cumprod[velocity.timesteps][:, None, None, None]
    clean = noising.views.rows([9, 2, 5]).latents
    torch.testing.assert_close(velocity.answer, kept.sqrt() * noise - (1 - kept).sqrt() * clean)


def test_a_held_out_loss_asks_for_every_picture_equally_often() -> None:
    listener = Listener()
    loss = task().loss(listener, CPU, seed=0)
    assert listener.told == [of(number) for number in range(COUNT)] * 4
    # Whoever answers nothing errs by the noise itself, of unit variance.
    assert abs(loss - 1) < 0.1


def test_a_held_out_loss_is_the_same_at_every_call_with_a_seed() -> None:
    first, again, other = (task().loss(Listener(), CPU, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other
