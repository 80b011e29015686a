import pytest

from story_model.tokens import IGNORED, SEPARATOR, StoryTokenizer, train_tokenizer, training_sample

TEXTS = ["Pip the fox runs in the meadow.", "Then, Luna the owl sleeps in the city.", "Bolt the robot waves."]


@pytest.fixture(scope="module")
def trained() -> StoryTokenizer:
    return StoryTokenizer(train_tokenizer(TEXTS, vocab_size=300, num_image_tokens=4), 4)


def test_only_the_last_caption_its_picture_mark_and_the_end_are_scored(trained: StoryTokenizer) -> None:
    sample = training_sample(trained, TEXTS, 2)
    scored = [token for token in sample.labels if token != IGNORED]
    response = trained.encode(SEPARATOR + TEXTS[2])
    assert scored == [*response, trained.begin_of_image, trained.end_of_story]


def test_text_survives_the_tokenizer(trained: StoryTokenizer) -> None:
    text = "Ümläute and 漢字 were never trained on."
    assert trained.decode(trained.encode(text)) == text


def test_a_target_without_a_pair_before_it_is_refused(trained: StoryTokenizer) -> None:
    with pytest.raises(ValueError, match="target 0"):
        training_sample(trained, TEXTS, 0)


def test_a_tokenizer_without_image_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="<img_00004>"):
        StoryTokenizer(train_tokenizer(TEXTS, vocab_size=300, num_image_tokens=4), 9)
