"""Which tokens survive, worked out by hand on a story of four pairs."""

import pytest

from story_model.cache_policy import POLICIES, PairSpan, survivors
from story_model.tell_config import CacheConfig

PAIRS = [
    PairSpan(start=0, begin_of_image=4, end_of_image=14),
    PairSpan(start=15, begin_of_image=18, end_of_image=28),
    PairSpan(start=29, begin_of_image=33, end_of_image=43),
    PairSpan(start=44, begin_of_image=47, end_of_image=57),
]
"""Pictures of nine tokens between begin and end."""
WINDOW_OF_TWO = list(range(29, 58))
SETTINGS = CacheConfig(window_segments=2, first_tokens=3, image_edge_tokens=2)


def test_dense_keeps_everything() -> None:
    assert survivors("dense", PAIRS, SETTINGS) == list(range(58))


def test_the_window_is_the_last_pairs_whole() -> None:
    assert survivors("window", PAIRS, SETTINGS) == WINDOW_OF_TWO


def test_an_attention_sink_adds_the_first_tokens() -> None:
    assert survivors("attention_sink", PAIRS, SETTINGS) == [0, 1, 2, *WINDOW_OF_TWO]


def test_a_multimodal_sink_adds_both_ends_of_each_evicted_picture() -> None:
    assert survivors("multimodal_sink", PAIRS, SETTINGS) == [0, 1, 2, 4, 5, 13, 14, 18, 19, 27, 28, *WINDOW_OF_TWO]


def test_text_edges_lie_outside_the_picture_and_stay_inside_their_pair() -> None:
    settings = SETTINGS.model_copy(update={"first_tokens": 0, "image_edge_tokens": 1, "text_edge_tokens": 4})
    kept = [0, 1, 2, 3, 4, 14, 15, 16, 17, 18, 28, *WINDOW_OF_TWO]
    assert survivors("multimodal_sink", PAIRS, settings) == kept


def test_edges_that_meet_keep_the_picture_once() -> None:
    settings = SETTINGS.model_copy(update={"first_tokens": 0, "image_edge_tokens": 8})
    assert survivors("multimodal_sink", PAIRS, settings) == [*range(4, 15), *range(18, 29), *WINDOW_OF_TWO]


def test_only_the_latest_evicted_pictures_are_remembered_where_they_are_limited() -> None:
    settings = SETTINGS.model_copy(update={"max_evicted_images": 1})
    assert survivors("multimodal_sink", PAIRS, settings) == [0, 1, 2, 18, 19, 27, 28, *WINDOW_OF_TWO]


def test_a_limit_of_no_pictures_is_an_attention_sink() -> None:
    settings = SETTINGS.model_copy(update={"max_evicted_images": 0})
    assert survivors("multimodal_sink", PAIRS, settings) == survivors("attention_sink", PAIRS, settings)


def test_edges_of_no_tokens_are_an_attention_sink() -> None:
    settings = SETTINGS.model_copy(update={"image_edge_tokens": 0})
    assert survivors("multimodal_sink", PAIRS, settings) == survivors("attention_sink", PAIRS, settings)


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_is_let_go_inside_the_window(policy) -> None:
    assert survivors(policy, PAIRS[:2], SETTINGS) == list(range(29))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("limit", [None, 2])
def test_what_was_let_go_is_never_asked_for_again(policy, limit) -> None:
    settings = SETTINGS.model_copy(update={"max_evicted_images": limit, "text_edge_tokens": 2})
    pairs = [PairSpan(20 * index, 20 * index + 8, 20 * index + 19) for index in range(9)]
    for count in range(1, len(pairs)):
        before, after = (set(survivors(policy, pairs[:number], settings)) for number in (count, count + 1))
        assert after - set(pairs[count].tokens) <= before
