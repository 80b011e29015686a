"""The teller: continues stories pair by pair, text and picture, several at a time, reading nothing twice.

A pair costs the language model these forward passes over a cache that outlives it:

    1. all that is new: the previous picture, its end, the separator (and, where it is given, the caption)
    2. one pass a word, where the model writes the text itself, until it says begin-of-image
    3. begin-of-image with all of the picture's queries at once, whose hidden states become the picture's features

Where the caption is given, 1 and 3 are a single pass. Stories that are told together share their passes; one whose text
is finished waits outside of them for the pass of the pictures. The queries' entries leave the cache at once: in what
follows the picture stands as the input resampler shows it, as in training. Then the cache policy decides what is let
go. Pictures are painted from the features elsewhere, and later: the story does not wait for them. Letters: A stories,
F features of a picture, D width.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from story_model.book import Book, Shelf
from story_model.cache_policy import most_tokens, survivors
from story_model.kv_cache import Positions, StoryCache
from story_model.mllm import Mllm, merged_llama
from story_model.seeds import seed_of
from story_model.tell_config import CacheConfig, Policy
from story_model.tokens import SEPARATOR, StoryTokenizer

log = logging.getLogger(__name__)

StoryState = dict[str, Tensor]
"""A story after some pair, as named tensors on the CPU that safetensors can hold."""


@dataclass(frozen=True)
class Opening:
    """The pair that a story is continued from."""

    story_id: str
    caption: str
    features: Tensor
    """What the image encoder sees in the opening picture, float32 (F, D)."""


@dataclass(frozen=True)
class ToldPair:
    """One told pair, and what it cost."""

    index: int
    """1 is the first after the opening."""
    text: str
    text_ids: list[int]
    features: Tensor
    """Predicted features of the picture, float32 (F, D) on the CPU."""
    forwards: int
    """Passes through the language model that the story took part in."""
    prefilled: int
    """Tokens that were read: given words, the previous picture, begin-of-image, queries."""
    decoded: int
    """Tokens of text that the model wrote."""
    cache_tokens: int
    """Tokens in the cache after it."""
    was_cut: bool = False
    """The text reached its budget before the model began the picture."""


@dataclass(frozen=True)
class _Text:
    """A pair's text in the making."""

    ids: list[int]
    is_given: bool
    generator: torch.Generator | None
    """Draws its words; none where nothing is left to chance."""
    was_cut: bool = False


