"""Stage 1: the de-tokenizer learns to rebuild pictures from the frozen encoder's features.

Trained: the UNet and its resampler. Frozen: the image encoder, the autoencoder. Loss: noise prediction.
Measured on held-out episodes: PSNR of rebuilt pictures against answering with the mean training picture.
"""

import torch

from story_model.build import build_detokenizer
from story_model.checkpoint import save_weights
from story_model.manifest import StepResult
from story_model.parts import load_autoencoder, load_image_encoder, weights_path
from story_model.tracking import child_run
from training import loop
from training.batches import rows_of_step
from training.measures import mean_picture_psnr_db, psnr_db
from training.noise import noise_task
from training.progress import log_step
from training.steps import Job
from training.views import load_views, rebuild, save_comparison


def make(job: Job) -> StepResult:
    """Train on all pictures of the training stories."""
    torch.manual_seed(job.config.seed)
    model, stage = job.config.model, job.config.train.stage1
    detokenizer = build_detokenizer(model).train()
    encoder, autoencoder = load_image_encoder(job.folder, model), load_autoencoder(job.folder, model)
    train, held_out = (load_views(job, split, encoder, autoencoder) for split in ("train", "validation"))
    task = noise_task(model.detokenizer)

    def losses_of(step: int, generator: torch.Generator) -> loop.Losses:
        rows = rows_of_step(len(train.latents), stage.batch_size, seed=job.config.seed, step=step)
        return {"noise": task.loss(detokenizer, train.rows(rows), generator)}

    with child_run(job.folder, "stage 1: detokenizer", settings=job.settings, out_dir=job.out_dir) as tracker:
        tracker.params({"stage": stage.model_dump(), "detokenizer": model.detokenizer.model_dump()})
        for step in loop.train(
            dict(detokenizer.named_parameters()),
            losses_of,
            config=stage,
            seed=job.config.seed,
            out_dir=job.out_dir,
            name="stage 1",
        ):
            log_step(tracker, step, stage)
        detokenizer.eval()
        test = held_out.spread(job.config.train.validation_samples)
        rebuilt = rebuild(job, detokenizer, autoencoder, test.features)
        baseline = mean_picture_psnr_db(train.pictures, test.pictures)
        psnr = psnr_db(rebuilt, test.pictures)
        metrics = {
            "stage1_noise_loss": task.held_out_loss(detokenizer, test, job.config.seed),
            "stage1_psnr_db": psnr,
            "stage1_psnr_baseline_db": baseline,
            "stage1_psnr_gain_db": psnr - baseline,
            "stage1_psnr_ceiling_db": psnr_db(autoencoder.decode(test.latents), test.pictures),
        }
        tracker.metrics(metrics, stage.steps)
        tracker.artifact(save_comparison(job.out_dir / "rebuilt.png", [test.pictures, rebuilt]))
        save_weights(detokenizer, weights_path(job.folder, "stage1"))
        counts = {"pictures": len(train.latents), "held_out_pictures": len(test.latents)}
        return StepResult(counts=counts, metrics=metrics, tracking_run_id=tracker.run_id)
