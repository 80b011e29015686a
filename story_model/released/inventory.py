"""What lies in a folder of published weights: every file opened (names and shapes only) and told what it is."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from story_model.released.kinds import Kind, Place, kind_of
from story_model.released.sources import preference
from story_model.tensor_files import INDEXES, PICKLES, SAFETENSORS, ShardedFile, TensorFile, open_tensors

_BLOCK = 1 << 20
_DIFFERENT: tuple[Kind, ...] = ("MLLM", "de-tokenizer")
"""Kinds of which several were trained; two files of another kind are copies."""


@dataclass(frozen=True)
class Entry:
    """One file of weights, or several behind one index."""

    path: Path
    kind: Kind
    problem: str | None
    """Why it cannot be used; none: it opened."""
    file: TensorFile

    @property
    def parts(self) -> list[Path]:
        """The files that hold the values."""
        return [shard.path for shard in self.file.shards] if isinstance(self.file, ShardedFile) else [self.path]

    def describe(self) -> str:
        """Say how many tensors and parameters of which types there are."""
        infos = self.file.tensors.values()
        types = ", ".join(sorted({str(info.dtype).removeprefix("torch.") for info in infos}))
        count = sum(info.num_bytes // info.dtype.itemsize for info in infos)
        return f"{len(infos)} tensors, {count:,} values, {types}"

    def digest(self) -> str:
        """Hash the bytes of all parts (sha256), telling how far it is."""
        digest = hashlib.sha256()
        total = sum(part.stat().st_size for part in self.parts)
        with tqdm(total=total, unit="B", unit_scale=True, desc=f"hash {self.path.name}", leave=False) as bar:
            for part in self.parts:
                with part.open("rb") as file:
                    while block := file.read(_BLOCK):
                        digest.update(block)
                        bar.update(len(block))
        return digest.hexdigest()


def survey(folder: Path) -> list[Entry]:
    """Open every file of weights below a folder.

    Raises:
        ValueError: there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; name the one that the published weights were put into")
    return [entry_at(path) for path in _weights(folder)]


def entry_at(path: Path) -> Entry:
    """Open one file, index or folder of weights and tell what it is."""
    file = open_tensors(path)
    try:
        return Entry(file.path, kind_of(file.tensors), None, file)
    except ValueError as error:
        return Entry(file.path, "other", str(error), file)


def choose(entries: list[Entry], place: Place, folder: Path) -> Entry | None:
    """Choose the file of a kind: the one at its published place, else the only one there is.

    Raises:
        ValueError: there are several and none is at the published place.
    """
    candidates = [entry for entry in entries if entry.kind == place.kind]
    expected = folder / place.path
    at_home = [entry for entry in candidates if entry.path == expected or expected in entry.path.parents]
    found = at_home or candidates
    folders = {entry.path.parent for entry in found}
    if len(folders) > 1 and place.kind in _DIFFERENT:
        listed = ", ".join(str(entry.path.relative_to(folder)) for entry in found)
        raise ValueError(f"several files of the {place.kind} ({listed}); keep one, or name it")
    return min(found, key=lambda entry: preference(entry.path.name)) if found else None


def damaged_at(entries: list[Entry], place: Place, folder: Path) -> Entry | None:
    """Find what lies at a published place but cannot be opened."""
    expected = folder / place.path
    broken = [entry for entry in entries if entry.problem is not None]
    return next((entry for entry in broken if entry.path == expected or expected in entry.path.parents), None)


def _weights(folder: Path) -> Iterator[Path]:
    """List weights files and indexes, without the shards that an index names."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    shards: set[Path] = set()
    for path in paths:
        if path.name in INDEXES:
            yield path
            shards |= {path.parent / name for name in _named_in(path)}
    for path in paths:
        if path.suffix in (SAFETENSORS, *PICKLES) and path not in shards:
            yield path


def _named_in(index: Path) -> list[str]:
    try:
        return [str(name) for name in json.loads(index.read_text())["weight_map"].values()]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []  # opening the index tells what is wrong with it
