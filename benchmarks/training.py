"""Stage 2 by all targets of a chunk in one packed pass, against the published way, on the same networks.

A target is one caption and one picture to be predicted; both sides are asked how many of them they learn from in a
second, a step being: lay a batch of chunks of 10 out, forward, backward, clip, AdamW.

Published: all picture files of a chunk are opened and decoded, a target is drawn at random, the frozen image encoder
sees every picture up to it, the sequence is padded on the right to a fixed maximum, attention runs over all of that,
and the head scores every position. The maximum is the longest sample in the proportion of the published 1,280 to its
1,148. What the published code spends besides is left out in its favour: recomputing the forward pass, an attention
product that it throws away, and a mask (none is needed, and without one attention is fastest).

Ours: the chunk is laid out once with all of its targets, without padding, and features are read from the store's files.
Each picture is encoded once before; `..._first_epoch` charges that to the first time that a picture is met.

Sides take turns; seconds are processor time (on a GPU those of the clock), the medians over turns. Batches are laid out
in the same process, one after the other with the computing: `..._loaders_free` takes the loaders' share off both sides,
as it is where other cores have nothing else to do. FLOPs are counted with attention written out in matrix products.

Run it in the project's folder: `python -m benchmarks.training --preset tiny`. On a GPU, `--random-7b` instead measures
steps of the published size with random weights: tokens a second and model FLOPs utilisation.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file, too

import argparse
import copy
import gc
import json
import logging
import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.loader import WORDS, draw
from benchmarks.published_training import PublishedPass, PublishedTelling
from story_model.build import build_image_encoder, build_llama, build_mllm, llama2_vocabulary
from story_model.config import RunConfig, load_config
from story_model.dataset import Story, StorySet
from story_model.image_encoder import ImageEncoder
from story_model.mllm import Mllm, trainable
from story_model.pixels import decode_square, encoder_square
from story_model.stored_pictures import StoredPictures
from story_model.tokens import StoryTokenizer, train_tokenizer, training_sample
from story_model.train_config import LaunchConfig
from training.batches import rows_of_step
from training.corpus import Split
from training.encodings import Encodings, StoredEncodings
from training.engine import Engine, start_engine
from training.features import Store, open_store
from training.flops import stage_flops_per_sample
from training.hardware import peak_flops
from training.makers import encode_features, image_encoder_maker
from training.processes import Processes
from training.stage2_mllm import Telling
from training.task import Draw, Task, draws_of

PAIRS, QUALITY, SOURCE = 10, 90, (320, 180)
PUBLISHED_MAXIMUM, PUBLISHED_LONGEST = 1280, 1148
COUNTED_AT_ONCE = 2


def drawn_chunks(folder: Path, count: int, words: int) -> list[Story]:
    """Write picture files, named by their number, and the chunks that they belong to."""
    for number in range(count * PAIRS):
        draw(number, SOURCE).save(folder / f"{number}.jpg", quality=QUALITY)
    return [chunk(range(first, first + PAIRS), words) for first in range(0, count * PAIRS, PAIRS)]


def chunk(pictures: range, words: int) -> Story:
    """Make a chunk of random captions; its pictures go by their numbers."""
    captions = tuple(" ".join(random.Random(number).choices(WORDS, k=words)) for number in pictures)
    keys = tuple(str(number) for number in pictures)
    return Story(str(pictures.start), "drawn", "train", "drawn", (), captions, tuple(pictures), keys)


def task_of_all_targets(chunks: list[Story], encodings: Encodings, tokenizer: StoryTokenizer) -> Telling:
    """Hand chunks to stage 2's own task."""
    digests = [key for one in chunks for key in one.image_sha256]
    split = Split(chunks, StorySet(chunks, StoredPictures(), {}), digests, encodings, weights=None)
    return Telling(split, tokenizer, is_all_targets=True)


