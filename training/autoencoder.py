"""The autoencoder of presets without SD-XL's: fitted in closed form to the training pictures."""

import torch

from story_model.autoencoder import LinearAutoencoder
from story_model.build import build_autoencoder
from story_model.checkpoint import save_weights
from story_model.manifest import StepResult
from story_model.parts import weights_path
from story_model.pixels import detokenizer_square, signed
from training.corpus import load_split
from training.measures import psnr_db
from training.steps import Job


def make(job: Job) -> StepResult:
    """Fit, and measure how well held-out pictures survive it.

    Raises:
        ValueError: the configured autoencoder is SD-XL's, which is not ours to fit.
    """
    sizes = job.config.model.detokenizer
    autoencoder = build_autoencoder(sizes)
    if not isinstance(autoencoder, LinearAutoencoder):
        raise ValueError(
            "model.detokenizer.autoencoder is sdxl: it is not trained here; name it in "
            "train.pretrained.taken_over, or set linear to fit one"
        )
    square = detokenizer_square(sizes)
    splits = (load_split(job, split) for split in ("train", "validation"))
    train, held_out = (split.pixels(split.digests, square) for split in splits)
    autoencoder.fit(signed(train))
    with torch.no_grad():
        rebuilt = autoencoder.decode(autoencoder.encode(signed(held_out)))
    save_weights(autoencoder, weights_path(job.folder, "autoencoder"))
    return StepResult(counts={"pictures": len(train)}, metrics={"psnr_db": psnr_db(rebuilt, signed(held_out))})
