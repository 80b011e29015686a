"""Does a told story repeat itself in its words? Per segment, and where only the whole story shows it, at index 0."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from evaluation.measures.measure import Values
from evaluation.measures.texts import ngrams, overlap, overlap_of, repeated_texts, repetition, words
from evaluation.pictures import Pair, Telling

Found = list[tuple[int, float]]
_WHOLE_STORY = (2, 3, 4)
_RUNNING = (2, 4)
_ELSEWHERE = 4


def text_values(tellings: Sequence[Telling]) -> dict[str, Values]:
    """Measure the texts of one system."""

    def each(find: Callable[[Sequence[Pair]], Found]) -> Values:
        return {telling.story_id: find(telling.told) for telling in tellings}

    return {
        "text_words": each(lambda pairs: [(pair.index, float(len(words(pair.text)))) for pair in pairs]),
        "text_empty": each(lambda pairs: [(pair.index, float(not words(pair.text))) for pair in pairs]),
        "text_repeated": each(_repeated),
        "text_nearest_earlier": {telling.story_id: _nearest_earlier(telling) for telling in tellings},
        "text_overlap": {telling.story_id: _overlap(telling) for telling in tellings},
        **{f"text_rep_{n}": each(partial(_repetition, n=n)) for n in _WHOLE_STORY},
        **{f"text_said_before_{n}": each(partial(said_before, n=n)) for n in _RUNNING},
        f"text_said_elsewhere_{_ELSEWHERE}": _said_elsewhere(tellings),
    }


def said_before(pairs: Sequence[Pair], n: int) -> Found:
    """Measure, for each text with n words, the share of its n-grams that occurred earlier in the story or in it."""
    seen: set[tuple[str, ...]] = set()
    found = []
    for pair in pairs:
        grams = ngrams([pair.text], n)
        new = set(grams) - seen
        seen |= new
        if grams:
            found.append((pair.index, 1 - len(new) / len(grams)))
    return found


def _said_elsewhere(tellings: Sequence[Telling]) -> Values:
    """Measure, for each text with enough words, the share of its n-grams that other stories of the system say too."""
    said = {telling.story_id: set(ngrams(_texts(telling.told), _ELSEWHERE)) for telling in tellings}
    stories = Counter(gram for grams in said.values() for gram in grams)
    found: dict[str, Found] = {}
    for telling in tellings:
        grams = [(pair.index, ngrams([pair.text], _ELSEWHERE)) for pair in telling.told] if len(tellings) > 1 else []
        found[telling.story_id] = [
            (index, sum(stories[gram] > 1 for gram in own) / len(own)) for index, own in grams if own
        ]
    return found


def _repetition(pairs: Sequence[Pair], n: int) -> Found:
    return _whole(repetition(_texts(pairs), n))


def _repeated(pairs: Sequence[Pair]) -> Found:
    flags = repeated_texts(_texts(pairs))
    return [(pair.index, float(again)) for pair, again in zip(pairs, flags, strict=True)]


def _nearest_earlier(telling: Telling) -> Found:
    """Find the earlier text, the opening's among them, that shares most words; texts without a word have none."""
    bags = [Counter(words(pair.text)) for pair in (telling.opening, *telling.told)]
    found = []
    for number, pair in enumerate(telling.told, start=1):
        earlier = [bag for bag in bags[:number] if bag]
        if bags[number] and earlier:
            found.append((pair.index, max(overlap_of(bags[number], bag) for bag in earlier)))
    return found


def _overlap(telling: Telling) -> Found:
    known = {pair.index: pair.text for pair in telling.reference}
    return [(pair.index, overlap(pair.text, known[pair.index])) for pair in telling.told if pair.index in known]


def _texts(pairs: Sequence[Pair]) -> list[str]:
    return [pair.text for pair in pairs]


def _whole(value: float | None) -> Found:
    return [] if value is None else [(0, value)]
