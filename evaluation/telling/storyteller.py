"""One system's stories: told in batches, painted beside the teller, in a folder that survives a kill.

Which stories are told together, and which pictures are painted together, is decided by the list of openings alone. A
killed step goes on at the first segment that is not in the hidden journal, with the same stories side by side, and at
the first batch of pictures that is not on disk; so the result on a CPU is equal to the byte.
"""

import hashlib
import io
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from evaluation.telling.journal import Journal, PairNote, rounds
from evaluation.telling.openings import Start, start_of
from story_model.config import RunConfig, Settings
from story_model.dataset import Story, read_stories
from story_model.device import chosen_device
from story_model.generate import Teller
from story_model.manifest import StepResult, write_atomically
from story_model.mllm import Mllm
from story_model.painting import Painter
from story_model.painting_queue import PaintingQueue
from story_model.parts import load_networks
from story_model.pixels import size_of, to_image, unsigned, unsquashed
from story_model.schema import Segment, ToldStory
from story_model.seeds import seed_of
from story_model.tell_config import Mode, Policy
from story_model.tokens import StoryTokenizer
from story_model.workspace import RunFolder, contained

log = logging.getLogger(__name__)

_JOURNAL = ".told"
_REMEMBERED_BATCHES = 32


@dataclass(frozen=True)
class Told:
    """What was told from a start: words and costs; the pictures are on their way."""

    start: Start
    pairs: list[PairNote]


class _Picture(NamedTuple):
    """A picture that is to be painted."""

    path: Path
    story: Story


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
        captions = [self._captions(start.story, mode) for start in self.starts]
        told, seconds = [], 0.0
        with _progress(sum(map(len, captions)), f"tell {mode}-{policy}") as bar, self._painting(bar) as queue:
            for first in range(0, len(self.starts), tell.batch_size):
                batch = slice(first, first + tell.batch_size)
                journal = Journal(out_dir / _JOURNAL / f"{first:04d}", [len(given) for given in captions[batch]])
                hand_over = partial(self._hand_over, queue, bar, out_dir, self.starts[batch])
                _tell_batch(teller, self.starts[batch], captions[batch], journal, hand_over)
                told += _told(self.starts[batch], journal)
                seconds += sum(entry.seconds for entry in journal.entries)
        for one in told:
            self._write(one, mode, policy, contained(out_dir, one.start.folder))
        _remove(out_dir / _JOURNAL)
        return _result(told, seconds)

    def _captions(self, story: Story, mode: Mode) -> Sequence[str | None]:
        """List the captions to tell by; where they are given, a story ends when they do."""
        segments = self.config.tell.segments
        return story.captions[1 : segments + 1] if mode == "captions_given" else [None] * segments

    def _painting(self, bar: "_Progress") -> PaintingQueue[_Picture]:
        def deliver(picture: _Picture, square: Tensor) -> None:
            is_new = not picture.path.is_file()
            self._show(square, picture.path, picture.story)
            bar.update(is_new)

        return PaintingQueue(
            self._paint,
            deliver,
            batch_size=self.config.tell.sampler.batch_size,
            is_delivered=lambda picture: picture.path.is_file(),
        )

    def _hand_over(
        self,
        queue: PaintingQueue[_Picture],
        bar: "_Progress",
        out_dir: Path,
        starts: Sequence[Start],
        pairs: Sequence[PairNote],
        features: Sequence[Tensor],
    ) -> None:
        """Have told pairs painted, of a batch of stories."""
        bar.told += len(pairs)
        bar.set_postfix(told=bar.told, refresh=False)
        for pair, features_of_one in zip(pairs, features, strict=True):
            start = starts[pair.story]
            path = contained(out_dir, start.folder) / _picture_name(pair)
            bar.update(path.is_file())
            # Equal noise for the same place of a story in every system.
            seed = seed_of(self.config.seed, start.story.story_id, pair.index, "picture")
            queue.put(_Picture(path, start.story), features_of_one, seed)

    def _paint(self, features: Tensor, seeds: Sequence[int]) -> Tensor:
        """Paint a batch; the same one again, as policies ask for until the first of them forgets, is remembered."""
        key = hashlib.sha256(features.numpy().tobytes() + repr(list(seeds)).encode()).hexdigest()
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
            save_png(unsquashed(square, size_of(story.images[0])), path.with_name(f"{path.stem}-stretched.png"))
        save_png(square, path)

    def _write(self, one: Told, mode: Mode, policy: Policy, folder: Path) -> None:
        """Add the opening and the text to a story's pictures."""
        story = one.start.story
        self._show(one.start.shown, folder / "00.png", story)
        told = [
            Segment(
                index=pair.index,
                text=pair.text,
                image=_picture_name(pair),
                tokens=pair.prefilled + pair.decoded,
                cache_tokens=pair.cache_tokens,
            )
            for pair in one.pairs
        ]
        opening = Segment(index=0, text=story.captions[0], image="00.png")
        whole = ToldStory(story_id=story.story_id, mode=mode, policy=policy, segments=[opening, *told])
        write_atomically(folder / "story.json", whole.model_dump_json(indent=1).encode())


