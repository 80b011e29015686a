"""Stories that every judge is shown in every round, frozen on disk: what their scores do is the judge's doing.

Half of them are stories of a dataset, half are their copies, each spoiled in another way: a judge may grow milder
towards the good, the bad, or both. The folder outlives datasets. A later run with another one reads what lies there,
byte for byte; a set that was changed by hand is refused.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evaluation.judging.spoiled import GOOD, MUST_FALL, ShownStory, Spoiling, spoil
from evaluation.pictures import Pair, measured
from story_model.dataset import Story
from story_model.manifest import write_atomically
from story_model.strict_json import read_json
from story_model.workspace import contained

log = logging.getLogger(__name__)

FILE = "anchors.json"
_FEWEST_PAIRS = 3
"""The opening and two more, or nothing can be shuffled."""
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Anchor:
    """A frozen story, good or spoiled."""

    story: ShownStory
    label: str
    """`good`, or how it was spoiled."""


@dataclass(frozen=True)
class AnchorSet:
    """All frozen stories."""

    anchors: tuple[Anchor, ...]
    digest: str
    """sha256 of texts, pictures and labels: scores of two rounds are comparable where it is the same."""

    @property
    def good(self) -> list[ShownStory]:
        """Those that were not spoiled; the self-test spoils them in its own ways."""
        return [anchor.story for anchor in self.anchors if anchor.label == GOOD]


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _StoredPair(_Stored):
    index: int = Field(ge=0)
    text: str
    picture: _Digest
    """Its file's name, and the sha256 of what is in it."""


class _StoredAnchor(_Stored):
    story_id: str
    label: Literal["good"] | Spoiling
    pairs: tuple[_StoredPair, ...] = Field(min_length=_FEWEST_PAIRS)


class _StoredSet(_Stored):
    version: Literal[1] = 1
    number: int
    segments: int
    """What was asked for; a dataset may have had less."""
    digest: _Digest
    anchors: tuple[_StoredAnchor, ...] = Field(min_length=1)


def frozen_anchors(folder: Path, stories: Iterable[Story], *, number: int, segments: int, seed: int) -> AnchorSet:
    """Read the folder's anchors; where it has none yet, choose and freeze some first.

    Args:
        folder: of the anchors alone; kept as long as rounds are to be compared.
        stories: of a dataset, looked at only if there are no anchors yet. Chosen by the digest of their ids: their
            order decides nothing.
        number: good anchors; as many spoiled ones are added.
        segments: pairs shown after the opening, at most.
        seed: of spoiling.

    Raises:
        ValueError: the folder's anchors were changed, or are of another number or length than asked for; or there are
            none and no story is long enough to become one, or too few segments are shown.
    """
    if not (folder / FILE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):  # two runs of a workspace may come first at once
            if not (folder / FILE).exists():
                _freeze(folder, _chosen(stories, number, segments), number=number, segments=segments, seed=seed)
    stored = _read(folder)
    if (stored.number, stored.segments) != (number, segments):
        raise ValueError(
            f"{folder} holds {stored.number} anchors of {stored.segments} segments, but {number} of {segments} are "
            "configured (evaluate.judge.anchors, evaluate.judge.segments): set these back, or move the folder away to "
            "begin a new series"
        )
    return AnchorSet(tuple(_opened(folder, one) for one in stored.anchors), stored.digest)


def first_repeat(round_name: str) -> int:
    """Give the number of a round's first asking, `Question.repeat`.

    The ledger finds an answer by all that was asked and by `repeat`. An anchor's question is the same in all rounds, so
    the repeat must tell them apart: it is a digest of the round's name, between 1000 and 2^30. Equal names ask once,
    however often and wherever they are run; another name asks anew. That two of 1000 rounds share a number has a chance
    of 1 in 2000. It is no counter, because two machines, or a run that was killed before it could note its round, would
    count differently.
    """
    digest = hashlib.sha256(f"round {round_name}".encode()).digest()
    return 1000 + int.from_bytes(digest[:8], "big") % (2**30 - 1000)


def _chosen(stories: Iterable[Story], number: int, segments: int) -> list[Story]:
    if segments + 1 < _FEWEST_PAIRS:
        raise ValueError(
            f"an anchor shows {_FEWEST_PAIRS - 1} segments after its opening or more, not evaluate.judge.segments="
            f"{segments}; set it higher, or evaluate.judge.anchors=0"
        )
    usable = [story for story in stories if len(story.captions) >= _FEWEST_PAIRS]
    if not usable:
        raise ValueError(f"no story has {_FEWEST_PAIRS} pairs, so none can be an anchor; set evaluate.judge.anchors=0")
    usable.sort(key=lambda story: hashlib.sha256(story.story_id.encode()).digest())
    if len(usable) < number:
        log.warning("only %d stories can be anchors, not %d", len(usable), number)
    return usable[:number]


def _freeze(folder: Path, stories: Sequence[Story], *, number: int, segments: int, seed: int) -> None:
    """Write pictures first and the list last: a set that has its list is whole."""
    good = [_shown(story, segments) for story in stories]
    ways = list(MUST_FALL)
    anchors = [Anchor(story, GOOD) for story in good]
    for position, story in enumerate(good):
        spoiling = ways[position % len(ways)]
        donor = good[(position + 1) % len(good)]
        anchors.append(Anchor(spoil(story, spoiling, donor=donor, seed=seed), spoiling))
    rows = tuple(_stored(folder, anchor) for anchor in anchors)
    stored = _StoredSet(number=number, segments=segments, digest=_digest(rows), anchors=rows)
    write_atomically(folder / FILE, stored.model_dump_json(indent=1).encode())
    log.info("froze %d anchors in %s: %s", len(anchors), folder, stored.digest[:12])


def _shown(story: Story, segments: int) -> ShownStory:
    pairs = zip(story.captions[: segments + 1], story.images[: segments + 1], strict=True)
    return ShownStory(
        story.story_id, tuple(Pair(index, text, image, measured(image)) for index, (text, image) in enumerate(pairs))
    )


def _stored(folder: Path, anchor: Anchor) -> _StoredAnchor:
    rows = []
    for pair in anchor.story.pairs:
        assert isinstance(pair.source, bytes)
        digest = hashlib.sha256(pair.source).hexdigest()
        write_atomically(folder / digest, pair.source)
        rows.append(_StoredPair(index=pair.index, text=pair.text, picture=digest))
    return _StoredAnchor.model_validate({"story_id": anchor.story.story_id, "label": anchor.label, "pairs": rows})


def _digest(rows: Sequence[_StoredAnchor]) -> str:
    content = json.dumps([row.model_dump(mode="json") for row in rows], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _read(folder: Path) -> _StoredSet:
    path = folder / FILE
    try:
        stored = _StoredSet.model_validate(read_json(path.read_bytes()))
    except (ValidationError, ValueError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ValueError(f"{path} is no set of anchors ({reason}); bring it back, or move the folder away") from None
    if _digest(stored.anchors) != stored.digest:
        raise ValueError(
            f"{path} was changed: its digest is not of its content; bring it back, or move the folder away"
        )
    return stored


def _opened(folder: Path, stored: _StoredAnchor) -> Anchor:
    pairs = tuple(_pair(contained(folder, pair.picture), pair) for pair in stored.pairs)
    return Anchor(ShownStory(stored.story_id, pairs), stored.label)


def _pair(path: Path, stored: _StoredPair) -> Pair:
    source = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(source).hexdigest() != stored.picture:
        raise ValueError(f"{path} is missing or was changed; bring it back, or move the anchors' folder away")
    return Pair(stored.index, stored.text, source, measured(source))
