"""The pictures of a dataset's stories, each unique one once: decoded, made square, held as pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from story_model.dataset import Story
from story_model.pixels import Square, decode_square, normalised

_BATCH = 64


@dataclass(frozen=True)
class Pictures:
    """Unique pictures in order of first appearance."""

    square: Square
    """How they were made square."""
    pixels: Tensor
    """uint8 (N, 3, H, W)."""
    size_ids: Tensor
    """float (N, 6): what SD-XL is told about each one's size and crop."""
    rows: dict[str, int]
    """Row of a picture by the sha256 of its file."""

    def rows_of(self, story: Story) -> list[int]:
        """List the rows of a story's pictures, in its order."""
        return [self.rows[digest] for digest in story.image_sha256]


def load_pictures(stories: Sequence[Story], square: Square) -> Pictures:
    """Decode all pictures of the stories to squares; the same stories give the same rows."""
    unique = {
        digest: image for story in stories for digest, image in zip(story.image_sha256, story.images, strict=True)
    }
    decoded = [decode_square(image, square) for image in tqdm(unique.values(), desc="decode pictures", leave=False)]
    return Pictures(
        square,
        torch.stack([picture.pixels for picture in decoded]),
        torch.tensor([picture.size_ids for picture in decoded], dtype=torch.float32),
        {digest: row for row, digest in enumerate(unique)},
    )


@torch.no_grad()
def encode_features(encoder: nn.Module, pictures: Pictures) -> Tensor:
    """Run the frozen encoder over each picture once: features (N, F, D)."""
    batches = pictures.pixels.split(_BATCH)
    return torch.cat([encoder(normalised(batch)) for batch in tqdm(batches, desc="encode pictures", leave=False)])
