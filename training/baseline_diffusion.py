"""The baseline: latent diffusion from captions alone, which is what a story model has to do better than.

Trained: LoRA on the attention of stage 1's UNet, and the projections of the caption's words. Frozen: all else, the text
encoder with it, whose states of each unique caption are computed once. Loss: noise prediction, as in stages 1 and 3.
Measured on held-out episodes: the same loss before and after, with the same noise; PSNR of pictures from captions.
"""

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from story_model.build import build_captions_diffusion, build_detokenizer
from story_model.checkpoint import load_weights
from story_model.detokenizer import Detokenizer
from story_model.device import dtype_of
from story_model.manifest import StepResult, digest_of
from story_model.parts import baseline_of, load_caption_encoder, load_captions_painter, weights_path
from story_model.tell_config import SamplerConfig
from story_model.tensor_files import TensorInfo
from training.corpus import load_split
from training.features import Maker, Store
from training.filling import filled_store
from training.loop import Training
from training.makers import DTYPES
from training.measures import psnr_db
from training.noise import denoising
from training.progress import logged
from training.steps import Job
from training.views import Views, save_comparison

_STATES = "states"


def make(job: Job) -> StepResult:
    """Train on every pair of the training stories, each by itself."""
    torch.manual_seed(job.config.seed)
    model, stage, device = job.config.model, baseline_of(job.config), job.processes.device
    network = build_captions_diffusion(model, stage)
    take_unet(network, job)
    train, held_out = (captioned_views(job, split) for split in ("train", "validation"))
    test = held_out.spread(job.config.train.validation_samples)
    task, exam = denoising(train, model.detokenizer), denoising(test, model.detokenizer)
    before = exam.loss(network.to(device), device, seed=job.config.seed)
    training = Training(
        network.train(),
        {name: value for name, value in network.named_parameters() if value.requires_grad},
        task,
        config=stage,
        launch=job.launch,
        processes=job.processes,
        seed=job.config.seed,
        out_dir=job.out_dir,
        name="baseline",
        held_out_loss=lambda trained: exam.loss(trained, device, seed=job.config.seed),
    )
    with logged(job, "baseline: captions alone", stage) as log:
        for step in training:
            log.step(step, training)
        after = exam.loss(training.network, device, seed=job.config.seed)
        training.save_weights(weights_path(job.folder, "baseline"))
        if not job.processes.is_first:
            return StepResult()
        pictures, painted = test.pictures(job), _paint(job, test.features_of(range(len(test))))
        metrics = {
            "baseline_noise_loss_before": before,
            "baseline_noise_loss_after": after,
            "baseline_psnr_db": psnr_db(painted, pictures),
        }
        log.metrics(metrics, stage.steps)
        log.artifact(save_comparison(job.out_dir / "painted_from_captions.png", [pictures, painted]))
        counts = {"pairs": len(train), "held_out_pairs": len(test)}
        return StepResult(counts=counts, metrics=metrics, tracking_run_id=log.run_id)


def take_unet(network: Detokenizer, job: Job) -> None:
    """Give the network stage 1's UNet.

    Raises:
        ValueError: stage 1 is not trained, or its weights are of another configuration.
    """
    theirs = build_detokenizer(job.config.model)
    load_weights(theirs, weights_path(job.folder, "stage1"))
    known = theirs.state_dict()
    # LoRA's layers hold what they adapt one name further down, and nothing of stage 1 has their own names.
    ours = {name: known.get(name.replace(".base_layer.", ".")) for name in network.state_dict()}
    network.load_state_dict({name: value for name, value in ours.items() if value is not None}, strict=False)


def captioned_views(job: Job, name: str) -> Views:
    """View every unique pair of a split, its picture with the states of its caption's words for features."""
    split = load_split(job, name, "autoencoder")
    told = ((chunk.image_sha256[at], chunk.captions[at]) for chunk in split.chunks for at in range(len(chunk.captions)))
    pairs = list(dict.fromkeys(told))
    keys = [hashlib.sha256(caption.encode()).hexdigest() for _, caption in pairs]
    store = _caption_states(job, dict(zip(keys, (caption for _, caption in pairs), strict=True)))
    return Views(split, [digest for digest, _ in pairs], lambda rows: store.rows([keys[row] for row in rows], _STATES))


def _caption_states(job: Job, captions: dict[str, str]) -> Store:
    """Open the store of what the text encoder says of captions (by the sha256 of each); what it lacks is made."""
    train, device = job.config.train, job.processes.device
    max_words, precision = baseline_of(job.config).max_words, train.stage2.precision
    digests = " ".join(digest_of(job.folder.part_dir(part)) for part in ("tokenizer", "language_model"))
    shape = (max_words, job.config.model.mllm.language_model.hidden_size)
    fields = {_STATES: TensorInfo(shape, DTYPES[train.features.dtype])}

    def reader() -> Callable[[Sequence[str]], dict[str, Tensor]]:
        encoder = load_caption_encoder(job.folder, job.config, device=device, dtype=dtype_of(precision))
        return lambda batch: {_STATES: encoder(batch)}

    store, _ = filled_store(
        job,
        Maker("captions", f"{digests} {precision}", None, fields),
        list(captions),
        captions.__getitem__,
        reader,
        desc="read captions",
        count_as="encoded_captions",
    )
    return store


def _paint(job: Job, states: Tensor) -> Tensor:
    """Paint pictures (N, 3, H, W) in [-1, 1] from the states of captions, without guidance: what these alone say."""
    device, dtype = job.processes.device, dtype_of(baseline_of(job.config).precision)
    painter = load_captions_painter(
        job.folder,
        job.config,
        load_caption_encoder(job.folder, job.config, device=device, dtype=dtype),
        sampler=SamplerConfig(steps=job.config.train.reconstruction_steps, guidance=1.0),
        device=device,
        dtype=dtype,
    )
    return torch.cat(list(painter.paint(states, range(len(states))))).cpu()
