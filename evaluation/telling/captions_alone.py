"""The baseline's stories: texts as another system has them, each picture painted from its own caption alone.

Nothing is remembered from picture to picture, so that what a story model is better at is what it remembers. Openings
and texts, and the noise that a picture starts from, are those of the system whose texts are taken.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from tqdm import tqdm

from evaluation.systems import CAPTIONS_ALONE
from evaluation.telling.storyteller import save_png
from story_model.captions_diffusion import TextEncoder
from story_model.config import RunConfig, Settings
from story_model.device import chosen_device, dtype_of
from story_model.manifest import StepResult, write_atomically
from story_model.painting import Painter
from story_model.parts import load_caption_encoder, load_captions_painter
from story_model.pixels import unsigned, unsquashed
from story_model.schema import Segment, ToldStory
from story_model.seeds import seed_of
from story_model.workspace import RunFolder, contained

_STRETCHED = "00-stretched.png"


class _Picture(NamedTuple):
    """A picture that is to be painted."""

    path: Path
    caption: str
    seed: int
    stretched_size: tuple[int, int] | None
    """Of the picture in its source's shape, where that is asked for."""


class Illustrator:
    """The baseline's networks."""

    def __init__(self, painter: Painter, encoder: TextEncoder, *, seed: int) -> None:
        """Take the parts."""
        self._painter = painter
        self._encoder = encoder
        self._seed = seed

    def illustrate(self, texts_dir: Path, out_dir: Path) -> StepResult:
        """Paint all stories of a folder anew; batches that a killed attempt finished are not painted again.

        Raises:
            ValueError: the folder holds no told story.
        """
        paths = sorted(texts_dir.glob("*/story.json"))
        if not paths:
            raise ValueError(f"{texts_dir} holds no told story; tell stories first")
        stories = {path.parent.name: ToldStory.model_validate_json(path.read_bytes()) for path in paths}
        pictures = [
            picture for name, story in stories.items() for picture in self._pictures(texts_dir, out_dir, name, story)
        ]
        size = self._painter.settings.batch_size
        with tqdm(total=len(pictures), desc=f"paint {out_dir.name}", unit="picture", mininterval=2) as bar:
            for first in range(0, len(pictures), size):
                batch = pictures[first : first + size]
                self._paint(batch)
                bar.update(len(batch))
        for name, story in stories.items():
            _write(story, contained(texts_dir, name), contained(out_dir, name))
        segments = sum(len(story.segments) - 1 for story in stories.values())
        return StepResult(counts={"stories": len(stories), "segments": segments, "pictures": len(pictures)})

    def _pictures(self, texts_dir: Path, out_dir: Path, name: str, story: ToldStory) -> list[_Picture]:
        stretched = texts_dir / name / _STRETCHED
        size = _size(stretched) if stretched.is_file() else None
        return [
            _Picture(
                contained(out_dir / name, segment.image),
                segment.text,
                seed_of(self._seed, story.story_id, segment.index, "picture"),
                size,
            )
            for segment in story.segments[1:]
            if segment.image is not None
        ]

    def _paint(self, batch: Sequence[_Picture]) -> None:
        if all(picture.path.is_file() for picture in batch):
            return
        states = self._encoder([picture.caption for picture in batch])
        squares = self._painter.paint_batch(states, [picture.seed for picture in batch])
        for picture, square in zip(batch, unsigned(squares), strict=True):
            if picture.stretched_size is not None:
                beside = picture.path.with_name(f"{picture.path.stem}-stretched.png")
                save_png(unsquashed(square, picture.stretched_size), beside)
            save_png(square, picture.path)


def load_illustrator(run: RunFolder, config: RunConfig) -> Illustrator:
    """Load the baseline as it was trained, in the precision that is configured for telling.

    Raises:
        ValueError: a part is missing or does not fit.
    """
    torch.set_num_threads(config.train.threads)
    device, dtype = chosen_device(Settings().device), dtype_of(config.tell.precision)
    encoder = load_caption_encoder(run, config, device=device, dtype=dtype)
    sampler = config.tell.sampler
    painter = load_captions_painter(run, config, encoder, sampler=sampler, device=device, dtype=dtype)
    return Illustrator(painter, encoder, seed=config.seed)


def _write(story: ToldStory, theirs: Path, ours: Path) -> None:
    """Put the opening and the texts beside a story's pictures."""
    ours.mkdir(exist_ok=True)
    for opening in ("00.png", _STRETCHED):
        if (theirs / opening).is_file():
            shutil.copyfile(theirs / opening, ours / opening)
    segments = [Segment(index=one.index, text=one.text, image=one.image) for one in story.segments]
    whole = ToldStory(story_id=story.story_id, mode=story.mode, policy=CAPTIONS_ALONE, segments=segments)
    write_atomically(ours / "story.json", whole.model_dump_json(indent=1).encode())


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size
