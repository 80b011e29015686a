"""Stage 3: the de-tokenizer is adapted to the features that stage 2 really predicts.

Trained: the resampler and the UNet's key and value projections. Frozen: all else, the language model with it, whose
predictions (captions and earlier pictures given) are computed once. Loss: noise prediction.
Measured on held-out episodes: the same loss before and after, with the same noise.
"""

import torch

from story_model.autoencoder import Autoencoder
from story_model.checkpoint import save_weights
from story_model.detokenizer import Detokenizer, train_adaptation_only
from story_model.manifest import StepResult
from story_model.parts import (
    load_autoencoder,
    load_detokenizer,
    load_image_encoder,
    load_mllm,
    load_tokenizer,
    weights_path,
)
from story_model.pixels import detokenizer_square, encoder_square
from story_model.tracking import child_run
from training import loop
from training.batches import every_target, rows_of_step, spread
from training.corpus import load_split
from training.measures import psnr_db
from training.noise import noise_task
from training.pictures import encode_features
from training.progress import log_step
from training.stage2_mllm import batches_of, predict, target_rows
from training.steps import Job
from training.views import Views, rebuild, save_comparison, views_of


def make(job: Job) -> StepResult:
    """Train on the features predicted for every target of the training chunks."""
    torch.manual_seed(job.config.seed)
    model, stage = job.config.model, job.config.train.stage3
    detokenizer = load_detokenizer(job.folder, model, "stage1").train()
    train_adaptation_only(detokenizer)
    task, autoencoder = noise_task(model.detokenizer), load_autoencoder(job.folder, model)
    train, held_out = predicted_views(job, autoencoder)

    def losses_of(step: int, generator: torch.Generator) -> loop.Losses:
        rows = rows_of_step(len(train.latents), stage.batch_size, seed=job.config.seed, step=step)
        return {"noise": task.loss(detokenizer, train.rows(rows), generator)}

    def held_out_loss(network: Detokenizer) -> float:
        return task.held_out_loss(network, held_out, job.config.seed)

    with child_run(job.folder, "stage 3: adaptation", settings=job.settings, out_dir=job.out_dir) as tracker:
        tracker.params({"stage": stage.model_dump()})
        untouched = load_detokenizer(job.folder, model, "stage1")
        before = held_out_loss(untouched)
        rebuilt_before = rebuild(job, untouched, autoencoder, held_out.features)
        for step in loop.train(
            {name: value for name, value in detokenizer.named_parameters() if value.requires_grad},
            losses_of,
            config=stage,
            seed=job.config.seed,
            out_dir=job.out_dir,
            name="stage 3",
        ):
            log_step(tracker, step, stage)
        detokenizer.eval()
        rebuilt = rebuild(job, detokenizer, autoencoder, held_out.features)
        metrics = {
            "stage3_noise_loss_before": before,
            "stage3_noise_loss_after": held_out_loss(detokenizer),
            "stage3_psnr_before_db": psnr_db(rebuilt_before, held_out.pictures),
            "stage3_psnr_after_db": psnr_db(rebuilt, held_out.pictures),
        }
        tracker.metrics(metrics, stage.steps)
        sheet = [held_out.pictures, rebuilt_before, rebuilt]
        tracker.artifact(save_comparison(job.out_dir / "told_from_captions.png", sheet))
        save_weights(detokenizer, weights_path(job.folder, "stage3"))
        counts = {"samples": len(train.latents), "held_out_samples": len(held_out.latents)}
        return StepResult(counts=counts, metrics=metrics, tracking_run_id=tracker.run_id)


def predicted_views(job: Job, autoencoder: Autoencoder) -> tuple[Views, Views]:
    """Give for both splits the target pictures and the features that stage 2 predicts for them."""
    model = job.config.model
    mllm, encoder = load_mllm(job.folder, model), load_image_encoder(job.folder, model)
    tokenizer = load_tokenizer(job.folder, model)

    def views(name: str, num_samples: int | None) -> Views:
        split = load_split(job, name, encoder_square(model.image_encoder))
        pairs = every_target(split.chunks)
        chosen = pairs if num_samples is None else spread(pairs, num_samples)
        batches = batches_of(chosen, tokenizer, split)
        features = predict(mllm, batches, encode_features(encoder, split.pictures))
        targets = [row for batch in batches for row in target_rows(batch)]
        painted = split.pictures_as(detokenizer_square(model.detokenizer))
        return views_of(painted.pixels[targets], painted.size_ids[targets], features=features, autoencoder=autoencoder)

    return views("train", None), views("validation", job.config.train.validation_samples)
