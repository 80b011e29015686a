"""Told stories beside what the dataset shows at the same place: the material of every measure.

Pictures are measured at one small size. A told picture is squashed to it; its counterpart from the dataset first
becomes the square that the de-tokenizer learnt to paint, so that both show the same part and have lost the same detail.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import ValidationError

from story_model.dataset import Story
from story_model.pixels import Square, decode_square, to_image
from story_model.schema import ToldStory
from story_model.workspace import contained

MEASURED_SIDE = 64
"""Side in pixels at which pictures are compared."""
Pixels = NDArray[np.uint8]
"""A picture as measured: [MEASURED_SIDE, MEASURED_SIDE, 3], RGB."""
_FORMATS = ("PNG", "JPEG", "WEBP")


@dataclass(frozen=True)
class Pair:
    """One picture with its text; `source` is the encoded picture or its file, none where there is no picture."""

    index: int
    text: str
    source: bytes | Path | None
    pixels: Pixels | None
    square: Square | None = None
    """Given where the source is of another shape than told pictures: it is made this square when it is opened."""

    def image(self, longest_side: int) -> Image.Image:
        """Open the picture in RGB, scaled down (never up) to a longest side in pixels."""
        assert self.source is not None
        image = _open(self.source, self.square)
        image.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
        return image

    def squared(self, square: Square) -> Image.Image:
        """Open the picture in RGB, made square."""
        assert self.source is not None
        return _open(self.source, square)


@dataclass(frozen=True)
class Telling:
    """One story as told in one mode under one cache policy, beside the dataset's own."""

    story_id: str
    mode: str
    policy: str
    opening: Pair
    told: tuple[Pair, ...]
    """Indices 1.. in order."""
    reference: tuple[Pair, ...]
    """The dataset's pairs with indices 1.., at most as many as were told; the dataset's story may end earlier."""

    @property
    def system(self) -> str:
        """Mode and policy in one name."""
        return f"{self.mode}-{self.policy}"

    @property
    def pictured(self) -> tuple[Pair, ...]:
        """Told pairs that have a picture."""
        return tuple(pair for pair in self.told if pair.pixels is not None)


def read_tellings(told_dir: Path, validation: Iterable[Story], square: Square) -> list[Telling]:
    """Read every story told into a folder, in the order of their folders' names; `square` is the told pictures'.

    Raises:
        ValueError: a story is malformed, its picture is missing, unreadable or of another size, a path leaves the
            folder, or the dataset has no validation story of its id.
    """
    stories = {story.story_id: story for story in validation}
    paths = sorted(told_dir.glob("*/story.json"))
    if not paths:
        raise ValueError(f"{told_dir} holds no told story; tell stories first")
    return [_read_telling(path, stories, square) for path in paths]


def stack(pairs: Sequence[Pair]) -> Pixels:
    """Collect pictures as uint8 [N, side, side, 3]; pairs without one are left out."""
    pictures = [pair.pixels for pair in pairs if pair.pixels is not None]
    return np.stack(pictures) if pictures else np.empty((0, MEASURED_SIDE, MEASURED_SIDE, 3), dtype=np.uint8)


def measured(source: bytes | Path, *, square: Square | None = None) -> Pixels:
    """Decode a picture to the measured size; one of the dataset's by way of the told pictures' square.

    Raises:
        ValueError: the bytes are no picture.
    """
    return np.asarray(_squash(_open(source, square), (MEASURED_SIDE, MEASURED_SIDE)))


def _read_telling(path: Path, stories: Mapping[str, Story], square: Square) -> Telling:
    try:
        told = ToldStory.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path} is no told story: {error.errors()[0]['msg']}") from None
    if told.story_id not in stories:
        raise ValueError(f"{path} continues story {told.story_id!r}, which is no validation story of the dataset")
    indices = [segment.index for segment in told.segments]
    if indices != list(range(len(indices))) or len(indices) < 2 or told.segments[0].image is None:
        raise ValueError(f"{path}: segments must be numbered 0, 1, ... and begin with an opening that has a picture")
    pairs = [_told_pair(path.parent, segment.index, segment.text, segment.image) for segment in told.segments]
    story = stories[told.story_id]
    assert isinstance(pairs[0].source, Path)
    width, height = _open(pairs[0].source).size
    if (width, height) != (square.side, square.side):
        raise ValueError(
            f"{path}: the opening is {width} x {height}, but the configured de-tokenizer paints {square.side} x "
            f"{square.side}; tell the stories again"
        )
    reference = tuple(
        Pair(index, story.captions[index], story.images[index], measured(story.images[index], square=square))
        for index in range(1, min(len(pairs), len(story.images)))
    )
    return Telling(told.story_id, told.mode, told.policy, pairs[0], tuple(pairs[1:]), reference)


def _told_pair(folder: Path, index: int, text: str, image: str | None) -> Pair:
    if image is None:
        return Pair(index, text, None, None)
    path = contained(folder, image)
    if not path.is_file():
        raise ValueError(f"{path} is named by {folder / 'story.json'} but is not there; tell the story again")
    return Pair(index, text, path, measured(path))


def _open(source: bytes | Path, square: Square | None = None) -> Image.Image:
    """Decode to RGB, whole or made square."""
    try:
        if square is not None:
            picture = source if isinstance(source, bytes) else source.read_bytes()
            return to_image(decode_square(picture, square).pixels)
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_FORMATS) as image:
            return image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:  # a PNG's chunks
        name = "a picture of the dataset" if isinstance(source, bytes) else str(source)
        raise ValueError(f"{name} cannot be decoded: {error}") from None


def _squash(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def sample_keyframes(dataset_dir: Path, number: int, *, square: Square, seed: int) -> list[Pair]:
    """Draw up to `number` training pictures, without their texts, reading no more row groups than they need."""
    files = [pq.ParquetFile(path) for path in sorted((dataset_dir / "data").glob("*/train-*.parquet"))]
    rng = np.random.default_rng(seed)
    groups = [(file, group) for file in files for group in range(file.num_row_groups)]
    found: list[bytes] = []
    for position in rng.permutation(len(groups)):
        file, group = groups[position]
        rows = file.read_row_group(group, columns=["images"]).column("images").to_pylist()
        found += [image["bytes"] for images in rows for image in images]
        if len(found) >= number:
            break
    chosen = rng.permutation(len(found))[:number]
    return [Pair(0, "", found[row], measured(found[row], square=square), square) for row in chosen]
