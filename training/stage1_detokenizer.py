"""Stage 1: the de-tokenizer learns to rebuild pictures from the frozen encoder's features.

Trained: the UNet and its resampler. Frozen: the image encoder, the autoencoder. Loss: noise prediction.
Measured on held-out episodes: PSNR of rebuilt pictures against answering with the mean training picture.
"""

import torch

from story_model.build import build_detokenizer
from story_model.manifest import StepResult
from story_model.parts import load_autoencoder, weights_path
from training.corpus import load_split
from training.loop import Training
from training.measures import mean_picture_psnr_db, psnr_db
from training.mixture import mixture
from training.noise import denoising
from training.pretrained import start
from training.progress import logged
from training.steps import Job
from training.views import rebuild, save_comparison, true_views

_BASELINE_PICTURES = 2000


def make(job: Job) -> StepResult:
    """Train on all pictures of the training stories and of the configured sources."""
    torch.manual_seed(job.config.seed)
    model, stage, device = job.config.model, job.config.train.stage1, job.processes.device
    detokenizer = build_detokenizer(model).train()
    start(job, "stage1", detokenizer)
    stories, unseen = (load_split(job, split, "image_encoder", "autoencoder") for split in ("train", "validation"))
    mixed = mixture(job, stories, unseen, "image_encoder", "autoencoder")
    train, held_out = true_views(stories), true_views(unseen)
    test = held_out.spread(job.config.train.validation_samples)
    task, exam = denoising(true_views(mixed), model.detokenizer), denoising(test, model.detokenizer)
    training = Training(
        detokenizer,
        dict(detokenizer.named_parameters()),
        task,
        config=stage,
        launch=job.launch,
        processes=job.processes,
        seed=job.config.seed,
        out_dir=job.out_dir,
        name="stage 1",
        held_out_loss=lambda network: exam.loss(network, device, seed=job.config.seed),
    )
    with logged(job, "stage 1: detokenizer", stage, part="stage1") as log:
        log.params({"detokenizer": model.detokenizer.model_dump()})
        for step in training:
            log.step(step, training)
        noise_loss = exam.loss(training.network, device, seed=job.config.seed)
        training.save_weights(weights_path(job.folder, "stage1"))
        if not job.processes.is_first:
            return StepResult()
        pictures = test.pictures(job)
        rebuilt = rebuild(job, "stage1", test.features_of(range(len(test))))
        baseline = mean_picture_psnr_db(train.spread(_BASELINE_PICTURES).pictures(job), pictures)
        psnr = psnr_db(rebuilt, pictures)
        kept = load_autoencoder(job.folder, model).decode(test.rows(range(len(test))).latents)
        metrics = {
            "stage1_noise_loss": noise_loss,
            "stage1_psnr_db": psnr,
            "stage1_psnr_baseline_db": baseline,
            "stage1_psnr_gain_db": psnr - baseline,
            "stage1_psnr_ceiling_db": psnr_db(kept, pictures),
        }
        log.metrics(metrics, stage.steps)
        log.artifact(save_comparison(job.out_dir / "rebuilt.png", [pictures, rebuilt]))
        counts = {"held_out_pictures": len(test)}
        return StepResult(counts=mixed.counts | counts, metrics=metrics, tracking_run_id=log.run_id)
