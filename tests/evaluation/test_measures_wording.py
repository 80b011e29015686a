import pytest
from tellings import telling

from evaluation.measures.texts import repetition
from evaluation.measures.wording import said_before, text_values

LOOP = ["the cat sleeps on", "a dog runs off", "the cat sleeps on", "the cat sleeps in"]


def shares(tellings, name):
    return {story: [value for _, value in found] for story, found in text_values(tellings)[name].items()}


def test_a_running_repetition_shows_where_the_loop_begins():
    story = telling(texts=LOOP)
    assert shares([story], "text_said_before_2") == {"s": [0, 0, 1, pytest.approx(2 / 3)]}
    assert shares([story], "text_said_before_4") == {"s": [0, 0, 1, 0]}


def test_running_repetition_weighed_by_length_is_repetition_of_the_story():
    texts = ["a b a b c", "a b c", "d a b c a b"]
    story = telling(texts=texts)
    counts = [len(text.split()) - 1 for text in texts]
    total = sum(share * n for (_, share), n in zip(said_before(story.told, 2), counts, strict=True))
    assert total / sum(counts) == pytest.approx(repetition(texts, 2))


def test_repetition_of_a_story_is_of_the_whole_story():
    assert text_values([telling(texts=LOOP)])["text_rep_2"]["s"] == [(0, pytest.approx(repetition(LOOP, 2)))]


def test_a_text_is_held_against_its_nearest_earlier_one_and_the_opening():
    story = telling(opening_text="the cat sleeps here", texts=["the cat sleeps on", "", "a dog", "a dog!"])
    found = text_values([story])["text_nearest_earlier"]["s"]
    assert found == [(1, 0.75), (3, 0), (4, 1)]


def test_stories_that_became_one_say_the_same_words():
    one = telling("one", texts=["the cat sleeps on here", "too short"])
    other = telling("other", texts=["now the cat sleeps on", "a dog runs off"])
    found = text_values([one, other])["text_said_elsewhere_4"]
    assert found == {"one": [(1, 0.5)], "other": [(1, 0.5), (2, 0)]}


def test_a_story_that_repeats_itself_says_nothing_that_others_say():
    one, other = telling("one", texts=LOOP), telling("other", texts=["quite another story here"])
    assert set(shares([one, other], "text_said_elsewhere_4")["one"]) == {0}
    assert shares([one], "text_said_elsewhere_4") == {"one": []}


def test_texts_without_a_word_are_counted():
    story = telling(texts=["", "...", "word"])
    assert shares([story], "text_empty") == {"s": [1, 1, 0]}
    assert shares([story], "text_words") == {"s": [0, 0, 1]}
    assert shares([story], "text_rep_2") == {"s": []}


def test_overlap_is_taken_where_the_dataset_has_a_text():
    story = telling(texts=["a b", "c d", "e"], true_texts=["a b", "c x"])
    assert text_values([story])["text_overlap"]["s"] == [(1, 1), (2, 0.5)]