class Teller:
    """Tells stories under one cache policy."""

    def __init__(
        self,
        mllm: Mllm,
        tokenizer: StoryTokenizer,
        *,
        policy: Policy = "dense",
        memory: CacheConfig | None = None,
        positions: Positions = "slots",
        max_text_tokens: int = 40,
        temperature: float = 0.0,
        seed: int = 0,
        separator: str = SEPARATOR,
    ) -> None:
        """Take the networks (LoRA merged for speed, see `merged`), what to remember, and how to choose words.

        `separator` stands before each told text, as in training. Temperature 0 takes the likeliest word.
        """
        self.mllm = mllm
        self.tokenizer = tokenizer
        self.policy = policy
        self.memory = memory or CacheConfig()
        self.positions = positions
        self.max_text_tokens = max_text_tokens
        self.temperature = temperature
        self.seed = seed
        self.separator = separator
        self._never_in_text = _marks(tokenizer, separator)

    def tell(self, opening: Opening, captions: Sequence[str | None]) -> Iterator[ToldPair]:
        """Continue an opening by a pair for each caption; where one is none the model writes the text."""
        return (pair for _, pair in self.tell_together([opening], [captions]))

    def tell_together(
        self,
        openings: Sequence[Opening],
        captions: Sequence[Sequence[str | None]],
        states: Mapping[int, StoryState] | None = None,
    ) -> "Telling":
        """Continue several openings, each by a pair for each of its captions; words are drawn as for each alone.

        Stories that have a state, by their place in `openings`, go on after the last pair that it knows.
        """
        return Telling(self, openings, captions, states or {})

    @torch.inference_mode()
    def open_shelf(
        self,
        numbers: Sequence[int],
        openings: Sequence[Opening],
        captions: Sequence[Sequence[str | None]],
        states: Mapping[int, StoryState],
    ) -> Shelf:
        """Put the numbered stories side by side, each at its opening or where its state left it."""
        needs = [self._most_tokens(openings[number], captions[number]) for number in numbers]
        are_texts_known = all(None not in captions[number] for number in numbers)
        cache = StoryCache(
            self.mllm.llama,
            num_stories=len(numbers),
            positions=self.positions,
            capacity=max(needs) if are_texts_known else 0,
            limit=max(needs),
        )
        shelf = Shelf(self.mllm, self.tokenizer, cache, [Book(number, openings[number].story_id) for number in numbers])
        for place, book in enumerate(shelf.books):
            if book.number in states:
                shelf.restore(place, states[book.number])
            else:
                shelf.say(book, self._beginning(openings[book.number]))
                shelf.say(book, [self.tokenizer.begin_of_image])
                shelf.show(book, openings[book.number].features)
        return shelf

    @torch.inference_mode()
    def _tell_pair(self, shelf: Shelf, captions: Sequence[Sequence[str | None]]) -> list[tuple[int, ToldPair]]:
        """Tell the next pair of every story on the shelf."""
        shelf.cache.keep([survivors(self.policy, book.pairs, self.memory) for book in shelf.books])
        shelf.mark()
        before = {book.number: (book.forwards, book.tokens_read) for book in shelf.books}
        texts = {}
        for book in shelf.books:
            caption = captions[book.number][len(book.pairs) - 1]
            texts[book.number] = self._begin_text(shelf, book, caption)
        texts |= self._write(shelf, {number: text for number, text in texts.items() if not text.is_given})
        for book in shelf.books:
            shelf.say(book, [self.tokenizer.begin_of_image])
        features_AFD = shelf.imagine()
        told = []
        for place, book in enumerate(shelf.books):
            index, text = len(book.pairs), texts[book.number]
            caption = captions[book.number][index - 1]
            shelf.show(book, features_AFD[place])
            forwards, tokens_read = before[book.number]
            decoded = 0 if text.is_given else len(text.ids)
            pair = ToldPair(
                index=index,
                text=self.tokenizer.decode(text.ids) if caption is None else caption,
                text_ids=text.ids,
                features=features_AFD[place].float().cpu(),
                forwards=book.forwards - forwards,
                prefilled=book.tokens_read - tokens_read - decoded,
                decoded=decoded,
                cache_tokens=shelf.cache.num_slots[place],
                was_cut=text.was_cut,
            )
            told.append((book.number, pair))
        return sorted(told, key=lambda numbered: numbered[0])

    def _begin_text(self, shelf: Shelf, book: Book, caption: str | None) -> _Text:
        """Say what is known of the next text: the separator, and the caption where it is given."""
        ids = self.tokenizer.encode(f"{self.separator}{caption or ''}")
        shelf.say(book, ids)
        if caption is not None:
            return _Text(ids, is_given=True, generator=None)
        seed = seed_of(self.seed, book.story_id, len(book.pairs), "text")
        return _Text([], is_given=False, generator=torch.Generator().manual_seed(seed) if self.temperature else None)

    def _write(self, shelf: Shelf, texts: dict[int, _Text]) -> dict[int, _Text]:
        """Let the model write until it begins a picture or the text is as long as it may be."""
        written: dict[int, _Text] = {}
        while len(written) < len(texts):
            writing = _bring_to_front(shelf, texts.keys() - written.keys())
            tokens = self._choose(shelf.read(writing)[:, 0], [texts[book.number] for book in shelf.books[:writing]])
            for book, token in zip(shelf.books[:writing], tokens, strict=True):
                text = texts[book.number]
                if token == self.tokenizer.begin_of_image:
                    written[book.number] = text
                    continue
                text.ids.append(token)
                shelf.say(book, [token])
                if len(text.ids) >= self.max_text_tokens:
                    written[book.number] = _Text(text.ids, text.is_given, text.generator, was_cut=True)
        return written

    def _choose(self, hidden_AD: Tensor, texts: Sequence[_Text]) -> list[int]:
        logits = self.mllm.llama.lm_head(hidden_AD).float()
        logits[:, self._never_in_text] = -torch.inf
        if self.temperature == 0:
            return [int(token) for token in logits.argmax(-1).tolist()]
        chances = (logits.cpu() / self.temperature).softmax(-1)
        draws = zip(chances, texts, strict=True)
        return [int(torch.multinomial(chance, 1, generator=text.generator)) for chance, text in draws]

    def _most_tokens(self, opening: Opening, captions: Sequence[str | None]) -> int:
        """Count the slots that a story may need; a text that is not known yet is taken to be as long as it may be."""
        separator = len(self.tokenizer.encode(self.separator)) + self.max_text_tokens
        texts = [
            separator if caption is None else len(self.tokenizer.encode(f"{self.separator}{caption}"))
            for caption in captions
        ]
        num_image_tokens = self.tokenizer.num_image_tokens
        return most_tokens(self.policy, len(self._beginning(opening)), texts, num_image_tokens, self.memory)

    def _beginning(self, opening: Opening) -> list[int]:
        return [self.tokenizer.begin_of_story, *self.tokenizer.encode(opening.caption)]


