"""The de-tokenizer is told each picture's own size and crop, and a held-out loss is the mean over pictures."""

import torch
from torch import Tensor

from story_model.config import DetokenizerConfig
from training.noise import noise_task
from training.views import Views

COUNT = 70


class Listener:
    """Answers with nothing, and remembers what it was told of which picture."""

    def __init__(self) -> None:
        self.told: list[tuple[float, list[float]]] = []

    def __call__(self, noisy: Tensor, timesteps: Tensor, features: Tensor, time_ids: Tensor) -> Tensor:
        self.told += zip(features[:, 0, 0].tolist(), time_ids.tolist(), strict=True)
        return torch.zeros_like(noisy)


def views() -> Views:
    """Set up pictures of which each one's number stands in its feature and its size ids."""
    numbers = torch.arange(COUNT).float()
    latents = torch.randn(COUNT, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    return Views(torch.zeros(COUNT, 3, 6, 6), latents, numbers[:, None, None], numbers[:, None] + torch.arange(6))


def of(number: int) -> tuple[float, list[float]]:
    return float(number), [float(number + place) for place in range(6)]


def test_a_loss_tells_the_de_tokenizer_each_picture_s_own_size() -> None:
    listener = Listener()
    noise_task(DetokenizerConfig()).loss(listener, views().rows([9, 2]), torch.Generator().manual_seed(0))
    assert listener.told == [of(9), of(2)]


def test_a_held_out_loss_asks_for_every_picture_equally_often() -> None:
    listener = Listener()
    loss = noise_task(DetokenizerConfig()).held_out_loss(listener, views(), seed=0)
    assert listener.told == [of(number) for number in range(COUNT)] * 4
    # Whoever answers nothing errs by the noise itself, of unit variance.
    assert abs(loss - 1) < 0.1


def test_a_held_out_loss_is_the_same_at_every_call_with_a_seed() -> None:
    task = noise_task(DetokenizerConfig())
    first, again, other = (task.held_out_loss(Listener(), views(), seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other
