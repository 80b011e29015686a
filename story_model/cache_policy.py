"""Which tokens of a long story stay in the cache: four policies, each a function of integers.

Tokens are numbered from the story's first one, whether they are still remembered or not. The most recent pairs form the
window and are kept whole; the policies differ in what they keep of the pairs before it.

    dense            all of it
    window           nothing
    attention_sink   the first tokens of the story (StreamingLLM)
    multimodal_sink  those, and what stands at the edges of each picture (SEED-Story)

A token that was let go is never asked for again: what survives only shrinks as the story grows. A further policy is one
more function in `POLICIES`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from story_model.tell_config import CacheConfig, Policy


@dataclass(frozen=True)
class PairSpan:
    """Where one finished pair lies: its text, then the picture between begin- and end-of-image."""

    start: int
    """Number of the first token of its text (of begin-of-image, where there is no text)."""
    begin_of_image: int
    end_of_image: int

    @property
    def tokens(self) -> range:
        """All of the pair."""
        return range(self.start, self.end_of_image + 1)


def survivors(policy: Policy, pairs: Sequence[PairSpan], settings: CacheConfig) -> list[int]:
    """List the tokens that stay, in order, of a story that so far consists of these pairs."""
    evicted = pairs[: -settings.window_segments]
    window = _tokens(pairs[-settings.window_segments :])
    return sorted({*POLICIES[policy](evicted, pairs, settings), *window})


def most_tokens(
    policy: Policy, opening: int, texts: Sequence[int], num_image_tokens: int, settings: CacheConfig
) -> int:
    """Count the most tokens that are held at once while a story is told.

    That is where a picture is predicted: what survived, the previous picture where it was only now read, the text,
    begin-of-image and the queries. `opening` counts the tokens before the opening picture's begin-of-image, `texts`
    those of each told text with its separator.
    """
    pairs = [PairSpan(0, opening, opening + num_image_tokens + 1)]
    most = 0
    for text in texts:
        most = max(most, len(survivors(policy, pairs, settings)) + text + 1 + num_image_tokens)
        start = pairs[-1].end_of_image + 1
        pairs.append(PairSpan(start, start + text, start + text + num_image_tokens + 1))
    return most


def _dense(evicted: Sequence[PairSpan], pairs: Sequence[PairSpan], settings: CacheConfig) -> Iterable[int]:
    return _tokens(evicted)


def _window(evicted: Sequence[PairSpan], pairs: Sequence[PairSpan], settings: CacheConfig) -> Iterable[int]:
    return ()


def _attention_sink(evicted: Sequence[PairSpan], pairs: Sequence[PairSpan], settings: CacheConfig) -> Iterable[int]:
    return list(islice(_tokens(pairs), settings.first_tokens))


def _multimodal_sink(evicted: Sequence[PairSpan], pairs: Sequence[PairSpan], settings: CacheConfig) -> Iterator[int]:
    yield from _attention_sink(evicted, pairs, settings)
    forgotten = 0 if settings.max_evicted_images is None else max(len(evicted) - settings.max_evicted_images, 0)
    for index in range(forgotten, len(evicted)):
        yield from _picture_edges(pairs[index], pairs[index + 1], settings)


def _picture_edges(pair: PairSpan, following: PairSpan, settings: CacheConfig) -> Iterator[int]:
    """List what is kept of an evicted picture: both its ends, and the text that touches them."""
    picture = range(pair.begin_of_image, pair.end_of_image + 1)
    text_before = range(pair.start, pair.begin_of_image)
    text_after = range(following.start, following.begin_of_image)
    yield from picture[: settings.image_edge_tokens]
    yield from picture[max(len(picture) - settings.image_edge_tokens, 0) :]
    yield from text_before[max(len(text_before) - settings.text_edge_tokens, 0) :]
    yield from text_after[: settings.text_edge_tokens]


def _tokens(pairs: Sequence[PairSpan]) -> Iterator[int]:
    return (token for pair in pairs for token in pair.tokens)


POLICIES: dict[Policy, Callable[[Sequence[PairSpan], Sequence[PairSpan], CacheConfig], Iterable[int]]] = {
    "dense": _dense,
    "window": _window,
    "attention_sink": _attention_sink,
    "multimodal_sink": _multimodal_sink,
}
"""What each policy keeps, given the pairs before the window, all pairs, and the settings."""
