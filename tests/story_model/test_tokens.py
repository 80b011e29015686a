import json
from pathlib import Path

import pytest

from story_model.tokens import IGNORED, SEPARATOR, StoryTokenizer, load_tokenizer, train_tokenizer, training_sample

PARITY_DIR = Path(__file__).parents[1] / "data" / "parity"
GOLDEN = json.loads((PARITY_DIR / "stage2_samples.json").read_text())
TEXTS = ["Pip the fox runs in the meadow.", "Then, Luna the owl sleeps in the city.", "Bolt the robot waves."]


@pytest.fixture(scope="module")
def reference() -> StoryTokenizer:
    return load_tokenizer(PARITY_DIR / "tokenizer" / "tokenizer.json", GOLDEN["image_tokens"])


@pytest.fixture(scope="module")
def trained() -> StoryTokenizer:
    return StoryTokenizer(train_tokenizer(TEXTS, vocab_size=300, num_image_tokens=4), 4)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"{len(case['input_ids'])}-tokens")
def test_a_training_sample_is_the_published_one(reference: StoryTokenizer, case: dict[str, list[int]]) -> None:
    num_pictures = sum(case["embeds_cmp_mask"]) + sum(case["embeds_gen_mask"])
    sample = training_sample(reference, GOLDEN["captions"], num_pictures - 1)
    length = len(sample.input_ids)
    assert sample.input_ids == case["input_ids"][:length]
    assert sample.labels == case["labels"][:length]
    assert sample.context_positions == [bool(flag) for flag in case["ids_cmp_mask"][:length]]
    assert sample.target_positions == [bool(flag) for flag in case["ids_gen_mask"][:length]]
    assert set(case["labels"][length:]) <= {IGNORED}


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
