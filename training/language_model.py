"""Pretraining of the language model on the training stories' text, for presets that have no pretrained one."""

import torch
from torch import Tensor
from torch.nn import functional as F

from story_model.build import build_llama
from story_model.checkpoint import save_weights
from story_model.dataset import Story
from story_model.manifest import StepResult
from story_model.parts import load_tokenizer, weights_path
from story_model.tokens import IGNORED, SEPARATOR, StoryTokenizer
from story_model.tracking import child_run
from training import loop
from training.batches import padded, rows_of_step
from training.corpus import load_chunks
from training.progress import log_step
from training.steps import Job


def make(job: Job) -> StepResult:
    """Train all of the language model's weights on next-word prediction."""
    torch.manual_seed(job.config.seed)
    stage = job.config.train.language_model
    tokenizer = load_tokenizer(job.folder, job.config.model)
    llama = build_llama(job.config.model, tokenizer)
    train, held_out = (
        [_sequence(tokenizer, chunk) for chunk in load_chunks(job, split)] for split in ("train", "validation")
    )

    def loss_of(sequences: list[list[int]]) -> Tensor:
        ids, labels = padded(sequences, tokenizer.pad), padded(sequences, IGNORED)
        logits = llama(input_ids=ids, use_cache=False).logits[:, :-1]
        return F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)

    def losses_of(step: int, _: torch.Generator) -> loop.Losses:
        rows = rows_of_step(len(train), stage.batch_size, seed=job.config.seed, step=step)
        return {"word": loss_of([train[row] for row in rows])}

    with torch.no_grad():
        untrained = float(loss_of(held_out))
    with child_run(job.folder, "language model", settings=job.settings, out_dir=job.out_dir) as tracker:
        tracker.params({"stage": stage.model_dump()})
        for step in loop.train(
            dict(llama.named_parameters()),
            losses_of,
            config=stage,
            seed=job.config.seed,
            out_dir=job.out_dir,
            name="language model",
        ):
            log_step(tracker, step, stage)
        with torch.no_grad():
            metrics = {"word_loss": float(loss_of(held_out)), "word_loss_untrained": untrained}
        tracker.metrics(metrics, stage.steps)
        save_weights(llama, weights_path(job.folder, "language_model"))
        return StepResult(counts={"sequences": len(train)}, metrics=metrics, tracking_run_id=tracker.run_id)


def _sequence(tokenizer: StoryTokenizer, chunk: Story) -> list[int]:
    return [tokenizer.begin_of_story, *tokenizer.encode(SEPARATOR.join(chunk.captions)), tokenizer.end_of_story]
