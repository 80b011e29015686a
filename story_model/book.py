"""Stories as the language model has read them so far, and one pass over what several of them have waiting.

Whatever is said or shown waits until the next pass over its story; nothing is passed twice. Stories on the same shelf
share passes, each with its own number of new tokens. Letters: A stories in a pass, S positions, K last positions, F
features of a picture, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from story_model.cache_policy import PairSpan
from story_model.kv_cache import StoryCache
from story_model.mllm import Mllm
from story_model.tokens import StoryTokenizer


@dataclass
class Book:
    """One story: what was said, and what of it waits for the next pass."""

    number: int
    """Its place among the stories that were asked for."""
    story_id: str
    pairs: list[PairSpan] = field(default_factory=list)
    waiting: list[Tensor] = field(default_factory=list)
    """Embeddings, (S, D) each."""
    num_said: int = 0
    pair_start: int = 0
    forwards: int = 0
    """Passes that it took part in."""
    tokens_read: int = 0

    def append(self, embeds_SD: Tensor) -> None:
        """Say something."""
        self.waiting.append(embeds_SD)
        self.num_said += len(embeds_SD)


class Shelf:
    """Stories that are read together; the place on the shelf is the row in the cache."""

    def __init__(self, mllm: Mllm, tokenizer: StoryTokenizer, cache: StoryCache, books: list[Book]) -> None:
        """Take as many books as the cache has rows."""
        self.mllm = mllm
        self.tokenizer = tokenizer
        self.cache = cache
        self.books = books
        self.forwards = 0
        self._marks: dict[int, tuple[Book, int]] = {}

    def say(self, book: Book, ids: Sequence[int]) -> None:
        """Append tokens to a story."""
        book.append(self._embed(ids))

    def show(self, book: Book, features_FD: Tensor) -> None:
        """Append a picture and its end after begin-of-image, which completes the pair."""
        begin_of_image = book.num_said - 1
        weight = self.mllm.llama.lm_head.weight
        book.append(self.mllm.input_resampler(features_FD[None].to(weight))[0])
        self.say(book, [self.tokenizer.end_of_image])
        book.pairs.append(PairSpan(book.pair_start, begin_of_image, book.num_said - 1))
        book.pair_start = book.num_said

    def read(self, count: int, num_last: int = 1) -> Tensor:
        """Pass all that waits in the first `count` books through the model; the last hidden states (A, K, D) of each.

        Raises:
            ValueError: they are not finite; the message names the story and the segment.
        """
        return self._read([torch.cat(book.waiting) for book in self.books[:count]], num_last)

    def imagine(self) -> Tensor:
        """Predict the features (A, F, D) of the pictures that begin here; the queries leave no trace."""
        queries_SD = self._embed(self.tokenizer.image_ids)
        num_queries = len(queries_SD)
        hidden = self._read([torch.cat([*book.waiting, queries_SD]) for book in self.books], num_queries)
        self.cache.drop_last([num_queries] * len(self.books))
        return self.mllm.predict_features(hidden)

    def swap(self, one: int, other: int) -> None:
        """Exchange two stories' places."""
        if one != other:
            self.cache.swap(one, other)
            self.books[one], self.books[other] = self.books[other], self.books[one]

    def remove(self, numbers: set[int]) -> None:
        """Take stories off the shelf."""
        left = len(self.books)
        for place in reversed(range(len(self.books))):
            if self.books[place].number in numbers:
                left -= 1
                self.swap(place, left)
        if left < len(self.books):
            del self.books[left:]
            self.cache.shrink(left)

    def mark(self) -> None:
        """Remember all stories as they are now."""
        slots = self.cache.num_slots
        self._marks = {
            book.number: (replace(book, pairs=list(book.pairs), waiting=list(book.waiting)), held)
            for book, held in zip(self.books, slots, strict=True)
        }

    def back_to_mark(self) -> None:
        """Make what was said and read since the mark unsaid; nothing may have been let go since."""
        marks = [self._marks[book.number] for book in self.books]
        self.books = [book for book, _ in marks]
        self.cache.drop_last([now - then for now, (_, then) in zip(self.cache.num_slots, marks, strict=True)])

    def state(self, place: int) -> dict[str, Tensor]:
        """Hand out all that a story consists of, on the CPU, for `open_shelf`."""
        book = self.books[place]
        spans = [(pair.start, pair.begin_of_image, pair.end_of_image) for pair in book.pairs]
        return self.cache.state(place) | {
            "pairs": torch.tensor(spans, dtype=torch.long),
            "waiting": torch.cat(book.waiting).cpu(),
            "said": torch.tensor([book.num_said, book.pair_start]),
        }

    def restore(self, place: int, state: dict[str, Tensor]) -> None:
        """Put a story back as it was handed out.

        Raises:
            ValueError: it does not fit the language model.
        """
        self.cache.restore(place, state)
        book = self.books[place]
        book.pairs = [PairSpan(*span) for span in state["pairs"].tolist()]
        book.waiting = [state["waiting"].to(self.mllm.llama.device)]
        book.num_said, book.pair_start = state["said"].tolist()

    def _read(self, embeds: list[Tensor], num_last: int) -> Tensor:
        counts = [len(embeds_SD) for embeds_SD in embeds]
        books = self.books[: len(embeds)]
        hidden_ASD = self.cache.read(pad_sequence(embeds, batch_first=True), counts)
        self.forwards += 1
        for book, count in zip(books, counts, strict=True):
            book.waiting = []
            book.forwards += 1
            book.tokens_read += count
        last_AK = torch.tensor(counts)[:, None] + torch.arange(-num_last, 0)
        last_AKD = hidden_ASD[torch.arange(len(counts))[:, None], last_AK]
        for book, is_finite in zip(books, last_AKD.isfinite().flatten(1).all(1).tolist(), strict=True):
            if not is_finite:
                raise ValueError(
                    f"story {book.story_id}, segment {len(book.pairs)}: the language model's hidden states are not "
                    "finite; check the opening's features and the weights, and use bfloat16 or float32, not float16"
                )
        return last_AKD

    def _embed(self, ids: Sequence[int]) -> Tensor:
        device = self.mllm.llama.lm_head.weight.device
        return self.mllm.embed(torch.tensor(ids, device=device, dtype=torch.long))