def load_storyteller(run: RunFolder, config: RunConfig) -> Storyteller:
    """Load a run's networks and look at the openings.

    Raises:
        ValueError: a part or the validation split is missing, or an opening cannot be used.
    """
    torch.set_num_threads(config.train.threads)
    device = chosen_device(Settings().device)
    networks = load_networks(run, config, device)
    stories = read_stories(run.dataset_dir, "validation")[: config.tell.stories]
    starts = [start_of(number, story, networks.encoder, config) for number, story in enumerate(stories)]
    log.info("telling from %d openings on %s in %s", len(starts), device, config.tell.precision)
    return Storyteller(config, starts, networks.tokenizer, networks.mllm, networks.painter)


def _tell_batch(
    teller: Teller,
    starts: Sequence[Start],
    captions: Sequence[Sequence[str | None]],
    journal: Journal,
    hand_over: Callable[[Sequence[PairNote], Sequence[Tensor]], None],
) -> None:
    """Tell stories side by side from where the journal ends, and hand all their pairs over, told now or before."""
    for place, entry in enumerate(journal.entries):
        hand_over(entry.pairs, journal.features(place))
    unfinished = journal.unfinished
    if not unfinished:
        return
    left = [given if story in unfinished else [] for story, given in enumerate(captions)]
    telling = teller.tell_together([start.opening for start in starts], left, journal.states())
    for told in rounds(telling, unfinished):
        journal.append(told)
        hand_over(journal.entries[-1].pairs, [pair.features for _, pair in told.pairs])


def _told(starts: Sequence[Start], journal: Journal) -> list[Told]:
    notes = [note for entry in journal.entries for note in entry.pairs]
    return [Told(start, [note for note in notes if note.story == story]) for story, start in enumerate(starts)]


def _remove(journal: Path) -> None:
    """Take the journal away at once, since half of one is not to be gone on from."""
    aside = journal.with_name(f"{journal.name}-done")
    shutil.rmtree(aside, ignore_errors=True)
    journal.replace(aside)
    shutil.rmtree(aside)


def _picture_name(pair: PairNote) -> str:
    return f"{pair.index:02d}.png"


def save_png(pixels: Tensor, path: Path) -> None:
    """Write a picture, uint8 (3, H, W), and the folder that it lies in."""
    buffer = io.BytesIO()
    to_image(pixels).save(buffer, format="PNG")
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, buffer.getvalue())


class _Progress(tqdm):
    """Counts painted pictures, which are what a step waits for in the end, and shows how many pairs are told."""

    told = 0


def _progress(num_pairs: int, title: str) -> _Progress:
    return _Progress(total=num_pairs, desc=title, unit="picture", mininterval=2, miniters=0)


def _result(told: Sequence[Told], seconds: float) -> StepResult:
    pairs = [pair for one in told for pair in one.pairs]
    counts = {
        "stories": len(told),
        "segments": len(pairs),
        "pictures": len(pairs),
        "forward_passes": sum(pair.forwards for pair in pairs),
        "tokens_prefilled": sum(pair.prefilled for pair in pairs),
        "tokens_decoded": sum(pair.decoded for pair in pairs),
    }
    metrics = {
        "largest_cache_tokens": max((pair.cache_tokens for pair in pairs), default=0),
        "language_model_seconds": round(seconds, 3),
    }
    return StepResult(counts=counts, metrics=metrics)
