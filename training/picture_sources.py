"""Pictures besides the stories', which stage 1 learns to rebuild as well: what each source gives, and what it does not.

Left out are pictures that are too small or too narrow, those that are in a story or an earlier source already, and,
lest what is measured had been trained on, those of held-out stories. No torch here.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from story_model.config import RunConfig, Settings
from story_model.dataset import BadRecords
from story_model.train_config import PictureSourceConfig, Stage1Config
from story_model.workspace import Part, RunFolder
from training.picture_files import PictureReader, Place
from training.picture_index import INDEX, Picture, PictureIndex, index_pictures, read_index

log = logging.getLogger(__name__)

Reason = Literal["unreadable", "too_small", "too_narrow", "held_out", "duplicate"]
_NAMED = 5


@dataclass(frozen=True)
class Source:
    """A folder of pictures that was looked through."""

    config: PictureSourceConfig
    index: PictureIndex
    reader: PictureReader

    @property
    def name(self) -> str:
        """Of the source."""
        return self.config.name


@dataclass(frozen=True)
class Chosen:
    """What is taken of a source."""

    source: Source
    digests: Sequence[str]
    """Of its pictures, in the order in which they lie on the disk."""
    left_out: Mapping[Reason, int]

    @property
    def counts(self) -> dict[str, int]:
        """Count what is taken and what is not, for a manifest."""
        counted = {f"{self.source.name}_{reason}": number for reason, number in self.left_out.items()}
        return {f"{self.source.name}_pictures": len(self.digests)} | counted

    def without(self, unreadable: Collection[str]) -> "Chosen":
        """Leave out pictures that turned out to be unreadable."""
        kept = [digest for digest in self.digests if digest not in unreadable]
        lost = len(self.digests) - len(kept)
        return replace(self, digests=kept, left_out=+Counter({**self.left_out}) + Counter({"unreadable": lost}))


class SourcePictures:
    """Pictures of sources by sha256."""

    def __init__(self, sources: Iterable[Source]) -> None:
        """Learn where each source's pictures lie."""
        self._places: dict[str, tuple[Source, str, Place]] = {}
        for source in sources:
            for file in source.index.files:
                for picture in file.pictures:
                    self._places.setdefault(picture.sha256, (source, file.name, picture.place))

    def __contains__(self, digest: str) -> bool:
        return digest in self._places

    def name(self, digest: str) -> str:
        """Say which picture it is."""
        source, file, place = self._places[digest]
        return f"picture of {source.name} in {file} at {place.start}, {place.length}"

    def read(self, digest: str) -> bytes:
        """Read one picture's file.

        Raises:
            ValueError: it is no longer there, or another one than when its source was looked through.
        """
        source, file, place = self._places[digest]
        try:
            found = source.reader.read(file, place)
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.name(digest)}: {error}") from None
        if hashlib.sha256(found).hexdigest() != digest:
            raise ValueError(f"{self.name(digest)} has changed since the source was looked through; run this again")
        return found


def source_inputs(part: Part, folder: RunFolder, config: RunConfig, settings: Settings) -> dict[str, str]:
    """Look through the sources that a part is made from, where they changed; gives their pictures' digests by a name.

    Raises:
        ValueError: a source has no picture, or one that cannot be read (which `train.bad_records=skip` only counts).
    """
    if part != "stage1":
        return {}
    found = {}
    for source in config.train.stage1.sources:
        index_dir = folder.pictures_dir / source.name
        index = index_pictures(settings.pictures / source.name, index_dir, name=source.name)
        _complain(source.name, index, f"{index_dir / INDEX}", config.train.bad_records)
        found[f"pictures of {source.name}"] = index.digest
    return found


def open_sources(folder: RunFolder, config: RunConfig, settings: Settings) -> list[Source]:
    """Open the sources as they were looked through last.

    Raises:
        ValueError: one never was.
    """
    return [
        Source(source, read_index(folder.pictures_dir / source.name), PictureReader(settings.pictures / source.name))
        for source in config.train.stage1.sources
    ]


def choose(
    sources: Iterable[Source], limits: Stage1Config, *, in_stories: Iterable[str], held_out: Collection[str]
) -> list[Chosen]:
    """Choose each source's pictures: those that no story and no source before it has."""
    taken, chosen = set(in_stories), []
    for source in sources:
        left_out: Counter[Reason] = Counter({"unreadable": len(source.index.unreadable)})
        digests = []
        for file in source.index.files:
            for picture in file.pictures:
                reason = _objection(picture, limits, taken, held_out)
                if reason is None:
                    taken.add(picture.sha256)
                    digests.append(picture.sha256)
                else:
                    left_out[reason] += 1
        chosen.append(Chosen(source, digests, +left_out))
        told = ", ".join(f"{number} {reason.replace('_', ' ')}" for reason, number in (+left_out).items())
        log.info("pictures of %s: %d; left out: %s", source.name, len(digests), told or "none")
    return chosen


def _objection(
    picture: Picture, limits: Stage1Config, taken: Collection[str], held_out: Collection[str]
) -> Reason | None:
    shorter, longer = sorted((picture.width, picture.height))
    if picture.sha256 in held_out:
        return "held_out"
    if picture.sha256 in taken:
        return "duplicate"
    if shorter < limits.min_side:
        return "too_small"
    return "too_narrow" if longer > shorter * limits.max_aspect else None


def _complain(name: str, index: PictureIndex, where: str, bad_records: BadRecords) -> None:
    """Name what cannot be read, or end the run over it."""
    unreadable = index.unreadable
    if not unreadable:
        return
    named = "; ".join(unreadable[:_NAMED])
    if bad_records == "raise":
        raise ValueError(
            f"pictures of {name}: {len(unreadable)} cannot be read ({where} names them all): {named}; leave such "
            "pictures out with train.bad_records=skip"
        )
    log.warning(
        "pictures of %s: %d cannot be read and are left out; %s names them: %s", name, len(unreadable), where, named
    )
