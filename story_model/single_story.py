"""Tells a single story into its folder: each pair is on disk before the next begins, so that a kill costs one at most.

A pair's files come before `story.json`, that before the teller's memory: what the memory knows of is all on disk. What
a kill left of the pair after it is told and painted again, on a CPU to the same bytes. Letters: F features of a
picture, D width.
"""

import io
import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from story_model.cache_policy import survivors
from story_model.checkpoint import load_tensors, save_tensors
from story_model.generate import Opening, StoryState, Teller, ToldPair
from story_model.manifest import write_atomically
from story_model.parts import Networks
from story_model.pixels import decode_square, detokenizer_square, encoder_square, normalised, to_image, unsigned
from story_model.schema import Segment, ToldStory
from story_model.seeds import seed_of
from story_model.story_folder import (
    KeptPair,
    StoryFolder,
    StorySettings,
    claimed,
    load_features,
    picture_name,
    write_model,
)
from story_model.strip import picture_url, strip_page
from story_model.tell_config import Mode

log = logging.getLogger(__name__)


def tell_into(
    folder: StoryFolder, settings: StorySettings, beginning: bytes | Sequence[KeptPair], load: Callable[[], Networks]
) -> ToldStory:
    """Tell a story from an encoded picture or from kept pairs, or what is missing of it; networks load if needed.

    Raises:
        ValueError: the folder holds something else, or another process works on it.
    """
    with claimed(folder, settings):
        story = folder.story()
        if story is None or not folder.is_told(story, settings):
            networks = load()
            kept = look_at(beginning, settings, networks) if isinstance(beginning, bytes) else beginning
            story = _begin(folder, settings, kept)
            _Telling(folder, settings, networks, story).tell()
        else:
            log.info("already told, nothing to compute")
        folder.memory_path.unlink(missing_ok=True)
        return story


class _Telling:
    """A story on its way: what is on disk of it, and the networks that tell the rest."""

    def __init__(self, folder: StoryFolder, settings: StorySettings, networks: Networks, story: ToldStory) -> None:
        self.folder = folder
        self.settings = settings
        self.networks = networks
        self.story = story
        self._urls: list[str] = []

    def tell(self) -> None:
        """Tell and paint what is missing."""
        memory = load_tensors(self.folder.memory_path) if self.folder.memory_path.is_file() else None
        if len(self.story.segments) < self.settings.length:
            # What was written after the memory is told again, so that it and the memory agree.
            del self.story.segments[self.settings.kept if memory is None else len(memory["pairs"]) :]
        for segment in self.story.segments:
            if not self.folder.picture_path(segment.index).is_file():
                self._paint(segment.index, load_features(self.folder.features_path(segment.index)))
            self._urls.append(picture_url(self.folder.picture(segment.index)))
        num_missing = self.settings.length - len(self.story.segments)
        if num_missing:
            self._tell_on(memory)
        self._write_page()

    def _tell_on(self, memory: StoryState | None) -> None:
        settings, first = self.settings, self.story.segments[0]
        features = load_features(self.folder.features_path(0)).to(self.networks.encoder.proj.device)
        opening = Opening(settings.story_id, first.text, features)
        texts = [*(segment.text for segment in self.story.segments[1 : settings.kept]), *settings.texts]
        teller = Teller(
            self.networks.mllm,
            self.networks.tokenizer,
            policy=settings.policy,
            memory=settings.cache,
            max_text_tokens=settings.max_text_tokens,
            temperature=settings.temperature,
            seed=settings.seed,
        )
        if memory is None and settings.kept > 1:
            kept = [load_features(self.folder.features_path(index)) for index in range(1, settings.kept)]
            memory = memory_of(teller, opening, texts, kept)
        telling = teller.tell_together([opening], [texts], {} if memory is None else {0: memory})
        num_cut = 0
        done = len(self.story.segments) - settings.kept
        with tqdm(total=len(settings.texts), initial=done, desc="tell", unit="pair", mininterval=1) as bar:
            for _, pair in telling:
                self._write(pair)
                if pair.index < settings.length - 1:
                    save_tensors(telling.state(0), self.folder.memory_path)
                num_cut += pair.was_cut
                bar.update()
        if num_cut:
            log.warning("%d texts were cut at %d tokens", num_cut, settings.max_text_tokens)

    def _write(self, pair: ToldPair) -> None:
        save_tensors({"features": pair.features}, self.folder.features_path(pair.index))
        self._paint(pair.index, pair.features)
        self._urls.append(picture_url(self.folder.picture(pair.index)))
        self.story.segments.append(
            Segment(
                index=pair.index,
                text=pair.text,
                image=picture_name(pair.index),
                tokens=pair.prefilled + pair.decoded,
                cache_tokens=pair.cache_tokens,
            )
        )
        write_model(self.story, self.folder.story_path)
        self._write_page()

    def _paint(self, index: int, features_FD: Tensor) -> None:
        """Paint a picture by itself: what it shows then does not depend on where a kill came."""
        seed = seed_of(self.settings.seed, self.settings.story_id, index, "picture")
        (picture,) = self.networks.painter.paint_batch(features_FD[None], [seed])
        write_atomically(self.folder.picture_path(index), _png(unsigned(picture)))

    def _write_page(self) -> None:
        settings = self.settings
        told = f"{len(self.story.segments) - settings.kept} of {len(settings.texts)} pairs told"
        branch = f" · branches off another story at pair {settings.kept}" if settings.is_branch else ""
        page = strip_page(
            self.story,
            self._urls,
            kept=settings.kept,
            given=[index for index, text in enumerate(settings.texts, start=settings.kept) if text is not None],
            aspect_ratio=settings.image_size if settings.model.detokenizer.transform == "squash" else (1, 1),
            note=f"{told}{branch} · {settings.policy}, temperature {settings.temperature:g}, seed {settings.seed}",
        )
        write_atomically(self.folder.strip_path, page.encode())


