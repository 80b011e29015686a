"""Stage 2: the language model learns to predict the next words and the next picture's features.

Trained: LoRA, norms, embeddings and head of the LLaMA, both resamplers. Frozen: the image encoder, LLaMA's own
matrices. Losses: cross-entropy of a caption's words, and 1 - cosine of a picture's features; of every pair of a chunk
but the first at once, or of one of them (`sequences`).
Measured on held-out episodes: the word loss against an untrained model's, the feature error against answering with the
mean training feature of each place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from story_model.build import build_llama, build_mllm
from story_model.checkpoint import load_weights
from story_model.dataset import Story
from story_model.manifest import StepResult
from story_model.mllm import trainable
from story_model.parts import load_tokenizer, weights_path
from story_model.tokens import StoryTokenizer
from training.batches import StoryBatch, every_target, random_target, spread, story_batch
from training.corpus import Split, load_split
from training.loop import Training
from training.measures import mean_feature_error
from training.pretrained import start
from training.progress import logged
from training.steps import Job
from training.task import Draw, Losses

_BATCH = 32
_BASELINE_PICTURES = 2000


@dataclass(frozen=True)
class Telling:
    """Chunks as a task for the loop."""

    split: Split
    tokenizer: StoryTokenizer
    is_all_targets: bool

    @property
    def num_samples(self) -> int:
        """Chunks."""
        return len(self.split.chunks)

    @property
    def weights(self) -> Sequence[float] | None:
        """Of the chunks."""
        return self.split.weights

    def batch(self, draws: Sequence[Draw]) -> StoryBatch:
        """Lay chunks out, whole or up to a pair drawn at random."""
        chunks = [self.split.chunks[draw.row] for draw in draws]
        pairs = zip(chunks, draws, strict=True)
        targets = None if self.is_all_targets else [random_target(chunk, draw.generator()) for chunk, draw in pairs]
        return story_batch(chunks, targets, tokenizer=self.tokenizer, features_of=self.split.encodings.features)

    def losses(self, network: nn.Module, batch: StoryBatch) -> Losses:
        """Word and feature losses."""
        out = network(**batch.inputs)
        return {"word": out.lm_loss, "feature": out.image_loss}


def make(job: Job) -> StepResult:
    """Train on the training chunks."""
    torch.manual_seed(job.config.seed)
    model, stage, device = job.config.model, job.config.train.stage2, job.processes.device
    tokenizer = load_tokenizer(job.folder, model)
    llama = build_llama(model, tokenizer)
    untrained = build_mllm(model, build_llama(model, tokenizer)).eval()
    load_weights(llama, weights_path(job.folder, "language_model"))
    mllm = build_mllm(model, llama).train()
    start(job, "stage2", mllm)
    train, held_out = (load_split(job, split, "image_encoder") for split in ("train", "validation"))
    test = held_out_batches(held_out, tokenizer, job.config.train.validation_samples)
    word_untrained, _ = measure(untrained.to(device), test, device)
    del untrained
    trained = dict(trainable(mllm))
    num_trained = sum(parameter.numel() for parameter in trained.values())
    training = Training(
        mllm,
        trained,
        Telling(train, tokenizer, stage.sequences == "all_targets"),
        config=stage,
        launch=job.launch,
        processes=job.processes,
        seed=job.config.seed,
        out_dir=job.out_dir,
        name="stage 2",
        held_out_loss=lambda network: sum(measure(network, test, device)),
    )
    with logged(job, "stage 2: mllm", stage, part="stage2") as log:
        log.params({"mllm": model.mllm.model_dump()})
        for step in training:
            log.step(step, training)
        word, feature = measure(training.network, test, device)
        training.save_weights(weights_path(job.folder, "stage2"))
        targets = torch.cat([batch.target_features for batch in test])
        baseline = mean_feature_error(train.encodings.features(spread(train.digests, _BASELINE_PICTURES)), targets)
        metrics = {
            "stage2_word_loss": word,
            "stage2_word_loss_untrained": word_untrained,
            "stage2_word_loss_ratio": word / word_untrained,
            "stage2_feature_error": feature,
            "stage2_feature_error_baseline": baseline,
            "stage2_feature_error_ratio": feature / baseline,
        }
        log.metrics(metrics, stage.steps)
        counts = {
            "chunks": len(train.chunks),
            "held_out_samples": sum(batch.num_samples for batch in test),
            "trained_parameters": num_trained,
        }
        return StepResult(counts=counts, metrics=metrics, tracking_run_id=log.run_id)


def held_out_batches(split: Split, tokenizer: StoryTokenizer, num_samples: int) -> list[StoryBatch]:
    """Choose held-out (chunk, target) pairs and lay them out, however training does: one target a sequence."""
    return [batch_of(pairs, tokenizer, split) for pairs in _slices(spread(every_target(split.chunks), num_samples))]


def batch_of(pairs: Sequence[tuple[Story, int]], tokenizer: StoryTokenizer, split: Split) -> StoryBatch:
    """Lay (chunk, target) pairs out."""
    chunks, targets = zip(*pairs, strict=True)
    return story_batch(chunks, targets, tokenizer=tokenizer, features_of=split.encodings.features)


@torch.no_grad()
def measure(network: nn.Module, batches: Sequence[StoryBatch], device: torch.device) -> tuple[float, float]:
    """Give word loss and feature error, means over the batches' samples; dropout is off meanwhile."""
    was_training = network.training
    network.eval()
    totals: Tensor = torch.zeros(2)
    for batch in batches:
        out = network(**batch.to(device).inputs)
        totals += torch.stack([out.lm_loss, out.image_loss]).float().cpu() * batch.num_samples
    network.train(was_training)
    word, feature = (totals / sum(batch.num_samples for batch in batches)).tolist()
    return word, feature


def _slices(pairs: list[tuple[Story, int]]) -> list[list[tuple[Story, int]]]:
    return [pairs[start : start + _BATCH] for start in range(0, len(pairs), _BATCH)]
