"""Tell one story: `python -m story_model.generate RUN_DIR OUT_DIR --image PICTURE --text SENTENCE`.

Or go on otherwise in the middle of one: `--continue STORY_DIR --at K --text SENTENCE` keeps the pairs before K, with
their pictures as the model imagined them, and gives pair K another text. What the user gave is checked here, before any
network is loaded; `single_story.py` tells.
"""

import argparse
import hashlib
import io
import logging
import math
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
import yaml
from PIL import Image, ImageOps

from story_model.config import ModelConfig, RunConfig, Settings, read_config
from story_model.device import chosen_device
from story_model.manifest import digest_of
from story_model.parts import Networks, load_networks, load_tokenizer, tokenizer_path, weights_path
from story_model.single_story import tell_into
from story_model.story_folder import KeptPair, StoryFolder, StorySettings, digest_of_pairs
from story_model.tell_config import Policy
from story_model.tokens import (
    BEGIN_OF_IMAGE,
    BEGIN_OF_STORY,
    END_OF_IMAGE,
    END_OF_STORY,
    PAD,
    SEPARATOR,
    UNKNOWN,
    StoryTokenizer,
)
from story_model.workspace import Part, RunFolder

log = logging.getLogger(__name__)

_SEGMENTS = 25
_MOST_SEGMENTS = 1000
_FORMATS = ["JPEG", "PNG", "WEBP"]
_SIDES = 16, 10_000
"""Pixels of the shorter and of the longer side, at least and at most."""
_MOST_PIXELS = 50_000_000
_MOST_BYTES = 200_000_000
_LONGEST_RATIO = 8
"""Of the sides; a square of a longer stripe shows nothing, and its crop would first be scaled to gigabytes."""
_MARKS = (BEGIN_OF_STORY, END_OF_STORY, PAD, UNKNOWN, BEGIN_OF_IMAGE, END_OF_IMAGE, SEPARATOR)
_PARTS: tuple[Part, ...] = ("tokenizer", "image_encoder", "autoencoder", "stage2", "stage3")


@dataclass(frozen=True)
class Picture:
    """An opening picture as it was given."""

    encoded: bytes
    """PNG, upright, on white where it was transparent."""
    size: tuple[int, int]
    """Width and height."""
    sha256: str
    """Of the file that was given."""


