"""Training samples from the feature store against training samples from picture files, as SEED-Story is trained.

Published: a line of JSONL names the 10 picture files of a chunk; each is opened, decoded, made a square of 448 and
normalised, whatever part of the chunk the sample is (and, for the stages that paint, made a square of 1,024 too), the
text is tokenised, and two worker processes hand the batch over. What is handed over are pixels: the frozen networks
still have to see them, at every step anew, which is not counted here.

Ours: a chunk of 10 is tokenised whole and the features of its 10 pictures (bfloat16, 256 x 4,096) are read where they
lie in the store's files, nothing held in memory; for the stages that paint, their latents (float16, 4 x 128 x 128) and
size numbers too. Two threads do so. What is handed over is what the trained networks take.

Both sides' files lie in the operating system's cache, warmed by a pass that is not timed: whether a disk keeps up is
not measured. Pictures are drawn shapes under noise, JPEG of quality 90. The sides alternate, and the speedup is the
median over the rounds of ours by theirs, in samples a second; a busy neighbour falls on both, though not evenly, so the
processor time of a sample is compared too (the published one's without its worker processes, which cost more). Square
sources of 448 or 1,024 pixels need no scaling, which favours the published side; it is trained on 854 x 480.

Run it in the project's folder: `python -m benchmarks.loader`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file, too

import argparse
import json
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from story_model.config import load_config
from story_model.image_encoder import MEAN, STD
from story_model.tokens import StoryTokenizer, train_tokenizer, training_sample
from training.ahead import ahead
from training.features import Store, open_store
from training.makers import FEATURES, LATENTS, SIZE_IDS, autoencoder_maker, image_encoder_maker

PAIRS, SEEN, PAINTED, QUALITY = 10, 448, 1024, 90
MAX_LENGTH = 1280
SOURCES = {"448": (448, 448), "1024": (1024, 1024), "854x480": (854, 480)}
SENTENCE = "Pip the fox waves to a friend in the meadow while Luna the owl sleeps in the city late at night"
STAGES = {"448": [False], "1024": [True], "854x480": [False, True]}
"""Which stages are fed from which sources: those that paint, or the language model's."""
WORDS = SENTENCE.split()
CAPTION_WORDS = 40


