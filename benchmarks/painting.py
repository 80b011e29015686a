"""Projecting a prompt to keys and values once a picture saves time where the prompt is long, and never costs any.

Both sides are `Painter` with the same fresh weights, features and seeds; the former one is without `projected_once`.
Their pictures are compared. Three networks: preset tiny's; a wider one in SD-XL's proportions (its deepest latents have
16 times as many places as a prompt has tokens); and the same one with a quarter as many places as tokens.

Pictures are painted in turn in one process, who begins alternates, and a speedup is the median over the rounds of
former seconds by ours. Seconds are the processor's, which other work on the machine stretches less than the clock's.
"""

import argparse
import json
import statistics
import time
from contextlib import AbstractContextManager, nullcontext
from unittest import mock

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from story_model import painting
from story_model.autoencoder import LinearAutoencoder
from story_model.build import build_autoencoder, build_detokenizer, build_image_encoder
from story_model.config import ModelConfig, load_config
from story_model.painting import Painter
from story_model.tell_config import SamplerConfig

MAX_ERROR = 1e-5
_WIDE = (
    "model.detokenizer.unet_channels=[64,128,256]",
    "model.detokenizer.unet_heads=[2,4,8]",
    "model.detokenizer.unet_transformer_layers=[1,2,4]",
    "model.detokenizer.prompt_dims=[256,512]",
)
NETWORKS: dict[str, tuple[str, ...]] = {
    "tiny": (),
    "wide": (*_WIDE, "model.detokenizer.picture_size=512", "model.detokenizer.num_queries=16"),
    "many_tokens": (*_WIDE, "model.detokenizer.picture_size=128", "model.detokenizer.num_queries=64"),
}


def make_painter(model: ModelConfig, *, steps: int, guidance: float) -> Painter:
    """Make a painter with fresh weights, the same at each call."""
    torch.manual_seed(0)
    detokenizer = build_detokenizer(model).eval().requires_grad_(False)
    encoder = build_image_encoder(model.image_encoder).eval().requires_grad_(False)
    autoencoder = build_autoencoder(model.detokenizer)
    assert isinstance(autoencoder, LinearAutoencoder)
    autoencoder.basis.normal_(std=0.1)  # fitted ones are of this order; all that matters is that pictures differ
    settings = SamplerConfig(steps=steps, guidance=guidance)
    return Painter(detokenizer, autoencoder, encoder, config=model.detokenizer, sampler=settings)


def every_step(unet: UNet2DConditionModel) -> AbstractContextManager[None]:
    """Stand in for `projected_once`: leave the UNet as it is."""
    return nullcontext()


def timed(painter: Painter, features: Tensor, *, is_former: bool) -> tuple[float, Tensor]:
    """Measure the processor seconds of a batch, and give it."""
    with mock.patch.object(painting, "projected_once", every_step if is_former else painting.projected_once):
        started = time.process_time()
        pictures = painter.paint_batch(features, range(len(features)))
        return time.process_time() - started, pictures


def compare(model: ModelConfig, *, steps: int, guidance: float, batch: int, rounds: int) -> dict[str, float]:
    """Compare the two sides' pictures and seconds."""
    painter = make_painter(model, steps=steps, guidance=guidance)
    shape = batch, model.image_encoder.num_queries, model.image_encoder.output_dim
    features = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    error = 0.0
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds + 1):
        pictures = {}
        for is_former in (bool(number % 2), not number % 2):
            taken, pictures[is_former] = timed(painter, features, is_former=is_former)
            if number:  # the first round warms up
                seconds[is_former].append(taken)
        error = max(error, (pictures[True] - pictures[False]).abs().max().item())
    if not error <= MAX_ERROR:
        raise SystemExit(f"the two sides paint differently, by {error:.1e}")
    ratios = [former / ours for ours, former in zip(seconds[False], seconds[True], strict=True)]
    return {
        "speedup": round(statistics.median(ratios), 3),
        "lowest": round(min(ratios), 3),
        "highest": round(max(ratios), 3),
        "ours_s": round(statistics.median(seconds[False]), 4),
        "former_s": round(statistics.median(seconds[True]), 4),
        "error": error,
    }


def main() -> None:
    """Measure, telling people how it goes and the last line's reader what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="default: all")
    parser.add_argument("--steps", nargs="+", type=int, default=[5, 15], help="default: %(default)s")
    parser.add_argument("--guidance", type=float, default=7.5, help="default: %(default)s; 1 has half the rows")
    sizes = {"batch": 8, "wide_batch": 1, "rounds": 9, "threads": 1}
    for name, default in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help="default: %(default)s")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for network in given.networks:
        model = load_config("tiny", NETWORKS[network]).model
        batch = given.batch if network == "tiny" else given.wide_batch
        for steps in given.steps:
            one = compare(model, steps=steps, guidance=given.guidance, batch=batch, rounds=given.rounds)
            found.setdefault(network, {})[str(steps)] = one
            print(f"{network}, {steps} steps: {one['former_s']:.3f} s -> {one['ours_s']:.3f} s, x{one['speedup']}")
    told = {"guidance": given.guidance} | {name: getattr(given, name) for name in sizes}
    print(json.dumps({"networks": found} | told | {"torch": torch.__version__}))


if __name__ == "__main__":
    main()