@torch.inference_mode()
def look_at(picture: bytes, settings: StorySettings, networks: Networks) -> list[KeptPair]:
    """Make the opening pair of an encoded picture."""
    model = networks.config.model
    pixels = normalised(decode_square(picture, encoder_square(model.image_encoder)).pixels)
    features = networks.encoder(pixels[None].to(networks.encoder.proj))[0]
    shown = decode_square(picture, detokenizer_square(model.detokenizer)).pixels
    opening = Segment(index=0, text=settings.text, image=picture_name(0))
    return [KeptPair(opening, features.float().cpu(), _png(shown))]


@torch.inference_mode()
def memory_of(teller: Teller, opening: Opening, texts: Sequence[str | None], kept: Sequence[Tensor]) -> StoryState:
    """Give the memory of a teller who told the first texts, as if they had been given, and drew the kept pictures.

    The passes are those of telling: a story whose texts were given is remembered to the bit.
    """
    shelf = teller.open_shelf([0], [opening], [texts], {})
    (book,) = shelf.books
    for text, features_FD in zip(texts, kept, strict=False):
        shelf.cache.keep([survivors(teller.policy, book.pairs, teller.memory)])
        shelf.say(book, teller.tokenizer.encode(f"{teller.separator}{text}"))
        shelf.say(book, [teller.tokenizer.begin_of_image])
        shelf.imagine()
        shelf.show(book, features_FD)
    return shelf.state(0)


def _begin(folder: StoryFolder, settings: StorySettings, kept: Sequence[KeptPair]) -> ToldStory:
    """Write what is missing of the pairs that are there before anything is told; the story as far as it is known."""
    for pair in kept:
        if not folder.features_path(pair.segment.index).is_file():
            save_tensors({"features": pair.features}, folder.features_path(pair.segment.index))
        if not folder.picture_path(pair.segment.index).is_file():
            write_atomically(folder.picture_path(pair.segment.index), pair.picture)
    story = folder.story()
    if story is None:
        mode: Mode = "free" if None in settings.texts else "captions_given"
        segments = [pair.segment for pair in kept]
        story = ToldStory(story_id=settings.story_id, mode=mode, policy=settings.policy, segments=segments)
        write_model(story, folder.story_path)
    return story


def _png(pixels: Tensor) -> bytes:
    buffer = io.BytesIO()
    to_image(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
