"""Stage 3: the de-tokenizer is adapted to the features that stage 2 really predicts.

Trained: the resampler and the UNet's key and value projections. Frozen: all else, the language model with it, whose
predictions (captions and earlier pictures given) are computed once. Loss: noise prediction.
Measured on held-out episodes: the same loss before and after, with the same noise.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from story_model.build import build_detokenizer
from story_model.checkpoint import load_weights
from story_model.dataset import Story
from story_model.detokenizer import train_adaptation_only
from story_model.device import dtype_of
from story_model.manifest import StepResult, digest_of
from story_model.parts import load_mllm, load_tokenizer, weights_path
from story_model.tensor_files import TensorInfo
from training.batches import every_target
from training.corpus import Split, load_split
from training.features import Maker, Store
from training.filling import filled_store
from training.loop import Training
from training.makers import DTYPES, FEATURES
from training.measures import psnr_db
from training.noise import denoising
from training.progress import logged
from training.stage2_mllm import batch_of
from training.steps import Job
from training.views import Views, rebuild, save_comparison


def make(job: Job) -> StepResult:
    """Train on the features predicted for every target of the training chunks."""
    torch.manual_seed(job.config.seed)
    model, stage, device = job.config.model, job.config.train.stage3, job.processes.device
    train, held_out = (predicted_views(job, split) for split in ("train", "validation"))
    test = held_out.spread(job.config.train.validation_samples)
    task, exam = denoising(train, model.detokenizer), denoising(test, model.detokenizer)
    detokenizer = build_detokenizer(model)
    load_weights(detokenizer, weights_path(job.folder, "stage1"))
    train_adaptation_only(detokenizer.train())
    before = exam.loss(detokenizer.to(device), device, seed=job.config.seed)
    training = Training(
        detokenizer.train(),
        {name: value for name, value in detokenizer.named_parameters() if value.requires_grad},
        task,
        config=stage,
        launch=job.launch,
        processes=job.processes,
        seed=job.config.seed,
        out_dir=job.out_dir,
        name="stage 3",
        held_out_loss=lambda network: exam.loss(network, device, seed=job.config.seed),
    )
    with logged(job, "stage 3: adaptation", stage, part="stage3") as log:
        for step in training:
            log.step(step, training)
        after = exam.loss(training.network, device, seed=job.config.seed)
        training.save_weights(weights_path(job.folder, "stage3"))
        if not job.processes.is_first:
            return StepResult()
        pictures, features = test.pictures(job), test.features_of(range(len(test)))
        rebuilt_before, rebuilt = (rebuild(job, part, features) for part in ("stage1", "stage3"))
        metrics = {
            "stage3_noise_loss_before": before,
            "stage3_noise_loss_after": after,
            "stage3_psnr_before_db": psnr_db(rebuilt_before, pictures),
            "stage3_psnr_after_db": psnr_db(rebuilt, pictures),
        }
        log.metrics(metrics, stage.steps)
        log.artifact(save_comparison(job.out_dir / "told_from_captions.png", [pictures, rebuilt_before, rebuilt]))
        counts = {"samples": len(train), "held_out_samples": len(test)}
        return StepResult(counts=counts, metrics=metrics, tracking_run_id=log.run_id)


def predicted_views(job: Job, name: str) -> Views:
    """View every target picture of a split, with the features that stage 2 predicts for it."""
    split = load_split(job, name, "image_encoder", "autoencoder")
    pairs = {f"{chunk.story_id}:{target}": (chunk, target) for chunk, target in every_target(split.chunks)}
    keys, weights = list(pairs), None
    if split.weights is not None:
        by_chunk = dict(zip((chunk.story_id for chunk in split.chunks), split.weights, strict=True))
        weights = [by_chunk[chunk.story_id] for chunk, _ in pairs.values()]
    store = _predictions(job, split, pairs)
    digests = [chunk.image_sha256[target] for chunk, target in pairs.values()]
    return Views(split, digests, lambda rows: store.rows([keys[row] for row in rows], FEATURES), weights)


def _predictions(job: Job, split: Split, pairs: Mapping[str, tuple[Story, int]]) -> Store:
    """Open the store of what stage 2 predicts, captions and earlier pictures given; what it lacks is made."""
    model, train, device = job.config.model, job.config.train, job.processes.device
    encoder, dtype = model.image_encoder, dtype_of(train.stage2.precision)
    shape = (encoder.num_queries, encoder.output_dim)
    digest = " ".join(digest_of(path) for path in (job.folder.part_dir("stage2"), job.folder.dataset_dir))
    fields = {FEATURES: TensorInfo(shape, DTYPES[train.features.dtype])}
    maker = Maker("stage2", f"{digest} {train.stage2.precision}", None, fields)

    def predictor() -> Callable[[Sequence[tuple[Story, int]]], dict[str, Tensor]]:
        mllm, tokenizer = load_mllm(job.folder, model, device=device, dtype=dtype), load_tokenizer(job.folder, model)

        def predict(batch: Sequence[tuple[Story, int]]) -> dict[str, Tensor]:
            laid_out = batch_of(batch, tokenizer, split).to(device, dtype)
            return {FEATURES: mllm(**laid_out.inputs).predicted_features}

        return predict

    store, _ = filled_store(
        job,
        maker,
        list(pairs),
        pairs.__getitem__,
        predictor,
        desc="predict features",
        count_as="predicted_features",
    )
    return store
