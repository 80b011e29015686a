"""Numbers of the layouts' positions are those of the layouts."""

import pytest

from story_model.tokens import (
    IGNORED,
    StoryTokenizer,
    TrainingSample,
    all_targets_sample,
    train_tokenizer,
    training_sample,
)
from training.story_shape import (
    StoryText,
    all_targets_shape,
    long_batch_tokens,
    mean_prefix_shape,
    prefix_shape,
    prefix_shapes,
    words_shape,
)

CAPTION = " Momo the monkey finds a ball in the garden."
PUBLISHED = StoryText(num_pairs=10, image_tokens=64, caption_tokens=45, separator_tokens=4)


@pytest.fixture(scope="module")
def tokenizer() -> StoryTokenizer:
    return StoryTokenizer(train_tokenizer([CAPTION] * 3, vocab_size=300, num_image_tokens=4), 4)


def text_of(tokenizer: StoryTokenizer, num_pairs: int) -> StoryText:
    return StoryText(num_pairs, image_tokens=4, caption_tokens=len(tokenizer.encode(CAPTION)), separator_tokens=1)


def measured(sample: TrainingSample) -> tuple[int, int, int]:
    """Count positions, visible pairs (a block sees its part of the stream, and itself causally), scored labels."""
    attended, start = 0, 0
    for index, (block, last) in enumerate(zip(sample.blocks, sample.last_seen, strict=True)):
        if block != sample.blocks[index - 1]:
            start = index
        attended += last + 1 + (index - start + 1 if block else 0)
    return len(sample.input_ids), attended, sum(label != IGNORED for label in sample.labels)


@pytest.mark.parametrize("num_pairs", [2, 3, 10])
def test_the_all_targets_layout_has_this_many_positions_and_sees_this_many(tokenizer, num_pairs) -> None:
    shape = all_targets_shape(text_of(tokenizer, num_pairs))
    sample = all_targets_sample(tokenizer, [CAPTION] * num_pairs)
    assert (shape.tokens, shape.attended, shape.scored) == measured(sample)
    assert shape.context_pictures == sum(sample.context_positions) / 4
    assert shape.target_pictures == sum(sample.target_positions) / 4


@pytest.mark.parametrize("target", [1, 4])
def test_a_prefix_has_this_many_positions_and_sees_this_many(tokenizer, target) -> None:
    shape = prefix_shape(text_of(tokenizer, 5), target)
    sample = training_sample(tokenizer, [CAPTION] * 5, target)
    assert (shape.tokens, shape.attended, shape.scored) == measured(sample)
    assert shape.context_pictures == sum(sample.context_positions) / 4


def test_a_published_sample_has_688_positions_on_average_and_1148_at_most() -> None:
    assert mean_prefix_shape(PUBLISHED).tokens == 688
    assert max(shape.tokens for shape in prefix_shapes(PUBLISHED)) == 1148


def test_words_alone_are_the_captions_their_separators_and_both_ends() -> None:
    assert words_shape(PUBLISHED).tokens == 10 * 45 + 9 * 4 + 2


def test_a_long_batch_of_prefixes_lies_between_the_mean_and_all_longest() -> None:
    assert long_batch_tokens(PUBLISHED, 1) == 1148
    assert 688 * 100 < long_batch_tokens(PUBLISHED, 100) < 1.1 * 688 * 100
