"""Pretraining of the language model on the training stories' text, for presets that have no pretrained one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from story_model.build import build_llama
from story_model.dataset import Story
from story_model.manifest import StepResult
from story_model.parts import load_tokenizer, weights_path
from story_model.tokens import IGNORED, SEPARATOR, StoryTokenizer
from training.batches import padded, weights_of
from training.corpus import load_chunks
from training.loop import Training
from training.progress import logged
from training.steps import Job
from training.task import Draw, Losses


@dataclass(frozen=True)
class Texts:
    """Right-padded sequences of words, (B, S)."""

    ids: Tensor
    labels: Tensor

    @property
    def counts(self) -> dict[str, int]:
        """What the loss is a mean over: predicted words."""
        return {"word": int((self.labels[:, 1:] != IGNORED).sum())}

    @property
    def num_tokens(self) -> int:
        """Positions."""
        return self.ids.numel()

    def to(self, device: torch.device) -> "Texts":
        """Move them."""
        return Texts(self.ids.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Reading:
    """The texts of chunks as a task for the loop."""

    sequences: list[list[int]]
    pad: int
    weights: Sequence[float] | None = None

    @property
    def num_samples(self) -> int:
        """Chunks."""
        return len(self.sequences)

    def batch(self, draws: Sequence[Draw]) -> Texts:
        """Lay texts out."""
        return self.texts([draw.row for draw in draws])

    def texts(self, rows: Sequence[int]) -> Texts:
        """Lay texts out."""
        chosen = [self.sequences[row] for row in rows]
        return Texts(padded(chosen, self.pad), padded(chosen, IGNORED))

    def losses(self, network: nn.Module, batch: Texts) -> Losses:
        """Cross-entropy of the next word."""
        logits = network(input_ids=batch.ids, use_cache=False).logits[:, :-1]
        return {
            "word": F.cross_entropy(logits.flatten(0, 1).float(), batch.labels[:, 1:].flatten(), ignore_index=IGNORED)
        }

    @torch.no_grad()
    def loss(self, network: nn.Module, device: torch.device) -> float:
        """Measure the loss over all texts."""
        return float(self.losses(network, self.texts(range(self.num_samples)).to(device))["word"])


def make(job: Job) -> StepResult:
    """Train all of the language model's weights on next-word prediction."""
    torch.manual_seed(job.config.seed)
    stage, device = job.config.train.language_model, job.processes.device
    tokenizer = load_tokenizer(job.folder, job.config.model)
    llama = build_llama(job.config.model, tokenizer)
    chunks, held_out = (load_chunks(job, split) for split in ("train", "validation"))
    weights = weights_of(chunks, job.config.train.subset_weights)
    task = Reading([_sequence(tokenizer, chunk) for chunk in chunks], tokenizer.pad, weights)
    exam = Reading([_sequence(tokenizer, chunk) for chunk in held_out], tokenizer.pad)
    untrained = exam.loss(llama.to(device), device)
    training = Training(
        llama,
        dict(llama.named_parameters()),
        task,
        config=stage,
        launch=job.launch,
        processes=job.processes,
        seed=job.config.seed,
        out_dir=job.out_dir,
        name="language model",
        held_out_loss=lambda network: exam.loss(network, device),
    )
    with logged(job, "language model", stage, part="language_model") as log:
        for step in training:
            log.step(step, training)
        metrics = {"word_loss": exam.loss(training.network, device), "word_loss_untrained": untrained}
        log.metrics(metrics, stage.steps)
        training.save_weights(weights_path(job.folder, "language_model"))
        return StepResult(counts={"sequences": len(chunks)}, metrics=metrics, tracking_run_id=log.run_id)


def _sequence(tokenizer: StoryTokenizer, chunk: Story) -> list[int]:
    return [tokenizer.begin_of_story, *tokenizer.encode(SEPARATOR.join(chunk.captions)), tokenizer.end_of_story]
