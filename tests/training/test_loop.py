from pathlib import Path

import pytest
import torch
from torch import nn

from story_model.checkpoint import load_tensors
from story_model.train_config import OptimizerConfig, StageConfig
from training import loop
from training.loop import CHECKPOINT, Step, rate_factor, train

CONFIG = StageConfig(
    steps=12,
    batch_size=4,
    checkpoint_every=5,
    optimizer=OptimizerConfig(learning_rate=0.05, weight_decay=0.01, warmup_steps=3),
)


class Fitting:
    """A line fitted to noisy points, with dropout so that random numbers matter."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.Linear(8, 1))

    def losses_of(self, step: int, generator: torch.Generator) -> loop.Losses:
        x = torch.randn(4, 3, generator=generator)
        return {"fit": (self.network(x) - x.sum(1, keepdim=True)).square().mean()}

    def train(self, out_dir: Path, stop_after: int | None = None) -> list[Step]:
        steps = []
        parameters = dict(self.network.named_parameters())
        for step in train(parameters, self.losses_of, config=CONFIG, seed=1, out_dir=out_dir, name="fit"):
            steps.append(step)
            if step.number == stop_after:
                break
        return steps

    @property
    def weights(self) -> torch.Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in self.network.parameters()])


@pytest.mark.parametrize("stop_after", [3, 5, 8, 11])
def test_a_run_cut_short_ends_with_the_same_weights_to_the_bit(tmp_path: Path, stop_after: int) -> None:
    straight, cut = Fitting(), Fitting()
    (tmp_path / "straight").mkdir()
    straight.train(tmp_path / "straight")
    (tmp_path / "cut").mkdir()
    cut.train(tmp_path / "cut", stop_after)
    resumed = Fitting()
    steps = resumed.train(tmp_path / "cut")
    assert steps[0].number == stop_after // CONFIG.checkpoint_every * CONFIG.checkpoint_every + 1
    assert torch.equal(resumed.weights, straight.weights)


def test_a_damaged_checkpoint_starts_over_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Fitting().train(tmp_path, stop_after=6)
    (tmp_path / CHECKPOINT).write_bytes(b"cut short")
    steps = Fitting().train(tmp_path)
    assert steps[0].number == 1
    assert "damaged" in caplog.text


def test_a_checkpoint_holds_both_moments_of_each_parameter(tmp_path: Path) -> None:
    fitting = Fitting()
    fitting.train(tmp_path, stop_after=6)
    names = [name for name, _ in fitting.network.named_parameters()]
    expected = {f"{kind}.{name}" for name in names for kind in ("parameter", "exp_avg", "exp_avg_sq", "count")}
    assert set(load_tensors(tmp_path / CHECKPOINT)) == expected | {"step"}


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    parameter = nn.Parameter(torch.ones(2))
    steps = train(
        {"p": parameter},
        lambda step, _: {"bad": (parameter * (float("nan") if step == 2 else 1.0)).sum()},
        config=CONFIG,
        seed=0,
        out_dir=tmp_path,
        name="bad",
    )
    with pytest.raises(ValueError, match=r"bad: loss nan at step 3"):
        list(steps)
    assert torch.isfinite(parameter).all()


def test_the_rate_warms_up_linearly_and_ends_at_its_floor() -> None:
    config = OptimizerConfig(warmup_steps=4, min_lr_ratio=0.1)
    assert [rate_factor(step, 20, config) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert rate_factor(20, 20, config) == pytest.approx(0.1)
    falling = [rate_factor(step, 20, config) for step in range(4, 20)]
    assert falling == sorted(falling, reverse=True)
