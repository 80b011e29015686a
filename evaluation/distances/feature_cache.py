"""Features that were computed once, by network, way of preparing and picture: a second evaluation recomputes none.

Each call that computes something leaves one file, and files are only ever added; a picture is known by its pixels, so
that it does not matter in which file or system it came.
"""

import hashlib
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.distances.networks import FeatureNetwork
from story_model.manifest import write_atomically

Row = NDArray[np.float32]
"""Features of one picture, [D]."""


class FeatureCache:
    """Features in a folder, and in memory once read; without a folder in memory alone."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._known: dict[str, dict[str, Row]] = {}

    def known(self, network: FeatureNetwork) -> dict[str, Row]:
        """Give all features of a network by the pictures' keys.

        Raises:
            ValueError: a file of the folder holds no features.
        """
        place = _place(network)
        if place not in self._known:
            self._known[place] = {}
            if self._folder is not None:
                for path in sorted((self._folder / place).glob("*.npz")):
                    self._known[place].update(_read(path))
        return self._known[place]

    def add(self, network: FeatureNetwork, found: dict[str, Row]) -> None:
        """Keep newly computed features; those that are not finite are not kept."""
        found = {key: row for key, row in found.items() if np.isfinite(row).all()}
        if not found:
            return
        self.known(network).update(found)
        if self._folder is None:
            return
        buffer = io.BytesIO()
        np.savez(buffer, pictures=np.array(list(found), dtype="U64"), features=np.stack(list(found.values())))
        name = hashlib.sha256("".join(sorted(found)).encode()).hexdigest()[:32]
        path = self._folder / _place(network) / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())


def picture_key(image: Image.Image) -> str:
    """Hash a picture's size and pixels."""
    return hashlib.sha256(f"{image.mode} {image.width} {image.height} ".encode() + image.tobytes()).hexdigest()


def _place(network: FeatureNetwork) -> str:
    return hashlib.sha256(f"{network.key} {network.digest}".encode()).hexdigest()[:32]


def _read(path: Path) -> dict[str, Row]:
    try:
        with np.load(path, allow_pickle=False) as found:
            pictures, features = found["pictures"], found["features"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ValueError(f"{path} holds no features ({error}); remove it, and they are computed again") from None
    if features.ndim != 2 or features.dtype != np.float32 or pictures.shape != features.shape[:1]:
        raise ValueError(f"{path} holds no features; remove it, and they are computed again")
    return dict(zip(pictures.tolist(), features, strict=True))
