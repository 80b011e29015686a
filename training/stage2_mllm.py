"""Stage 2: the language model learns to predict the next words and the next picture's features.

Trained: LoRA, norms, embeddings and head of the LLaMA, both resamplers. Frozen: the image encoder, LLaMA's own
matrices. Losses: cross-entropy of the last caption's words, and 1 - cosine of the last picture's features.
Measured on held-out episodes: the word loss against an untrained model's, the feature error against answering with the
mean training feature of each place.
"""

import torch
from torch import Tensor
from tqdm import tqdm

from story_model.build import build_llama, build_mllm
from story_model.checkpoint import load_weights, save_weights
from story_model.dataset import Story
from story_model.manifest import StepResult
from story_model.mllm import Mllm, trainable
from story_model.parts import load_image_encoder, load_tokenizer, weights_path
from story_model.pixels import encoder_square
from story_model.tokens import StoryTokenizer
from story_model.tracking import child_run
from training import loop
from training.batches import StoryBatch, every_target, random_targets, rows_of_step, spread, story_batch
from training.corpus import Split, load_split
from training.measures import mean_feature_error
from training.pictures import encode_features
from training.progress import log_step
from training.steps import Job

_BATCH = 32


def make(job: Job) -> StepResult:
    """Train on random prefixes of the training chunks."""
    torch.manual_seed(job.config.seed)
    model, stage = job.config.model, job.config.train.stage2
    tokenizer = load_tokenizer(job.folder, model)
    llama = build_llama(model, tokenizer)
    untrained = build_mllm(model, build_llama(model, tokenizer)).eval()
    load_weights(llama, weights_path(job.folder, "language_model"))
    mllm = build_mllm(model, llama).train()

    square = encoder_square(model.image_encoder)
    train, held_out = (load_split(job, split, square) for split in ("train", "validation"))
    encoder = load_image_encoder(job.folder, model)
    features, held_out_features = (encode_features(encoder, split.pictures) for split in (train, held_out))

    def losses_of(step: int, generator: torch.Generator) -> loop.Losses:
        rows = rows_of_step(len(train.chunks), stage.batch_size, seed=job.config.seed, step=step)
        chunks = [train.chunks[row] for row in rows]
        targets = random_targets(chunks, generator)
        batch = story_batch(chunks, targets, tokenizer=tokenizer, pictures=train.pictures)
        out = mllm(**batch.inputs(features))
        return {"word": out.lm_loss, "feature": out.image_loss}

    test = held_out_batches(held_out, tokenizer, job.config.train.validation_samples)
    with child_run(job.folder, "stage 2: mllm", settings=job.settings, out_dir=job.out_dir) as tracker:
        tracker.params({"stage": stage.model_dump(), "mllm": model.mllm.model_dump()})
        before, _ = measure(mllm.eval(), test, held_out_features)
        mllm.train()
        for step in loop.train(
            dict(trainable(mllm)), losses_of, config=stage, seed=job.config.seed, out_dir=job.out_dir, name="stage 2"
        ):
            log_step(tracker, step, stage)
        word, feature = measure(mllm.eval(), test, held_out_features)
        word_untrained, _ = measure(untrained, test, held_out_features)
        targets = held_out_features[[row for batch in test for row in target_rows(batch)]]
        baseline = mean_feature_error(features, targets)
        metrics = {
            "stage2_word_loss": word,
            "stage2_word_loss_untrained": word_untrained,
            "stage2_word_loss_before": before,
            "stage2_word_loss_ratio": word / word_untrained,
            "stage2_feature_error": feature,
            "stage2_feature_error_baseline": baseline,
            "stage2_feature_error_ratio": feature / baseline,
        }
        tracker.metrics(metrics, stage.steps)
        save_weights(mllm, weights_path(job.folder, "stage2"))
        counts = {
            "chunks": len(train.chunks),
            "held_out_samples": sum(len(batch.input_ids_BS) for batch in test),
            "encoded_pictures": len(features) + len(held_out_features),
            "trained_parameters": sum(parameter.numel() for _, parameter in trainable(mllm)),
        }
        return StepResult(counts=counts, metrics=metrics, tracking_run_id=tracker.run_id)


def held_out_batches(split: Split, tokenizer: StoryTokenizer, num_samples: int) -> list[StoryBatch]:
    """Choose held-out (chunk, target) pairs and lay them out."""
    return batches_of(spread(every_target(split.chunks), num_samples), tokenizer, split)


def batches_of(pairs: list[tuple[Story, int]], tokenizer: StoryTokenizer, split: Split) -> list[StoryBatch]:
    """Lay (chunk, target) pairs out in batches."""
    slices = [pairs[start : start + _BATCH] for start in range(0, len(pairs), _BATCH)]
    return [
        story_batch(
            [chunk for chunk, _ in part], [target for _, target in part], tokenizer=tokenizer, pictures=split.pictures
        )
        for part in slices
    ]


@torch.no_grad()
def measure(mllm: Mllm, batches: list[StoryBatch], features: Tensor) -> tuple[float, float]:
    """Give word loss and feature error, means over the batches' samples."""
    totals = torch.zeros(2)
    for batch in batches:
        out = mllm(**batch.inputs(features))
        totals += torch.stack([out.lm_loss, out.image_loss]) * len(batch.input_ids_BS)
    word, feature = (totals / sum(len(batch.input_ids_BS) for batch in batches)).tolist()
    return word, feature


@torch.no_grad()
def predict(mllm: Mllm, batches: list[StoryBatch], features: Tensor) -> Tensor:
    """Predict the target pictures' features (samples, F, D), the captions given."""
    bar = tqdm(batches, desc="predict features", leave=False)
    return torch.cat([mllm(**batch.inputs(features)).predicted_features for batch in bar])


def target_rows(batch: StoryBatch) -> list[int]:
    """List the picture rows of a batch's targets."""
    flags = batch.features_are_target_N.tolist()
    return [row for row, is_target in zip(batch.picture_rows, flags, strict=True) if is_target]
