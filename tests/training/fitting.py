"""A line fitted to random points: what tests of the loop and of the engines train."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from story_model.train_config import LaunchConfig, OptimizerConfig, StageConfig
from training.loop import Step, Training
from training.processes import Processes
from training.task import Draw, Losses

CPU = torch.device("cpu")
CONFIG = StageConfig(
    steps=12,
    batch_size=8,
    checkpoint_every=5,
    optimizer=OptimizerConfig(learning_rate=0.05, weight_decay=0.01, warmup_steps=3),
)


@dataclass(frozen=True)
class Points:
    x: Tensor
    weights: Tensor
    """Of the points in the loss; their number is what the loss is a mean over."""

    @property
    def counts(self) -> dict[str, int]:
        return {"fit": int(self.weights.sum())}

    @property
    def num_tokens(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> "Points":
        return Points(self.x.to(device), self.weights.to(device))


@dataclass
class Fitting:
    """A line fitted to random points, which count differently often."""

    dropout: float = 0.2
    num_samples: int = 40
    weights: list[float] | None = None
    poison: dict[int, float] | None = None
    """Factor on a row's loss."""
    fits_at_once: int = 1000
    """More samples at once than this are out of memory."""

    def network(self) -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.Dropout(self.dropout), nn.Linear(8, 1))

    def batch(self, draws: Sequence[Draw]) -> Points:
        x = torch.stack([torch.randn(3, generator=draw.generator()) for draw in draws])
        factors = torch.tensor([(self.poison or {}).get(draw.row, 1.0) for draw in draws])
        return Points(torch.cat([x, factors[:, None]], 1), torch.tensor([1 + draw.row % 3 for draw in draws]))

    def losses(self, network: nn.Module, batch: Points) -> Losses:
        if len(batch.x) > self.fits_at_once:
            raise torch.OutOfMemoryError
        x, factors = batch.x[:, :3], batch.x[:, 3]
        errors = (network(x)[:, 0] - x.sum(1)).square() * factors
        return {"fit": (errors * batch.weights).sum() / batch.weights.sum()}


def training(
    out_dir: Path,
    task: Fitting | None = None,
    config: StageConfig = CONFIG,
    launch: LaunchConfig | None = None,
    processes: Processes | None = None,
) -> Training[Points]:
    task = task or Fitting()
    out_dir.mkdir(exist_ok=True)
    network = task.network()
    return Training(
        network,
        dict(network.named_parameters()),
        task,
        config=config,
        launch=launch or LaunchConfig(),
        processes=processes or Processes(CPU),
        seed=1,
        out_dir=out_dir,
        name="fit",
    )


def run(steps: Training[Points], stop_after: int | None = None) -> list[Step]:
    done = []
    for step in steps:
        done.append(step)
        if step.number == stop_after:
            break
    return done


def weights(of: Training[Points]) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in of.network.parameters()])
