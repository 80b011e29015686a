"""The dataset's own pictures, painted from their own features: the de-tokenizer's part of what a story loses.

The language model has no part in it. What is lost here is lost between the image encoder and the de-tokenizer, so that
a told story's likeness to the dataset divides into this and what the language model takes from it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from evaluation.systems import RECONSTRUCTION, RECONSTRUCTION_MODE
from evaluation.telling.openings import Start, start_of
from evaluation.telling.storyteller import save_png
from story_model.config import RunConfig, Settings
from story_model.dataset import Story, read_stories
from story_model.device import chosen_device, dtype_of
from story_model.image_encoder import ImageEncoder
from story_model.manifest import StepResult, write_atomically
from story_model.painting import Painter
from story_model.parts import load_image_encoder, load_painter
from story_model.pixels import decode_square, encoder_square, normalised, size_of, unsigned, unsquashed
from story_model.schema import Segment, ToldStory
from story_model.seeds import seed_of
from story_model.workspace import RunFolder, contained


class _Picture(NamedTuple):
    """A picture of the dataset that is to be painted again."""

    story: Story
    place: int
    path: Path


class Rebuilder:
    """The two networks between a picture and its rebuilt copy."""

    def __init__(self, config: RunConfig, starts: Sequence[Start], encoder: ImageEncoder, painter: Painter) -> None:
        """Take the parts."""
        self._config = config
        self._starts = starts
        self._encoder = encoder
        self._painter = painter

    def rebuild(self, out_dir: Path) -> StepResult:
        """Paint the pictures after each opening, at the places at which stories are told.

        Batches that a killed attempt finished are not painted again.
        """
        segments = self._config.tell.segments
        pictures = [
            _Picture(start.story, place, contained(out_dir, start.folder) / f"{place:02d}.png")
            for start in self._starts
            for place in range(1, min(segments + 1, len(start.story.images)))
        ]
        size = self._painter.settings.batch_size
        with tqdm(total=len(pictures), desc=f"paint {RECONSTRUCTION}", unit="picture", mininterval=2) as bar:
            for first in range(0, len(pictures), size):
                batch = pictures[first : first + size]
                if not all(picture.path.is_file() for picture in batch):
                    self._paint(batch)
                bar.update(len(batch))
        for start in self._starts:
            self._write(start, contained(out_dir, start.folder))
        return StepResult(counts={"stories": len(self._starts), "pictures": len(pictures)})

    @torch.inference_mode()
    def _paint(self, batch: Sequence[_Picture]) -> None:
        square = encoder_square(self._config.model.image_encoder)
        seen = torch.stack([normalised(decode_square(one.story.images[one.place], square).pixels) for one in batch])
        features = self._encoder(seen.to(self._encoder.proj)).float()
        seeds = [seed_of(self._config.seed, one.story.story_id, one.place, "picture") for one in batch]
        for picture, painted in zip(batch, unsigned(self._painter.paint_batch(features, seeds)), strict=True):
            self._show(painted, picture.path, picture.story)

    def _show(self, square: torch.Tensor, path: Path, story: Story) -> None:
        if self._config.tell.sampler.aspect == "source":
            save_png(unsquashed(square, size_of(story.images[0])), path.with_name(f"{path.stem}-stretched.png"))
        save_png(square, path)

    def _write(self, start: Start, folder: Path) -> None:
        """Add the opening and the dataset's own texts to a story's pictures."""
        story = start.story
        self._show(start.shown, folder / "00.png", story)
        last = min(self._config.tell.segments + 1, len(story.images))
        segments = [Segment(index=one, text=story.captions[one], image=f"{one:02d}.png") for one in range(last)]
        whole = ToldStory(story_id=story.story_id, mode=RECONSTRUCTION_MODE, policy=RECONSTRUCTION, segments=segments)
        write_atomically(folder / "story.json", whole.model_dump_json(indent=1).encode())


def load_rebuilder(run: RunFolder, config: RunConfig) -> Rebuilder:
    """Load the image encoder and what paints, as they are used in telling, and look at the openings.

    Raises:
        ValueError: a part or the validation split is missing, or an opening cannot be used.
    """
    torch.set_num_threads(config.train.threads)
    device, dtype = chosen_device(Settings().device), dtype_of(config.tell.precision)
    encoder = load_image_encoder(run, config.model, device=device, dtype=dtype)
    painter = load_painter(run, config, encoder, device=device, dtype=dtype)
    stories = read_stories(run.dataset_dir, "validation")[: config.tell.stories]
    starts = [start_of(number, story, encoder, config) for number, story in enumerate(stories)]
    return Rebuilder(config, starts, encoder, painter)