class Telling(Iterator[tuple[int, ToldPair]]):
    """Stories being told together: yields each told pair with its story's place among the openings."""

    def __init__(
        self,
        teller: Teller,
        openings: Sequence[Opening],
        captions: Sequence[Sequence[str | None]],
        states: Mapping[int, StoryState],
    ) -> None:
        """Take what to tell; nothing is read before the first pair is asked for."""
        if len(openings) != len(captions):
            raise ValueError(f"{len(openings)} openings and captions of {len(captions)} stories; give one list each")
        self.forwards = 0
        """Passes through the language model so far, each shared by all stories that took part."""
        self._teller = teller
        self._openings = openings
        self._captions = captions
        self._states = dict(states)
        self._shelf: Shelf | None = None
        self._pairs = self._tell([number for number, given in enumerate(captions) if given])

    def __next__(self) -> tuple[int, ToldPair]:
        """Hand out the next pair."""
        return next(self._pairs)

    @property
    def cache_bytes(self) -> int:
        """Bytes of the keys and values of the stories that are being told now, filled or not."""
        return self._shelf.cache.num_bytes if self._shelf else 0

    def state(self, number: int) -> StoryState:
        """Hand out a story after the pair that was yielded last of it, before the next pair is asked for.

        Raises:
            ValueError: it is not being told now.
        """
        for place, book in enumerate(self._shelf.books if self._shelf else []):
            if book.number == number:
                assert self._shelf is not None
                return self._shelf.state(place)
        raise ValueError(f"story {number} of this telling is not in hand; take its state when one of its pairs comes")

    def _tell(self, numbers: list[int]) -> Iterator[tuple[int, ToldPair]]:
        """Tell a group of stories to their ends; where the memory does not suffice, its halves one after the other."""
        if not numbers:
            return
        shelf = self._shelf = self._teller.open_shelf(numbers, self._openings, self._captions, self._states)
        self._remove_finished(shelf)
        while shelf.books:
            told = self._next_pairs(shelf)
            if told is None:
                left = sorted(book.number for book in shelf.books)
                self._states |= {book.number: shelf.state(place) for place, book in enumerate(shelf.books)}
                del shelf
                self._shelf = None
                log.warning("out of memory with %d stories at once; going on with half as many", len(left))
                yield from self._tell(left[: len(left) // 2])
                yield from self._tell(left[len(left) // 2 :])
                return
            yield from told
            self._remove_finished(shelf)

    def _next_pairs(self, shelf: Shelf) -> list[tuple[int, ToldPair]] | None:
        """Tell a pair of each, or none if the memory does not suffice for so many stories."""
        before = shelf.forwards
        try:
            return self._teller._tell_pair(shelf, self._captions)
        except torch.OutOfMemoryError:
            if len(shelf.books) == 1:
                raise
            shelf.back_to_mark()
            return None
        finally:
            self.forwards += shelf.forwards - before

    def _remove_finished(self, shelf: Shelf) -> None:
        finished = {book.number for book in shelf.books if len(book.pairs) > len(self._captions[book.number])}
        shelf.remove(finished)


def _bring_to_front(shelf: Shelf, numbers: set[int]) -> int:
    """Have the numbered stories stand first, so that a pass over them costs nothing for the others; how many."""
    for place in range(len(numbers)):
        if shelf.books[place].number not in numbers:
            others = range(len(numbers), len(shelf.books))
            shelf.swap(place, next(other for other in others if shelf.books[other].number in numbers))
    return len(numbers)


def _marks(tokenizer: StoryTokenizer, separator: str) -> list[int]:
    """List what would break a pair's form: a text consists of words and ends with begin-of-image."""
    ends = [tokenizer.begin_of_story, tokenizer.end_of_story, tokenizer.pad, tokenizer.end_of_image]
    separator_ids = tokenizer.encode(separator)
    return [*ends, *tokenizer.image_ids, *(separator_ids if len(separator_ids) == 1 else [])]


def merged(mllm: Mllm) -> Mllm:
    """Make a teller's `Mllm` with a plain LLaMA of one that was trained with LoRA; the old one is not to be used."""
    return Mllm(merged_llama(mllm), input_resampler=mllm.input_resampler, output_resampler=mllm.output_resampler).eval()


if __name__ == "__main__":
    import sys

    from story_model.generate_command import main

    sys.exit(main())
