import pytest

from story_model.tokens import IGNORED, SEPARATOR, StoryTokenizer, all_targets_sample, train_tokenizer, training_sample

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


def test_a_story_is_encoded_as_if_it_were_one_text(trained: StoryTokenizer) -> None:
    picture = "".join(["<img>", *(f"<img_{index:05d}>" for index in range(4)), "</img>"])
    text = f"{TEXTS[0]}{picture}{SEPARATOR}{TEXTS[1]}{picture}{SEPARATOR}{TEXTS[2]}{picture}"
    assert training_sample(trained, TEXTS, 2).input_ids[1:-1] == trained.encode(text)


@pytest.mark.parametrize("num_pairs", [2, 3])
def test_all_targets_are_scored_as_often_as_by_the_samples_of_one(trained: StoryTokenizer, num_pairs: int) -> None:
    captions = TEXTS[:num_pairs]
    prefixes = [training_sample(trained, captions, target) for target in range(1, num_pairs)]
    sample = all_targets_sample(trained, captions)
    singly = [label for prefix in prefixes for label in prefix.labels if label != IGNORED]
    assert sorted(label for label in sample.labels if label != IGNORED) == sorted(singly)
    assert sum(sample.target_positions) == sum(sum(prefix.target_positions) for prefix in prefixes)
    assert sum(sample.context_positions) == sum(prefixes[-1].context_positions)


@pytest.mark.parametrize("target", [1, 2])
def test_what_a_block_sees_is_the_sample_of_its_target(trained: StoryTokenizer, target: int) -> None:
    sample, single = all_targets_sample(trained, TEXTS), training_sample(trained, TEXTS, target)
    block = [index for index, number in enumerate(sample.blocks) if number == target]
    [last_seen] = {sample.last_seen[index] for index in block}
    seen = [*range(last_seen + 1), *block]
    assert [sample.input_ids[index] for index in seen] == single.input_ids
    assert [sample.position_ids[index] for index in seen] == single.position_ids
    assert [sample.labels[index] for index in block] == single.labels[-len(block) :]


def test_the_first_position_of_a_block_is_unscored_for_another_block_stands_before_it(trained: StoryTokenizer) -> None:
    sample = all_targets_sample(trained, TEXTS)
    starts = [index for index in range(1, len(sample.blocks)) if sample.blocks[index] != sample.blocks[index - 1]]
    assert len(starts) == 2
    assert [sample.labels[index] for index in [0, *starts]] == [IGNORED] * 3


def test_a_story_of_one_pair_has_no_targets(trained: StoryTokenizer) -> None:
    with pytest.raises(ValueError, match="two or more"):
        all_targets_sample(trained, TEXTS[:1])