def fill_store(root: Path, pictures: Path, keys: Sequence[str], encoder: ImageEncoder, config: RunConfig) -> Store:
    """Encode each picture once; what was stored is then read from the files at each access."""
    maker = image_encoder_maker(config.model, "random", config.train.features.dtype)
    store, square = open_store(root, maker, held_bytes=0), encoder_square(config.model.image_encoder)
    store.make(
        keys,
        lambda key: decode_square((pictures / f"{key}.jpg").read_bytes(), square),
        encode_features(encoder),
        batch_size=32,
        desc="encode each picture once",
    )
    return store


# --------------------------------------------------------------------------------------------------- measure


@dataclass(frozen=True)
class Turn:
    """One optimizer step."""

    seconds: float
    """Processor time; on a GPU the clock's."""
    clock_s: float
    loading_s: float
    """Of `seconds`, those that laid the batch out."""
    targets: int
    tokens: int
    padding: int
    pictures: int
    """Pictures that the sequences show."""

    @property
    def computing_s(self) -> float:
        """Seconds without the loader's."""
        return self.seconds - self.loading_s


class Side:
    """One way to train: its task and its copy of the networks."""

    def __init__(self, task: Task, network: nn.Module, mllm: Mllm, config: RunConfig, device: torch.device) -> None:
        """Set an engine up."""
        self.task, self.config, self.device = task, config, device
        stage, trained = config.train.stage2, dict(trainable(mllm))
        processes = Processes(device)
        self.engine: Engine = start_engine(network, trained, config=stage, launch=LaunchConfig(), processes=processes)

    def draws(self, index: int) -> list[Draw]:
        """Draw a step's chunks; the same ones on either side."""
        rows = rows_of_step(self.task.num_samples, self.config.train.stage2.batch_size, seed=0, step=index)
        return draws_of(rows, seed=0, step=index)

    def step(self, index: int) -> Turn:
        """Run a step."""
        gc.collect()
        clocked, begun = time.perf_counter(), self._now()
        batch = self.task.batch(self.draws(index))
        laid_out = self._now()
        self._backward(batch.to(self.device))
        self.engine.step(self.config.train.stage2.optimizer.learning_rate)
        seconds = self._now() - begun
        return Turn(
            seconds,
            time.perf_counter() - clocked,
            laid_out - begun,
            targets=batch.counts["feature"],
            tokens=batch.num_tokens,
            padding=batch.num_padding,
            pictures=len(batch.features_are_target_N),
        )

    def flops_per_target(self, index: int) -> float:
        """Count a step's matrix products, a few samples at once for the sake of memory."""
        draws, flops, targets = self.draws(index), 0, 0
        for first in range(0, len(draws), COUNTED_AT_ONCE):
            batch = self.task.batch(draws[first : first + COUNTED_AT_ONCE])
            with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
                self._backward(batch.to(self.device))
            self.engine.drop_gradients()
            flops, targets = flops + counter.get_total_flops(), targets + batch.counts["feature"]
        return flops / targets

    def _backward(self, batch: object) -> None:
        losses = self.task.losses(self.engine.network, batch)
        self.engine.backward(torch.stack(list(losses.values())).sum())

    def _now(self) -> float:
        if self.device.type != "cuda":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


