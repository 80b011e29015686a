"""The folder of a single story: what is in it, what decides it, and that no other story gets into it.

    settings.json               what decides the story; a folder that holds another story is refused
    00.png, 01.png, ...         the opening, then what was told
    00.safetensors, ...         features of the pictures: what the language model saw, or predicted
    story.json, strip.html      the texts; all of it on a page. Both are rewritten after each pair
    .memory.safetensors         the teller's memory after the newest pair, until the story is told

Letters: F features of a picture, D width.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from story_model.checkpoint import load_tensors
from story_model.config import ModelConfig
from story_model.manifest import write_atomically
from story_model.schema import Segment, ToldStory
from story_model.tell_config import CacheConfig, Policy, SamplerConfig
from story_model.train_config import Precision

_Model = TypeVar("_Model", bound=BaseModel)


class StorySettings(BaseModel):
    """What decides a story: two of equal settings are equal to the byte on one machine's CPU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    story_id: str
    """Names the noise that words and pictures are drawn with."""
    is_branch: bool
    """It goes on from pairs of another story, be it only the opening."""
    image: str
    """sha256 of the opening picture, or of the pairs that are kept of another story."""
    image_size: tuple[int, int]
    """Width and height of the opening picture before it became square."""
    text: str
    """The opening's."""
    kept: int
    """Pairs that are there before anything is told, the opening one of them."""
    texts: tuple[str | None, ...]
    """Of the pairs to be told; none: the model writes it."""
    policy: Policy
    temperature: float
    seed: int
    max_text_tokens: int
    cache: CacheConfig
    precision: Precision = "float32"
    """Missing from stories that were told when there was no other."""
    sampler: SamplerConfig
    model: ModelConfig
    parts: dict[str, str]
    """Digests of the trained parts."""

    @property
    def length(self) -> int:
        """Pairs of the whole story, the opening one of them."""
        return self.kept + len(self.texts)


@dataclass(frozen=True)
class KeptPair:
    """A pair that is there before anything is told."""

    segment: Segment
    features: Tensor
    """(F, D)."""
    picture: bytes
    """PNG, as the de-tokenizer paints."""


@dataclass(frozen=True)
class StoryFolder:
    """Paths inside a story's folder; creates nothing."""

    root: Path

    @property
    def settings_path(self) -> Path:
        """What decides the story."""
        return self.root / "settings.json"

    @property
    def story_path(self) -> Path:
        """Its texts."""
        return self.root / "story.json"

    @property
    def strip_path(self) -> Path:
        """The page to look at."""
        return self.root / "strip.html"

    @property
    def memory_path(self) -> Path:
        """The teller's memory after the newest pair."""
        return self.root / ".memory.safetensors"

    def picture_path(self, index: int) -> Path:
        """A pair's picture."""
        return self.root / picture_name(index)

    def features_path(self, index: int) -> Path:
        """The features of a pair's picture."""
        return self.root / f"{index:02d}.safetensors"

    def picture(self, index: int) -> bytes:
        """Read a pair's picture.

        Raises:
            ValueError: it is missing.
        """
        try:
            return self.picture_path(index).read_bytes()
        except FileNotFoundError:
            raise ValueError(f"{self.picture_path(index)} is missing") from None

    def settings(self) -> StorySettings | None:
        """Read what decides the story; none where none was begun.

        Raises:
            ValueError: the file is not ours.
        """
        return _read(StorySettings, self.settings_path)

    def story(self) -> ToldStory | None:
        """Read the story as far as it was told; none where none was begun.

        Raises:
            ValueError: the file is not ours.
        """
        return _read(ToldStory, self.story_path)

    def pairs(self, count: int) -> list[KeptPair]:
        """Read the first pairs.

        Raises:
            ValueError: there are not so many, or a file is missing.
        """
        story = self.story()
        if story is None:
            raise ValueError(f"{self.root} holds no told story (story.json)")
        if not 1 <= count <= len(story.segments):
            raise ValueError(
                f"{self.root} has pairs 0..{len(story.segments) - 1}; --at must be 1..{len(story.segments)}"
            )
        return [
            KeptPair(segment, load_features(self.features_path(segment.index)), self.picture(segment.index))
            for segment in story.segments[:count]
        ]

    def is_told(self, story: ToldStory | None, settings: StorySettings) -> bool:
        """Tell whether all of it is there; the teller's memory goes last, when the page shows the last pair."""
        if story is None or len(story.segments) < settings.length:
            return False
        if self.memory_path.exists() or not self.strip_path.is_file():
            return False
        return all(self.picture_path(index).is_file() for index in range(settings.length))


def picture_name(index: int) -> str:
    """Name a pair's picture."""
    return f"{index:02d}.png"


def digest_of_pairs(pairs: Sequence[KeptPair]) -> str:
    """Name the content of pairs: their texts, pictures and features."""
    digest = hashlib.sha256()
    for pair in pairs:
        for part in (pair.segment.model_dump_json().encode(), pair.picture, pair.features.numpy().tobytes()):
            digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def load_features(path: Path) -> Tensor:
    """Read the features of a picture.

    Raises:
        ValueError: the file is missing, damaged or holds something else.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing; a story without its features cannot be continued")
    tensors = load_tensors(path)
    if tensors.keys() != {"features"} or tensors["features"].ndim != 2 or not tensors["features"].is_floating_point():
        raise ValueError(f"{path} does not hold the features of a picture")
    return tensors["features"]


@contextmanager
def claimed(folder: StoryFolder, settings: StorySettings) -> Iterator[None]:
    """Have the folder to this process alone, and see that it holds this story or nothing."""
    root = folder.root
    if root.exists() and not root.is_dir():
        raise ValueError(f"{root} is a file; give a folder")
    if folder.settings() is None and root.exists() and any(not path.name.startswith(".") for path in root.iterdir()):
        raise ValueError(f"{root} holds files, but no story of this command; give an empty or a new folder")
    root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(root / ".lock", timeout=0):
            found = folder.settings()
            if found is None:
                write_model(settings, folder.settings_path)
            elif found != settings:
                names = [name for name in StorySettings.model_fields if getattr(found, name) != getattr(settings, name)]
                raise ValueError(f"{root} holds another story (it differs in: {', '.join(names)}); give another folder")
            yield
    except Timeout:
        raise ValueError(f"another process is telling into {root}; wait for it or end it") from None


def _read(kind: type[_Model], path: Path) -> _Model | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError:
        raise ValueError(f"{path} is not a file of this command") from None


def write_model(model: BaseModel, path: Path) -> None:
    """Write a form so that a kill leaves the old file or the new one."""
    write_atomically(path, model.model_dump_json(indent=1).encode())
