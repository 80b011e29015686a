"""Validation stories as telling sees them: the opening pair, looked at by the networks."""

import re
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from story_model.config import RunConfig
from story_model.dataset import Story
from story_model.generate import Opening
from story_model.image_encoder import ImageEncoder
from story_model.pixels import decode_square, detokenizer_square, encoder_square, normalised, scaled_size, size_of

_MOST_PIXELS = 1 << 26
"""Of an opening scaled to a network's size with its shape kept; more is no picture of a story but a mistake."""


@dataclass(frozen=True)
class Start:
    """A validation story, as far as telling sees it."""

    folder: str
    """Name of the told story's folder."""
    story: Story
    opening: Opening
    shown: Tensor
    """The opening picture as the painter would show it, uint8 (3, side, side)."""


@torch.inference_mode()
def start_of(number: int, story: Story, encoder: ImageEncoder, config: RunConfig) -> Start:
    """Look at a story's opening pair; the number keeps the folders of like-named stories apart.

    Raises:
        ValueError: the picture cannot be decoded, or is far longer than wide where its shape matters.
    """
    if not story.images:
        raise ValueError(f"story {story.story_id} has no pictures, so no opening; build the dataset anew")
    try:
        _check_shape(size_of(story.images[0]), config)
        seen = decode_square(story.images[0], encoder_square(config.model.image_encoder)).pixels
        shown = decode_square(story.images[0], detokenizer_square(config.model.detokenizer)).pixels
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"story {story.story_id}: no story can be told from its opening picture ({error}); replace the picture and "
            "build the dataset anew"
        ) from None
    features = encoder(normalised(seen)[None].to(encoder.proj))[0].float()
    folder = f"{number:02d}-{re.sub(r'[^A-Za-z0-9_-]', '-', story.story_id)[:100]}"
    return Start(folder, story, Opening(story.story_id, story.captions[0], features), shown)


def _check_shape(size: tuple[int, int], config: RunConfig) -> None:
    """Refuse a picture whose shape, where it is kept, makes it enormous at the networks' size."""
    seen, shown = config.model.image_encoder, config.model.detokenizer
    sides = [seen.image_size] if seen.transform == "crop" else []
    sides += [shown.picture_size] if shown.transform == "crop" or config.tell.sampler.aspect == "source" else []
    for side in sides:
        width, height = scaled_size(size, side)
        if width * height > _MOST_PIXELS:
            raise ValueError(f"{size[0]} x {size[1]} pixels would become {width} x {height}")