@dataclass(frozen=True)
class Beginning:
    """What a story goes on from; the names are those of `StorySettings`."""

    story_id: str
    image: str
    image_size: tuple[int, int]
    text: str
    kept: int
    start: bytes | list[KeptPair]
    """An encoded picture, or the kept pairs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Tell the story that the command line asks for; 1 means that something in it has to be mended."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # for who calls it, not for us
    try:
        tell(args)
    except KeyboardInterrupt:
        log.info("stopped; the same command goes on from here")
        return 130
    except torch.OutOfMemoryError as error:
        return _refuse(f"out of memory ({error}); the same command goes on from here")
    except (ValueError, OSError) as error:
        return _refuse(str(error))
    log.info("told: %s", StoryFolder(args.out_dir).strip_path)
    return 0


def tell(args: argparse.Namespace) -> None:
    """Check what was given, and tell.

    Raises:
        ValueError: something is missing or wrong; the message says what.
    """
    _check_numbers(args)
    run = RunFolder(args.run_dir.resolve())
    config = _read_run(run)
    tokenizer = load_tokenizer(run, config.model)
    budget = args.max_text_tokens or config.tell.max_text_tokens
    longest = config.model.mllm.language_model.max_positions
    if budget > longest:
        raise ValueError(f"--max-text-tokens {budget} is more than the language model was made for ({longest})")
    text = checked_text(args.text, tokenizer, budget, "--text")
    captions = read_captions(args.captions, tokenizer, budget) if args.captions else []
    folder = StoryFolder(args.out_dir.resolve())
    given: list[str | None] = [*captions]
    if args.source is None:
        beginning = _from_picture(args.image, text)
    else:
        beginning = _from_story(StoryFolder(args.source.resolve()), args.at, run, config.model)
        given.insert(0, text)
    settings = StorySettings(
        story_id=beginning.story_id,
        is_branch=args.source is not None,
        image=beginning.image,
        image_size=beginning.image_size,
        text=beginning.text,
        kept=beginning.kept,
        texts=_texts(given, args.segments or (len(given) if captions else _SEGMENTS)),
        policy=args.policy,
        temperature=args.temperature,
        seed=args.seed,
        max_text_tokens=budget,
        cache=config.tell.cache,
        precision=config.tell.precision,
        sampler=config.tell.sampler,
        model=config.model,
        parts={part: digest_of(run.part_dir(part)) for part in _PARTS},
    )
    folder = StoryFolder(args.out_dir.resolve())
    tell_into(folder, settings, beginning.start, lambda: _load(run, config))


def read_picture(path: Path) -> Picture:
    """Read the opening picture.

    Raises:
        ValueError: it is not there, no picture, or of a size that no story can open with.
    """
    if not path.is_file():
        raise ValueError(f"no picture at {path}")
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} is larger than {_MOST_BYTES // 1_000_000} MB; give a smaller picture")
    found = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound is stricter
            with Image.open(io.BytesIO(found), formats=_FORMATS) as image:
                problem = _problem_of_size(*image.size)
                upright = None if problem else _on_white(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError:
        problem, upright = f"more than {_MOST_PIXELS // 1_000_000} million pixels", None
    except (OSError, SyntaxError, ValueError) as error:
        detail = "" if isinstance(error, Image.UnidentifiedImageError) else f" ({error})"
        raise ValueError(f"{path} is no JPEG, PNG or WebP picture that can be read{detail}") from None
    if upright is None:
        raise ValueError(f"{path} cannot open a story: {problem}")
    buffer = io.BytesIO()
    upright.save(buffer, format="PNG", compress_level=1)
    return Picture(buffer.getvalue(), upright.size, hashlib.sha256(found).hexdigest())


def read_captions(path: Path, tokenizer: StoryTokenizer, budget: int) -> list[str | None]:
    """Read texts, one a line; where a line is empty the model shall write (empty ones at the end are dropped).

    Raises:
        ValueError: the file or a line of it cannot be used.
    """
    if not path.is_file():
        raise ValueError(f"no captions at {path}")
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if not any(lines):
        raise ValueError(f"{path} holds no captions; write one a line")
    return [
        checked_text(line, tokenizer, budget, f"{path}, line {number}") if line.strip() else None
        for number, line in enumerate(lines, start=1)
    ]


def checked_text(text: str, tokenizer: StoryTokenizer, budget: int, what: str) -> str:
    """Give a text with its white space evened out, if it is one that a pair may have.

    Raises:
        ValueError: it is empty, too long, not Unicode, or holds a mark of the story's layout.
    """
    words = " ".join(text.split())
    if not words:
        raise ValueError(f"{what} is empty; give a sentence")
    if any("\ud800" <= letter <= "\udfff" for letter in words):
        raise ValueError(f"{what} is not UTF-8 text")
    mark = next((mark for mark in _MARKS if mark in words), None) or re.search(r"<img_\d+>", words)
    if mark:
        raise ValueError(f"{what} holds {mark if isinstance(mark, str) else mark[0]}, which marks a story's layout")
    count = len(tokenizer.encode(words))
    if count > budget:
        raise ValueError(f"{what} has {count} tokens of {budget}; shorten it or raise --max-text-tokens")
    return words


def _load(run: RunFolder, config: RunConfig) -> Networks:
    torch.set_num_threads(config.train.threads)
    device = chosen_device(Settings().device)
    log.info("loading the networks of %s, to tell on %s in %s", run.root, device, config.tell.precision)
    return load_networks(run, config, device)


def _from_picture(path: Path, text: str) -> Beginning:
    """Begin a story; its name is its picture's, so that another text is told with the same noise."""
    picture = read_picture(path)
    story_id = f"picture-{picture.sha256[:12]}"
    return Beginning(story_id, picture.sha256, picture.size, text, 1, picture.encoded)


def _from_story(source: StoryFolder, at: int, run: RunFolder, model: ModelConfig) -> Beginning:
    """Begin a branch of a told story.

    Raises:
        ValueError: what it keeps is not there, or its features are of another image encoder.
    """
    told = source.settings()
    if told is None:
        raise ValueError(f"{source.root} holds no story that was told by this command")
    pairs = source.pairs(at)
    if told.parts["image_encoder"] != digest_of(run.part_dir("image_encoder")):
        raise ValueError(f"{source.root} was told with another image encoder than that of {run.root}")
    shape = (model.image_encoder.num_queries, model.image_encoder.output_dim)
    wrong = next((pair for pair in pairs if tuple(pair.features.shape) != shape), None)
    if wrong is not None:
        raise ValueError(f"{source.features_path(wrong.segment.index)} is not of shape {shape}")
    return Beginning(told.story_id, digest_of_pairs(pairs), told.image_size, pairs[0].segment.text, at, pairs)


