"""One system's stories: told from validation openings, then painted together, in a folder that survives a kill.

Told stories wait in a hidden journal until their pictures are painted, since pictures of all stories share batches. A
killed step goes on at the first story that is not in the journal, then at the first batch that is not on disk; batches
are made up the same way again, so that the result is equal to the byte.
"""

import hashlib
import io
import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from tqdm import tqdm

from story_model.checkpoint import load_tensors, save_tensors
from story_model.config import Mode, Policy, RunConfig
from story_model.dataset import Story, read_stories
from story_model.generate import Opening, Teller, ToldPair, merged
from story_model.image_encoder import ImageEncoder
from story_model.manifest import StepResult, write_atomically
from story_model.mllm import Mllm
from story_model.painting import Painter
from story_model.parts import load_autoencoder, load_detokenizer, load_image_encoder, load_mllm, load_tokenizer
from story_model.pixels import (
    Square,
    decode_square,
    detokenizer_square,
    encoder_square,
    normalised,
    size_of,
    to_image,
    unsigned,
    unsquashed,
)
from story_model.schema import Segment, ToldStory
from story_model.seeds import seed_of
from story_model.tokens import StoryTokenizer
from story_model.workspace import RunFolder, contained

log = logging.getLogger(__name__)

_JOURNAL = ".told"
_REMEMBERED_BATCHES = 32


@dataclass(frozen=True)
class Start:
    """A validation story, as far as telling sees it."""

    folder: str
    """Name of the told story's folder."""
    story: Story
    opening: Opening


@dataclass(frozen=True)
class Told:
    """What was told from a start: words and costs, and the features of the pictures that are to be painted."""

    start: Start
    pairs: list["PairNote"]
    features: Tensor
    """(N, F, D)."""


class PairNote(BaseModel):
    """A told pair in the journal, its features apart."""

    model_config = ConfigDict(extra="forbid")

    index: int
    text: str
    forwards: int
    prefilled: int
    decoded: int
    cache_tokens: int


class StoryNotes(BaseModel):
    """A told story in the journal."""

    model_config = ConfigDict(extra="forbid")

    pairs: list[PairNote]


class Storyteller:
    """The trained networks and the openings, for all systems of a run."""

    def __init__(
        self, config: RunConfig, starts: Sequence[Start], tokenizer: StoryTokenizer, mllm: Mllm, painter: Painter
    ) -> None:
        """Take the parts."""
        self.config = config
        self.starts = starts
        self.tokenizer = tokenizer
        self.mllm = mllm
        self.painter = painter
        self._painted: dict[str, Tensor] = {}

    def tell(self, mode: Mode, policy: Policy, out_dir: Path) -> StepResult:
        """Tell and paint the stories of one system."""
        system = f"{mode}-{policy}"
        (out_dir / _JOURNAL).mkdir(exist_ok=True)
        told = self._tell_all(mode, policy, out_dir / _JOURNAL, system)
        self._paint_all(told, out_dir, system)
        for one in told:
            self._write(one, mode, policy, contained(out_dir, one.start.folder))
        shutil.rmtree(out_dir / _JOURNAL)
        return _result(told)

    def _tell_all(self, mode: Mode, policy: Policy, journal: Path, system: str) -> list[Told]:
        tell = self.config.tell
        teller = Teller(
            self.mllm,
            self.tokenizer,
            policy=policy,
            memory=tell.cache,
            max_text_tokens=tell.max_text_tokens,
            temperature=tell.temperature,
            seed=self.config.seed,
        )
        captions = {start.folder: self._captions(start.story, mode) for start in self.starts}
        num_pairs = sum(len(given) for given in captions.values())
        told = []
        with tqdm(total=num_pairs, desc=f"tell {system}", unit="pair", mininterval=2) as bar:
            for start in self.starts:
                one = _recall(journal, start)
                if one is None:
                    one = _note(journal, start, _counted(teller.tell(start.opening, captions[start.folder]), bar))
                else:
                    bar.update(len(one.pairs))
                told.append(one)
        return told

    def _captions(self, story: Story, mode: Mode) -> Sequence[str | None]:
        """List the captions to tell by; where they are given, a story ends when they do."""
        segments = self.config.tell.segments
        return story.captions[1 : segments + 1] if mode == "captions_given" else [None] * segments

    def _paint_all(self, told: Sequence[Told], out_dir: Path, system: str) -> None:
        """Paint what is not on disk yet, a whole batch at a time, beginning with each story's first picture."""
        longest = max(len(one.pairs) for one in told)
        orders = [(one, place) for place in range(longest) for one in told if place < len(one.pairs)]
        size = self.config.tell.sampler.batch_size
        batches = [orders[start : start + size] for start in range(0, len(orders), size)]
        with tqdm(total=len(orders), desc=f"paint {system}", unit="picture", mininterval=2) as bar:
            for batch in batches:
                paths = [contained(out_dir, one.start.folder) / _picture(one, place) for one, place in batch]
                if not all(path.is_file() for path in paths):
                    features = torch.stack([one.features[place] for one, place in batch])
                    seeds = [self._picture_seed(one, place) for one, place in batch]
                    for (one, _), path, picture in zip(batch, paths, self._paint(features, seeds), strict=True):
                        self._show(picture, path, one.start.story)
                bar.update(len(batch))

    def _paint(self, features: Tensor, seeds: list[int]) -> Tensor:
        """Paint a batch; the same one again, as policies ask for until the first of them forgets, is remembered."""
        key = hashlib.sha256(features.numpy().tobytes() + repr(seeds).encode()).hexdigest()
        if key not in self._painted:
            if len(self._painted) == _REMEMBERED_BATCHES:
                del self._painted[next(iter(self._painted))]
            self._painted[key] = unsigned(self.painter.paint_batch(features, seeds))
        return self._painted[key]

    def _show(self, square: Tensor, path: Path, story: Story) -> None:
        """Write a picture, which is measured as a square; for the eye in its source's shape too, where asked to.

        The square comes last: where it is on disk, the picture is not painted again.
        """
        if self.config.tell.sampler.aspect == "source":
            _save_png(unsquashed(square, size_of(story.images[0])), path.with_name(f"{path.stem}-stretched.png"))
        _save_png(square, path)

    def _picture_seed(self, one: Told, place: int) -> int:
        """Give equal noise to the same place of a story in every system."""
        return seed_of(self.config.seed, one.start.story.story_id, one.pairs[place].index, "picture")

    def _write(self, one: Told, mode: Mode, policy: Policy, folder: Path) -> None:
        """Add the opening and the text to a story's pictures."""
        story = one.start.story
        square = detokenizer_square(self.config.model.detokenizer)
        self._show(decode_square(story.images[0], square).pixels, folder / "00.png", story)
        told = [
            Segment(
                index=pair.index,
                text=pair.text,
                image=_picture(one, place),
                tokens=pair.prefilled + pair.decoded,
                cache_tokens=pair.cache_tokens,
            )
            for place, pair in enumerate(one.pairs)
        ]
        opening = Segment(index=0, text=story.captions[0], image="00.png")
        whole = ToldStory(story_id=story.story_id, mode=mode, policy=policy, segments=[opening, *told])
        write_atomically(folder / "story.json", whole.model_dump_json(indent=1).encode())


