from collections import Counter

import pytest
import torch

from story_model.dataset import Story
from story_model.pixels import Square
from story_model.tokens import IGNORED, SEPARATOR, StoryTokenizer, train_tokenizer
from training.batches import generator_of, random_targets, rows_of_step, spread, story_batch
from training.pictures import Pictures

CAPTIONS = ("Pip runs.", "Luna sleeps in the city.", "Bolt waves at the beach.", "Tiko jumps.")


def story(number: int, length: int) -> Story:
    digests = tuple(f"{number}-{index}" for index in range(length))
    return Story(f"s{number}", "stories", "train", "e", (b"",) * length, CAPTIONS[:length], (0,) * length, digests)


STORIES = [story(0, 4), story(1, 3)]
PICTURES = Pictures(
    Square(2, "squash"),
    pixels=torch.zeros(7, 3, 2, 2, dtype=torch.uint8),
    size_ids=torch.zeros(7, 6),
    rows={digest: row for row, digest in enumerate(d for s in STORIES for d in s.image_sha256)},
)
TOKENIZER = StoryTokenizer(train_tokenizer(list(CAPTIONS), vocab_size=300, num_image_tokens=4), 4)


def test_every_epoch_shows_each_sample_once_in_a_new_order() -> None:
    steps = [rows_of_step(10, 4, seed=3, step=step) for step in range(5)]
    seen = [row for step in steps for row in step]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_a_steps_samples_depend_on_seed_and_step_alone() -> None:
    assert rows_of_step(50, 8, seed=1, step=7) == rows_of_step(50, 8, seed=1, step=7)
    assert rows_of_step(50, 8, seed=1, step=7) != rows_of_step(50, 8, seed=2, step=7)


def test_a_batch_larger_than_the_dataset_goes_round() -> None:
    assert Counter(rows_of_step(3, 7, seed=0, step=0)).keys() == {0, 1, 2}


def test_no_sample_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="no training sample"):
        rows_of_step(0, 4, seed=0, step=0)


def test_any_pair_but_the_first_becomes_a_target_equally_often() -> None:
    counts = Counter(random_targets([STORIES[0]] * 3000, generator_of(0, 0)))
    assert counts.keys() == {1, 2, 3}
    assert min(counts.values()) > 900


def test_pictures_of_a_batch_stand_in_the_order_of_their_positions() -> None:
    batch = story_batch(STORIES, [1, 2], tokenizer=TOKENIZER, pictures=PICTURES)
    assert batch.picture_rows == [0, 1, 4, 5, 6]
    assert batch.features_are_target_N.tolist() == [False, True, False, False, True]
    assert batch.context_positions_BS.sum(1).tolist() == [4, 8]
    assert batch.target_positions_BS.sum(1).tolist() == [4, 4]


def test_a_batch_is_padded_only_to_its_longest_sequence() -> None:
    batch = story_batch(STORIES, [1, 2], tokenizer=TOKENIZER, pictures=PICTURES)
    is_pad = batch.input_ids_BS == TOKENIZER.pad
    assert is_pad.sum(1).min() == 0
    assert (batch.labels_BS[is_pad] == IGNORED).all()


def test_a_batch_counts_what_its_losses_are_means_over() -> None:
    batch = story_batch(STORIES, [1, 2], tokenizer=TOKENIZER, pictures=PICTURES)
    words = [len(TOKENIZER.encode(SEPARATOR + CAPTIONS[target])) for target in (1, 2)]
    # Besides its words a target's picture mark and the end of the sequence are scored.
    assert batch.counts == {"word": sum(words) + 2 * 2, "feature": 2}
    assert batch.num_samples == 2


def test_a_moved_batch_has_all_its_tensors_there() -> None:
    batch = story_batch(STORIES, [1, 2], tokenizer=TOKENIZER, pictures=PICTURES).to(torch.device("meta"))
    inputs = batch.inputs(torch.zeros(7, 4, 8, device="meta"))
    assert {tensor.device.type for tensor in inputs.values()} == {"meta"}


def test_spread_takes_from_all_over() -> None:
    assert spread(range(100), 4) == [0, 25, 50, 75]
    assert spread(range(2), 4) == [0, 1]