def _read_run(run: RunFolder) -> RunConfig:
    if not run.config_path.is_file():
        raise ValueError(f"{run.root} holds no config.yaml; is it a run's folder?")
    try:
        config = read_config(run.config_path)
    except yaml.YAMLError:
        raise ValueError(f"{run.config_path} is not YAML") from None
    for part in _PARTS:
        path = tokenizer_path(run) if part == "tokenizer" else weights_path(run, part)
        if not path.is_file():
            raise ValueError(f"{run.root} has no {part} ({path.relative_to(run.root)}); train or convert it first")
    return config


def _problem_of_size(width: int, height: int) -> str | None:
    shortest, longest = sorted((width, height))
    if shortest < _SIDES[0]:
        return f"it is {width} x {height} pixels; give one of at least {_SIDES[0]} a side"
    if longest > _SIDES[1] or width * height > _MOST_PIXELS:
        most = f"{_SIDES[1]:,} pixels a side and {_MOST_PIXELS // 1_000_000} million in all"
        return f"it is {width} x {height} pixels; give one of at most {most}"
    if longest > _LONGEST_RATIO * shortest:
        return f"it is {width} x {height} pixels; one side may be {_LONGEST_RATIO} times the other at most"
    return None


def _on_white(image: Image.Image) -> Image.Image:
    """Give a picture without transparency: what lies under it, mostly black, was never meant to be seen."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    whole = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")


def _texts(given: Sequence[str | None], segments: int) -> tuple[str | None, ...]:
    """List the texts of the pairs to be told; what is not given the model writes."""
    if len(given) > segments:
        raise ValueError(f"{len(given)} texts are given for {segments} pairs; raise --segments or give fewer")
    return (*given, *[None] * (segments - len(given)))


def _check_numbers(args: argparse.Namespace) -> None:
    if (args.source is None) == (args.image is None):
        raise ValueError("give either --image PICTURE, or --continue STORY_DIR with --at K")
    if (args.source is None) != (args.at is None):
        raise ValueError("--continue STORY_DIR and --at K go together")
    if args.segments is not None and not 1 <= args.segments <= _MOST_SEGMENTS:
        raise ValueError(f"--segments {args.segments} is not in 1..{_MOST_SEGMENTS}")
    if args.max_text_tokens is not None and args.max_text_tokens < 1:
        raise ValueError(f"--max-text-tokens {args.max_text_tokens} is less than 1")
    if not (math.isfinite(args.temperature) and args.temperature >= 0):
        raise ValueError(f"--temperature {args.temperature} is not a number from 0 on")


def _refuse(message: str) -> int:
    log.error("error: %s", " ".join(message.split()))
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m story_model.generate",
        description="Tell one story from a picture and a sentence, or go on otherwise in a told one.",
        epilog="Stopped, the same command goes on where it was. strip.html in OUT_DIR shows the story, also meanwhile.",
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of a run with trained networks")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="folder of this one story")
    parser.add_argument("--image", type=Path, metavar="PICTURE", help="the opening picture: JPEG, PNG or WebP")
    parser.add_argument(
        "--text", required=True, metavar="SENTENCE", help="the opening's text; with --continue, that of pair K"
    )
    parser.add_argument("--segments", type=int, metavar="N", help=f"pairs to tell (default {_SEGMENTS}, or the texts)")
    parser.add_argument(
        "--captions", type=Path, metavar="FILE", help="texts of the next pairs, one a line; empty: the model writes"
    )
    parser.add_argument("--policy", choices=get_args(Policy), default="multimodal_sink", help="what is remembered")
    parser.add_argument("--temperature", type=float, default=0.0, help="of the words; 0 takes the likeliest")
    parser.add_argument("--seed", type=int, default=0, help="of words and pictures")
    parser.add_argument("--max-text-tokens", type=int, metavar="N", help="longest text (default: the run's setting)")
    parser.add_argument("--continue", dest="source", type=Path, metavar="STORY_DIR", help="a told story to branch off")
    parser.add_argument(
        "--at",
        type=int,
        metavar="K",
        help="the pair that gets the new text; those before it are kept (0 is the opening)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
