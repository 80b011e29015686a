"""The teller: continues a story pair by pair, text and picture, reading nothing twice.

A pair costs the language model these forward passes over a cache that outlives it:

    1. all that is new: the previous picture, its end, the separator (and, where it is given, the caption)
    2. one pass a word, where the model writes the text itself, until it says begin-of-image
    3. begin-of-image with all of the picture's queries at once, whose hidden states become the picture's features

Where the caption is given, 1 and 3 are a single pass. The queries' entries leave the cache at once: in what follows the
picture stands as the input resampler shows it, as in training. Then the cache policy decides what is let go. Pictures
are painted from the features elsewhere, and later: the story does not wait for them. Letters: S positions, F features
of a picture, D width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from story_model.cache_policy import PairSpan, survivors
from story_model.config import CacheConfig, Policy
from story_model.kv_cache import Positions, StoryCache
from story_model.mllm import Mllm, merged_llama
from story_model.seeds import seed_of
from story_model.tokens import SEPARATOR, StoryTokenizer


@dataclass(frozen=True)
class Opening:
    """The pair that a story is continued from."""

    story_id: str
    caption: str
    features: Tensor
    """What the image encoder sees in the opening picture, (F, D)."""


@dataclass(frozen=True)
class ToldPair:
    """One told pair, and what it cost."""

    index: int
    """1 is the first after the opening."""
    text: str
    text_ids: list[int]
    features: Tensor
    """Predicted features of the picture, (F, D)."""
    forwards: int
    """Passes through the language model."""
    prefilled: int
    """Tokens that were read: given words, the previous picture, begin-of-image, queries."""
    decoded: int
    """Tokens of text that the model wrote."""
    cache_tokens: int
    """Tokens in the cache after it."""


class Teller:
    """Tells stories, one at a time, under one cache policy."""

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
        book = _Book(self.mllm, self.tokenizer, self.positions)
        book.say([self.tokenizer.begin_of_story, *self.tokenizer.encode(opening.caption)])
        book.say([self.tokenizer.begin_of_image])
        book.show(opening.features)
        for index, caption in enumerate(captions, start=1):
            yield self._tell_pair(book, index, caption, seed_of(self.seed, opening.story_id, index, "text"))

    @torch.inference_mode()
    def _tell_pair(self, book: "_Book", index: int, caption: str | None, seed: int) -> ToldPair:
        forwards, tokens_read = book.forwards, book.tokens_read
        book.forget(survivors(self.policy, book.pairs, self.memory))
        if caption is None:
            book.say(self.tokenizer.encode(self.separator))
            text_ids = self._write(book, seed)
        else:
            text_ids = self.tokenizer.encode(f"{self.separator}{caption}")
            book.say(text_ids)
        book.say([self.tokenizer.begin_of_image])
        features_FD = book.imagine()
        book.show(features_FD)
        decoded = len(text_ids) if caption is None else 0
        return ToldPair(
            index=index,
            text=self.tokenizer.decode(text_ids) if caption is None else caption,
            text_ids=text_ids,
            features=features_FD.float().cpu(),
            forwards=book.forwards - forwards,
            prefilled=book.tokens_read - tokens_read - decoded,
            decoded=decoded,
            cache_tokens=book.cache.num_slots,
        )

    def _write(self, book: "_Book", seed: int) -> list[int]:
        """Let the model write until it begins a picture or the text is as long as it may be."""
        generator = torch.Generator().manual_seed(seed)
        ids: list[int] = []
        while len(ids) < self.max_text_tokens:
            token = self._choose(book.read()[-1], generator)
            if token == self.tokenizer.begin_of_image:
                break
            ids.append(token)
            book.say([token])
        return ids

    def _choose(self, hidden_D: Tensor, generator: torch.Generator) -> int:
        logits = self.mllm.llama.lm_head(hidden_D).float().cpu()
        logits[self._never_in_text] = -torch.inf
        if self.temperature == 0:
            return int(logits.argmax())
        return int(torch.multinomial((logits / self.temperature).softmax(-1), 1, generator=generator))


def _marks(tokenizer: StoryTokenizer, separator: str) -> list[int]:
    """List what would break a pair's form: a text consists of words and ends with begin-of-image."""
    ends = [tokenizer.begin_of_story, tokenizer.end_of_story, tokenizer.pad, tokenizer.end_of_image]
    separator_ids = tokenizer.encode(separator)
    return [*ends, *tokenizer.image_ids, *(separator_ids if len(separator_ids) == 1 else [])]


class _Book:
    """A story as the language model has read it so far: what was said, and what of it waits for the next pass."""

    def __init__(self, mllm: Mllm, tokenizer: StoryTokenizer, positions: Positions) -> None:
        self.mllm = mllm
        self.tokenizer = tokenizer
        self.cache = StoryCache(mllm.llama, positions=positions)
        self.pairs: list[PairSpan] = []
        self.forwards = 0
        self.tokens_read = 0
        self._waiting: list[Tensor] = []
        self._num_said = 0
        self._pair_start = 0

    def say(self, ids: list[int]) -> None:
        """Append tokens."""
        self._append(self._embed(ids))

    @torch.inference_mode()
    def show(self, features_FD: Tensor) -> None:
        """Append a picture and its end after begin-of-image, which completes the pair."""
        begin_of_image = self._num_said - 1
        weight = self.mllm.llama.lm_head.weight
        self._append(self.mllm.input_resampler(features_FD[None].to(weight))[0])
        self.say([self.tokenizer.end_of_image])
        self.pairs.append(PairSpan(self._pair_start, begin_of_image, self._num_said - 1))
        self._pair_start = self._num_said

    def read(self) -> Tensor:
        """Pass all that waits through the model; hidden states over it (S, D), after the final norm."""
        embeds_SD = torch.cat(self._waiting)
        self._waiting = []
        self.forwards += 1
        self.tokens_read += len(embeds_SD)
        out = self.mllm.llama.model(inputs_embeds=embeds_SD[None], past_key_values=self.cache, use_cache=True)
        return out.last_hidden_state[0]

    def imagine(self) -> Tensor:
        """Predict the features (F, D) of the picture that begins here; the queries leave no trace."""
        queries = self.tokenizer.image_ids
        self._waiting.append(self._embed(queries))
        hidden_SD = self.read()
        self.cache.drop_last(len(queries))
        return self.mllm.predict_features(hidden_SD[-len(queries) :])[0]

    def forget(self, kept: list[int]) -> None:
        """Let go of what was read and is not to be kept."""
        self.cache.keep(kept)

    def _append(self, embeds_SD: Tensor) -> None:
        self._waiting.append(embeds_SD)
        self._num_said += len(embeds_SD)

    def _embed(self, ids: list[int]) -> Tensor:
        return self.mllm.embed(torch.tensor(ids, device=self.mllm.llama.device, dtype=torch.long))


def merged(mllm: Mllm) -> Mllm:
    """Make a teller's `Mllm` with a plain LLaMA of one that was trained with LoRA; the old one is not to be used."""
    return Mllm(merged_llama(mllm), input_resampler=mllm.input_resampler, output_resampler=mllm.output_resampler).eval()