def draw(number: int, size: tuple[int, int]) -> Image.Image:
    """Draw shapes under noise."""
    numbers = np.random.default_rng(number)
    image = Image.new("RGB", size, tuple(int(one) for one in numbers.integers(0, 256, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(20):
        (left, right), (top, bottom) = (sorted(int(one) for one in numbers.integers(0, side, 2)) for side in size)
        pen.ellipse((left, top, right, bottom), fill=tuple(int(one) for one in numbers.integers(0, 256, 3)))
    noise = numbers.normal(0, 6, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def caption(number: int) -> str:
    """Write a caption of the usual length."""
    return " ".join(random.Random(number).choices(WORDS, k=CAPTION_WORDS))


def write_published(folder: Path, size: tuple[int, int], stories: int) -> Path:
    """Write picture files and the JSONL that names them."""
    folder.mkdir()
    lines = []
    for story in range(stories):
        names = [f"{number:06d}.jpg" for number in range(story * PAIRS, (story + 1) * PAIRS)]
        for name in names:
            draw(int(name[:6]), size).save(folder / name, quality=QUALITY)
        captions = [caption(story * PAIRS + index) for index in range(PAIRS)]
        lines.append(json.dumps({"id": story, "images": names, "captions": captions}))
    path = folder / "train.jsonl"
    path.write_text("\n".join(lines))
    return path


# ------------------------------------------------------------------------------------------------- published


class PublishedSamples(IterableDataset):
    """Stories from JSONL and picture files, without an end; each worker reads its share of the lines."""

    def __init__(self, path: Path, tokenizer: StoryTokenizer, *, paints: bool) -> None:
        self.path, self.tokenizer, self.paints = path, tokenizer, paints

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        lines = self.path.read_text().splitlines()[first::step]
        numbers = random.Random(first)
        for line in cycle(lines):
            yield self.sample(json.loads(line), numbers)

    def sample(self, story: dict, numbers: random.Random) -> dict[str, Tensor]:
        """Decode all pictures; keep those up to the pair that is to be predicted."""
        target = numbers.randint(1, len(story["images"]) - 1)
        seen, painted = [], []
        for name in story["images"]:
            with Image.open(self.path.parent / name) as file:
                image = file.convert("RGB")
            seen.append(normalise(image.resize((SEEN, SEEN), Image.Resampling.BILINEAR), MEAN, STD))
            if self.paints:
                painted.append(normalise(crop(image, PAINTED), (0.5,) * 3, (0.5,) * 3))
        found = text_tensors(self.tokenizer, story["captions"], target) | {"seen": torch.stack(seen)[: target + 1]}
        return found | ({"painted": torch.stack(painted)[: target + 1]} if self.paints else {})


def normalise(image: Image.Image, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Turn a picture into float32 (3, H, W)."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
    return pixels.sub_(torch.tensor(mean)[:, None, None]).div_(torch.tensor(std)[:, None, None])


def crop(image: Image.Image, side: int) -> Image.Image:
    """Scale the shorter side and cut the middle out."""
    scale = side / min(image.size)
    width, height = (max(side, round(length * scale)) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    scaled = image.resize((width, height), Image.Resampling.BICUBIC)
    return scaled.crop((left, top, left + side, top + side))


def text_tensors(tokenizer: StoryTokenizer, captions: list[str], target: int) -> dict[str, Tensor]:
    """Tokenise a sample and fill it up to the published length; it never is longer here."""
    sample = training_sample(tokenizer, captions, target)
    rows = {"input_ids": sample.input_ids, "labels": sample.labels, "targets": sample.target_positions}
    return {name: torch.tensor([*row, *[0] * (MAX_LENGTH - len(row))]) for name, row in rows.items()}


def collate(samples: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Join samples: text row by row, pictures one after the other."""
    join: dict[str, Callable] = {"seen": torch.cat, "painted": torch.cat}
    return {name: join.get(name, torch.stack)([sample[name] for sample in samples]) for name in samples[0]}


def published_batches(
    path: Path, tokenizer: StoryTokenizer, *, paints: bool, batch: int, workers: int = 2
) -> Iterator[dict[str, Tensor]]:
    """Give batches from worker processes, or from this one."""
    samples = PublishedSamples(path, tokenizer, paints=paints)
    return iter(DataLoader(samples, batch_size=batch, num_workers=workers, collate_fn=collate))


# ------------------------------------------------------------------------------------------------------ ours


def fill(root: Path, pictures: int) -> tuple[Store, Store]:
    """Make the stores of features and latents at the published shapes, of noise in place of networks."""
    model = load_config("seed-story-7b").model
    stores = []
    for maker in (image_encoder_maker(model, "noise", "bfloat16"), autoencoder_maker(model, "noise")):
        noise = {name: torch.randn(info.shape) for name, info in maker.fields.items()}
        store = open_store(root, maker, held_bytes=0)
        store.make(
            [str(number) for number in range(pictures)],
            int,
            lambda numbers, noise=noise: {
                name: torch.stack([one + number for number in numbers]) for name, one in noise.items()
            },
            batch_size=16,
            desc=maker.name,
        )
        stores.append(store)
    features, latents = stores
    return features, latents


def our_batches(
    stories: Sequence[Sequence[str]],
    stores: tuple[Store, Store],
    tokenizer: StoryTokenizer,
    *,
    paints: bool,
    batch: int,
) -> Iterator[dict[str, Tensor]]:
    """Give batches from two threads; `stories` are captions, the pictures' keys are numbers."""
    features, latents = stores

    def read(numbers: Sequence[int]) -> dict[str, Tensor]:
        text = [text_tensors(tokenizer, list(stories[number]), PAIRS - 1) for number in numbers]
        keys = [str(number * PAIRS + index) for number in numbers for index in range(PAIRS)]
        found = {name: torch.stack([one[name] for one in text]) for name in text[0]}
        found |= {FEATURES: features.rows(keys, FEATURES, dtype=torch.bfloat16)}
        if paints:
            found |= {LATENTS: latents.rows(keys, LATENTS, dtype=torch.float16), SIZE_IDS: latents.rows(keys, SIZE_IDS)}
        return found

    order = cycle(random.Random(0).sample(range(len(stories)), len(stories)))
    return ahead(read, iter(lambda: list(islice(order, batch)), []), depth=4, threads=2)


# --------------------------------------------------------------------------------------------------- measure


def rate(batches: Iterator[dict[str, Tensor]], *, batch: int, warm: int, timed: int) -> float:
    """Give samples a second, once the pipe is full."""
    for _ in islice(batches, warm):
        pass
    started = time.perf_counter()
    for _ in islice(batches, timed):
        pass
    return batch * timed / (time.perf_counter() - started)


def processor_ms(batches: Iterator[dict[str, Tensor]], *, batch: int, timed: int) -> float:
    """Give milliseconds of this process's processor time a sample."""
    next(batches)
    started = time.process_time()
    for _ in islice(batches, timed):
        pass
    return 1000 * (time.process_time() - started) / (batch * timed)


def compare(
    path: Path,
    captions: Sequence[Sequence[str]],
    stores: tuple[Store, Store],
    tokenizer: StoryTokenizer,
    given: argparse.Namespace,
    *,
    paints: bool,
) -> dict[str, float]:
    """Compare the two sides at one kind of source and stage."""
    ours, theirs, our_ms, their_ms = [], [], [], []
    size = {"paints": paints, "batch": given.batch}
    epoch = -(-len(captions) // given.batch)
    for _ in range(given.rounds):
        batches = published_batches(path, tokenizer, **size)
        theirs.append(rate(batches, batch=given.batch, warm=4, timed=given.batches))
        del batches
        batches = our_batches(captions, stores, tokenizer, **size)
        ours.append(rate(batches, batch=given.batch, warm=epoch, timed=5 * given.batches))
        our_ms.append(processor_ms(batches, batch=given.batch, timed=5 * given.batches))
        del batches
        alone = published_batches(path, tokenizer, workers=0, **size)
        their_ms.append(processor_ms(alone, batch=given.batch, timed=given.batches))
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    found = {
        "speedup": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "ours_samples_per_s": statistics.median(ours),
        "published_samples_per_s": statistics.median(theirs),
        "processor_ratio": statistics.median(their / our for our, their in zip(our_ms, their_ms, strict=True)),
        "ours_processor_ms": statistics.median(our_ms),
        "published_processor_ms": statistics.median(their_ms),
    }
    return {name: round(value, 2) for name, value in found.items()}


def main() -> None:
    """Measure, telling people how it goes and the last line's reader what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"stories": 24, "batch": 4, "batches": 6, "rounds": 5}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    captions = [[caption(story * PAIRS + index) for index in range(PAIRS)] for story in range(given.stories)]
    tokenizer = StoryTokenizer(train_tokenizer([SENTENCE], vocab_size=400, num_image_tokens=64), num_image_tokens=64)
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        stores = fill(Path(folder) / "store", given.stories * PAIRS)
        for name, size in SOURCES.items():
            path = write_published(Path(folder) / name, size, given.stories)
            for paints in STAGES[name]:
                one = compare(path, captions, stores, tokenizer, given, paints=paints)
                label = f"{name}_paints" if paints and len(STAGES[name]) > 1 else name
                before, after = one["published_samples_per_s"], one["ours_samples_per_s"]
                print(f"{label}: {before} -> {after} samples/s, x{one['speedup']}; processor x{one['processor_ratio']}")
                found |= {f"speedup_{label}": one.pop("speedup"), label: one}
    print(json.dumps(found | {name: getattr(given, name) for name in sizes} | {"torch": torch.__version__}))


if __name__ == "__main__":
    main()
