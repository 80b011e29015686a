"""Where the published parts that a training builds on lie on this machine, and what they are known by. No torch here.

Training takes a file by its place alone (`check` also finds those that lie elsewhere). A file is known by its size, its
ends and samples between them: a training changes all of a network, and reading 40 GB at each start takes minutes.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from story_model.released.kinds import PLACES, TOKENIZER_PLACE, Kind, Place

Wanted = Kind | Literal["tokenizer"]

_PLACES: dict[Wanted, Place] = {
    "tokenizer": TOKENIZER_PLACE,
    "MLLM": Place("MLLM", "TencentARC/SEED-Story (SEED-X-pretrained)", "seedx/checkpoint-30000/pytorch_model.bin"),
    "de-tokenizer": Place(
        "de-tokenizer",
        "TencentARC/SEED-Story (pre-trained De-Tokenizer)",
        "detokenizer_pretrained/checkpoint-55000/pytorch_model.bin",
    ),
}
"""Where they differ from what tells stories: a training begins with what SEED-Story's began with."""
_INDEX = ".index.json"
_WEIGHTS = (".safetensors", ".bin", ".pt", _INDEX)
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer.model",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
)
_END = 1 << 20
_SAMPLE = 1 << 14
_SAMPLES = 256


@dataclass(frozen=True)
class Located:
    """A published network or tokenizer on disk."""

    path: Path
    """Its file or index; of a tokenizer its folder."""
    files: tuple[Path, ...]
    """All that it consists of."""

    def digest(self) -> str:
        """Name the content without reading all of it."""
        lines = [f"{path.name} {_sampled(path)}" for path in self.files]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def locate(root: Path, wanted: Wanted) -> Located:
    """Find what a training wants at its published place below `root`.

    Raises:
        ValueError: it is not there, or not all of it.
    """
    place = _PLACES.get(wanted) or next(place for place in PLACES if place.kind == wanted)
    places = [root / path for path in (place.path, *place.other_paths)]
    found = [_tokenizer_at(path) if wanted == "tokenizer" else _weights_at(path) for path in places]
    located = next((one for one in found if one is not None), None)
    if located is None:
        raise ValueError(
            f"no {wanted} at {places[0]}: download it from {place.source}, or let STORY_PRETRAINED name the folder "
            f"that has {place.path} in it"
        )
    return located


def preference(name: str) -> tuple[bool, bool, bool, str]:
    """Order files of one network in one folder: full precision before half, safetensors before pickles, indexes first.

    An index stands before the shards that it names.
    """
    return "fp16" in name, ".safetensors" not in name, not name.endswith(_INDEX), name


def _weights_at(path: Path) -> Located | None:
    if path.is_dir():
        inside = [file for file in path.iterdir() if file.name.endswith(_WEIGHTS)]
        if not inside:
            return None
        path = min(inside, key=lambda file: preference(file.name))
    elif not path.is_file():
        path = path.with_suffix(".safetensors")
        if not path.is_file():
            return None
    return Located(path, (path, *_shards(path)) if path.name.endswith(_INDEX) else (path,))


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted({str(name) for name in json.loads(index.read_text())["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{index} is no index of weights; download it again") from None
    shards = [index.parent / Path(name).name for name in names]
    for shard in shards:
        if not shard.is_file():
            raise ValueError(f"{shard} is missing, which {index.name} names; download it again")
    return shards


def _tokenizer_at(folder: Path) -> Located | None:
    files = tuple(folder / name for name in _TOKENIZER if (folder / name).is_file())
    return Located(folder, files) if any(file.name in _TOKENIZER[:2] for file in files) else None


def _sampled(path: Path) -> str:
    """Hash a file's size, its ends (headers and tables of contents lie there) and samples spread between them."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_END))
        step = max((size - 2 * _END) // _SAMPLES, _SAMPLE)
        for start in range(_END, size - _END, step):
            file.seek(start)
            digest.update(file.read(_SAMPLE))
        file.seek(max(size - _END, 0))
        digest.update(file.read(_END))
    return digest.hexdigest()