def compare(config: RunConfig, given: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Train by turns and give what came out."""
    device, size = torch.device(given.device), config.model.mllm.num_image_tokens
    tokenizer = StoryTokenizer(train_tokenizer([" ".join(WORDS)], vocab_size=400, num_image_tokens=size), size)
    chunks = drawn_chunks(folder, given.chunks, given.words)
    longest = max(len(training_sample(tokenizer, list(one.captions), PAIRS - 1).input_ids) for one in chunks)
    maximum = -(-longest * PUBLISHED_MAXIMUM // PUBLISHED_LONGEST)
    torch.manual_seed(0)
    encoder = build_image_encoder(config.model.image_encoder).eval().requires_grad_(False).to(device)
    mllm = build_mllm(config.model, build_llama(config.model, tokenizer)).train()
    keys = [key for one in chunks for key in one.image_sha256]
    begun = time.process_time()
    store = fill_store(folder / "store", folder, keys, encoder, config)
    encoding_s = (time.process_time() - begun) / len(keys)
    square = encoder_square(config.model.image_encoder)
    theirs = PublishedPass(copy.deepcopy(mllm), encoder)
    ours_task = task_of_all_targets(chunks, StoredEncodings({"image_encoder": store}), tokenizer)
    theirs_task = PublishedTelling(chunks, folder, square, tokenizer, maximum)
    sides = {
        "ours": Side(ours_task, mllm, mllm, config, device),
        "published": Side(theirs_task, theirs, theirs.mllm, config, device),
    }
    flops = {name: side.flops_per_target(0) for name, side in sides.items()}
    turns: dict[str, list[Turn]] = {name: [] for name in sides}
    for index in range(given.rounds + 1):
        for name, side in sides.items():
            turns[name].append(side.step(index))
    measured = {name: taken[1:] for name, taken in turns.items()}  # the first step is the libraries' first call
    print(f"longest sample {longest} tokens, published maximum length {maximum}, load {os.getloadavg()[0]:.1f}")
    table(measured, flops)
    found = ratios(measured, encoding_s, flops)
    found |= {"encodes_per_image": len(store) / len(keys), "maximum_length": maximum, "longest_sample": longest}
    return found | {"batch": config.train.stage2.batch_size, "image_tokens": size, "words": given.words}


def ratios(turns: dict[str, list[Turn]], encoding_s: float, flops: dict[str, float]) -> dict[str, float]:
    """Compare the sides, turn by turn."""
    pairs = list(zip(turns["ours"], turns["published"], strict=True))

    def rate(seconds: float, turn: Turn) -> float:
        return turn.targets / seconds

    whole = [rate(our.seconds, our) / rate(their.seconds, their) for our, their in pairs]
    computed = [rate(our.computing_s, our) / rate(their.computing_s, their) for our, their in pairs]
    clocked = [rate(our.clock_s, our) / rate(their.clock_s, their) for our, their in pairs]
    first = [rate(our.seconds + encoding_s * our.pictures, our) / rate(their.seconds, their) for our, their in pairs]
    return {
        "targets_per_second_ratio": statistics.median(whole),
        "lowest": min(whole),
        "highest": max(whole),
        "targets_per_second_ratio_by_the_clock": statistics.median(clocked),
        "targets_per_second_ratio_loaders_free": statistics.median(computed),
        "targets_per_second_ratio_first_epoch": statistics.median(first),
        "flops_per_target_ratio": flops["ours"] / flops["published"],
        "published_encodes_per_target": statistics.mean(turn.pictures / turn.targets for _, turn in pairs),
        "padding_share": statistics.mean(turn.padding / turn.tokens for turn, _ in pairs),
        "published_padding_share": statistics.mean(turn.padding / turn.tokens for _, turn in pairs),
    }


def table(turns: dict[str, list[Turn]], flops: dict[str, float]) -> None:
    """Print medians, a side a row."""
    heads = ["side", "seconds", "by the clock", "loading", "GFLOP", "targets", "tokens", "padding", "targets/s"]
    print("  ".join(head.rjust(12) for head in heads))
    for name, taken in turns.items():
        one = {field.name: statistics.median(getattr(turn, field.name) for turn in taken) for field in fields(Turn)}
        work = flops[name] * one["targets"] / 1e9
        row = [f"{one['seconds']:.2f}", f"{one['clock_s']:.2f}", f"{one['loading_s']:.2f}", f"{work:.1f}"]
        row += [f"{one['targets']:.0f}", f"{one['tokens']:.0f}", f"{one['padding']:.0f}"]
        row += [f"{one['targets'] / one['seconds']:.1f}"]
        print("  ".join(cell.rjust(12) for cell in (name, *row)))


# --------------------------------------------------------------------------------------------- published size


@dataclass(frozen=True)
class NoiseEncodings:
    """Features of random numbers; a pass costs what it costs."""

    shape: tuple[int, int]

    def features(self, digests: Sequence[str]) -> Tensor:
        """Give some."""
        return torch.randn(len(digests), *self.shape)

    def latents(self, digests: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Give none: stage 2 paints nothing."""
        raise NotImplementedError


def random_weights(config: RunConfig, device: torch.device) -> Mllm:
    """Build the language model on its device: bfloat16, but for what is trained."""
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            mllm = build_mllm(config.model, build_llama(config.model, llama2_vocabulary(config.model.mllm)))
    finally:
        torch.set_default_dtype(default)
    for _, parameter in trainable(mllm):
        parameter.data = parameter.data.float()
    return mllm.train()


def steps_of_random_weights(config: RunConfig, given: argparse.Namespace) -> dict[str, float | str]:
    """Time optimizer steps at the configured size; `batch_size` chunks at once, features at hand."""
    device, size = torch.device(given.device), config.model.mllm.num_image_tokens
    tokenizer = StoryTokenizer(train_tokenizer([" ".join(WORDS)], vocab_size=400, num_image_tokens=size), size)
    chunks = [chunk(range(first, first + PAIRS), given.words) for first in range(0, given.chunks * PAIRS, PAIRS)]
    encoder = config.model.image_encoder
    noise = NoiseEncodings((encoder.num_queries, encoder.output_dim))
    mllm = random_weights(config, device)
    side = Side(task_of_all_targets(chunks, noise, tokenizer), mllm, mllm, config, device)
    turns = [side.step(index) for index in range(given.rounds + 1)][1:]
    seconds = statistics.median(turn.computing_s for turn in turns)
    tokens, targets = (statistics.median(getattr(turn, name) for turn in turns) for name in ("tokens", "targets"))
    flops = stage_flops_per_sample(config, "stage2", caption_tokens=given.words) * config.train.stage2.batch_size
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    found = {"seconds": seconds, "tokens_per_second": tokens / seconds, "targets_per_second": targets / seconds}
    found |= {"model_tflops_per_s": flops / seconds / 1e12, "batch": config.train.stage2.batch_size}
    peak = peak_flops(name, "bfloat16")
    if peak is not None:
        found["model_flops_utilisation"] = flops / seconds / peak
    if device.type == "cuda":
        found["peak_memory_gb"] = torch.cuda.max_memory_allocated(device) / 2**30
    return found | {"device": name}


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--set", dest="overrides", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--image-tokens", type=int, default=64, help="tokens of a picture (default: the published 64; tiny's own are 9)"
    )
    parser.add_argument("--words", type=int, default=14, help="words of a caption (default: tiny's; published 45)")
    parser.add_argument("--chunks", type=int, default=32, help="chunks that there are")
    parser.add_argument("--rounds", type=int, default=5, help="steps of either side that are timed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--random-7b", action="store_true", help="on a GPU: steps of the published size, two chunks at once"
    )
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(given.threads)
    found: dict[str, float] | dict[str, float | str]
    if given.random_7b:
        if not torch.cuda.is_available() or not given.device.startswith("cuda"):
            parser.error("--random-7b takes a GPU and --device cuda: its weights alone are 13.5 GB")
        sizes = ["train.stage2.precision=bfloat16", "train.stage2.batch_size=2"]
        found = steps_of_random_weights(load_config("seed-story-7b", [*sizes, *given.overrides]), given)
    else:
        overrides = [f"model.mllm.num_image_tokens={given.image_tokens}", *given.overrides]
        with tempfile.TemporaryDirectory() as folder:
            found = compare(load_config(given.preset, overrides), given, Path(folder))
    print(json.dumps({name: round(one, 3) if isinstance(one, float) else one for name, one in found.items()}))


if __name__ == "__main__":
    main()