def load_storyteller(run: RunFolder, config: RunConfig) -> Storyteller:
    """Load a run's networks and look at the openings.

    Raises:
        ValueError: a part or the validation split is missing.
    """
    torch.set_num_threads(config.train.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = load_image_encoder(run, config.model).to(device)
    detokenizer = load_detokenizer(run, config.model).to(device)
    autoencoder = load_autoencoder(run, config.model).to(device)
    painter = Painter(detokenizer, autoencoder, encoder, config=config.model.detokenizer, sampler=config.tell.sampler)
    stories = read_stories(run.dataset_dir, "validation")[: config.tell.stories]
    square = encoder_square(config.model.image_encoder)
    starts = [start_of(number, story, encoder, square) for number, story in enumerate(stories)]
    log.info("telling from %d openings on %s", len(starts), device)
    mllm = merged(load_mllm(run, config.model)).to(device)
    return Storyteller(config, starts, load_tokenizer(run, config.model), mllm, painter)


@torch.inference_mode()
def start_of(number: int, story: Story, encoder: ImageEncoder, square: Square) -> Start:
    """Look at a story's opening pair; the number keeps the folders of like-named stories apart."""
    pixels = normalised(decode_square(story.images[0], square).pixels)
    features = encoder(pixels[None].to(encoder.proj))[0]
    folder = f"{number:02d}-{re.sub(r'[^A-Za-z0-9_-]', '-', story.story_id)[:100]}"
    return Start(folder, story, Opening(story.story_id, story.captions[0], features))


def _recall(journal: Path, start: Start) -> Told | None:
    path = journal / f"{start.folder}.json"
    if not path.is_file():
        return None
    notes = StoryNotes.model_validate_json(path.read_bytes())
    return Told(start, notes.pairs, load_tensors(path.with_suffix(".safetensors"))["features"])


def _note(journal: Path, start: Start, pairs: Iterator[ToldPair]) -> Told:
    """Tell a story to its end and write it down; the words last, since they say that it is whole."""
    told = list(pairs)
    features = torch.stack([pair.features for pair in told])
    notes = [PairNote.model_validate({name: getattr(pair, name) for name in PairNote.model_fields}) for pair in told]
    path = journal / f"{start.folder}.json"
    save_tensors({"features": features}, path.with_suffix(".safetensors"))
    write_atomically(path, StoryNotes(pairs=notes).model_dump_json().encode())
    return Told(start, notes, features)


def _counted(pairs: Iterator[ToldPair], bar: tqdm) -> Iterator[ToldPair]:
    for pair in pairs:
        bar.update()
        yield pair


def _picture(one: Told, place: int) -> str:
    return f"{one.pairs[place].index:02d}.png"


def _save_png(pixels: Tensor, path: Path) -> None:
    buffer = io.BytesIO()
    to_image(pixels).save(buffer, format="PNG")
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, buffer.getvalue())


def _result(told: Sequence[Told]) -> StepResult:
    pairs = [pair for one in told for pair in one.pairs]
    counts = {
        "stories": len(told),
        "segments": len(pairs),
        "pictures": len(pairs),
        "forward_passes": sum(pair.forwards for pair in pairs),
        "tokens_prefilled": sum(pair.prefilled for pair in pairs),
        "tokens_decoded": sum(pair.decoded for pair in pairs),
    }
    return StepResult(counts=counts, metrics={"largest_cache_tokens": max(pair.cache_tokens for pair in pairs)})
