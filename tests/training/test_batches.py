from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from story_model.dataset import Story
from story_model.packed_attention import Packing
from story_model.tokens import SEPARATOR, StoryTokenizer, train_tokenizer
from training.batches import (
    StoryBatch,
    every_target,
    generator_of,
    random_target,
    rows_of_step,
    spread,
    story_batch,
    weights_of,
)

CAPTIONS = ("Pip runs.", "Luna sleeps in the city.", "Bolt waves at the beach.", "Tiko jumps.")


def lengths_of(batch: StoryBatch) -> list[int]:
    return [span.length for span in batch.packing.spans]


def story(number: int, length: int) -> Story:
    digests = tuple(f"{number}-{index}" for index in range(length))
    return Story(f"s{number}", "stories", "train", "e", (b"",) * length, CAPTIONS[:length], (0,) * length, digests)


STORIES = [story(0, 4), story(1, 3)]
DIGESTS = [digest for of in STORIES for digest in of.image_sha256]


def features_of(digests: Sequence[str]) -> Tensor:
    """Give each picture features (1, 2) that hold its number among all."""
    return torch.tensor([[[DIGESTS.index(digest), 0]] for digest in digests], dtype=torch.float32)


def pictures_of(batch: StoryBatch) -> list[int]:
    return batch.features_NFD[:, 0, 0].int().tolist()


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
    generator = generator_of(0, 0)
    counts = Counter(random_target(STORIES[0], generator) for _ in range(3000))
    assert counts.keys() == {1, 2, 3}
    assert min(counts.values()) > 900


def test_weights_say_how_often_an_epoch_holds_a_sample() -> None:
    weights = [2.0] * 4 + [1.0] * 3 + [0.25] * 8 + [0.0]
    epochs = [Counter(rows_of_step(16, 13, seed=3, step=step, weights=weights)) for step in range(40)]
    for epoch in epochs:
        assert [epoch[row] for row in range(7)] == [2] * 4 + [1] * 3
        assert sum(epoch[row] for row in range(7, 15)) == 2
        assert epoch[15] == 0
    # Of the eight quarters another two are chosen each time.
    assert {row for epoch in epochs for row in epoch} == set(range(15))


def test_weights_that_make_no_whole_epoch_are_kept_in_proportion() -> None:
    weights = [1 / 3] * 10 + [0.9] * 11
    seen = Counter(row for step in range(130) for row in rows_of_step(21, 20, seed=0, step=step, weights=weights))
    assert abs(sum(seen[row] for row in range(10)) / seen.total() - 10 / 3 / sum(weights)) < 0.005
    assert max(seen[row] for row in range(10)) < min(seen[row] for row in range(10, 21))


def test_weights_of_one_change_nothing() -> None:
    for step in range(5):
        weighted = rows_of_step(10, 4, seed=3, step=step, weights=[1.0] * 10)
        assert weighted == rows_of_step(10, 4, seed=3, step=step)


def test_weights_that_draw_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no training sample has a weight"):
        rows_of_step(2, 4, seed=0, step=0, weights=[0.0, 0.0])


def test_a_chunk_weighs_what_its_subset_does() -> None:
    others = replace(STORIES[1], subset="others")
    assert weights_of([STORIES[0], others], {"others": 0.5}) == [1.0, 0.5]
    assert weights_of(STORIES, {}) is None
    with pytest.raises(ValueError, match="otters"):
        weights_of(STORIES, {"otters": 2.0})


def test_pictures_of_a_batch_stand_in_the_order_of_their_positions() -> None:
    batch = story_batch(STORIES, [1, 2], tokenizer=TOKENIZER, features_of=features_of)
    assert pictures_of(batch) == [0, 1, 4, 5, 6]
    assert batch.features_are_target_N.tolist() == [False, True, False, False, True]
    assert batch.features_are_context_N.tolist() == [True, False, True, True, False]
    assert [int(part.sum()) for part in batch.context_positions_BS[0].split(lengths_of(batch))] == [4, 8]
    assert [int(part.sum()) for part in batch.target_positions_BS[0].split(lengths_of(batch))] == [4, 4]


def test_a_picture_is_context_and_target_where_all_are_to_be_predicted() -> None:
    batch = story_batch(STORIES, None, tokenizer=TOKENIZER, features_of=features_of)
    assert pictures_of(batch) == [0, 1, 2, 3, 4, 5, 6]
    assert batch.features_are_target_N.tolist() == [False, True, True, True, False, True, True]
    assert batch.features_are_context_N.tolist() == [True, True, True, False, True, True, False]
    assert int(batch.context_positions_BS.sum()) == 4 * 5
    assert int(batch.target_positions_BS.sum()) == 4 * 5


@pytest.mark.parametrize("targets", [[1, 2], None], ids=["prefix", "all targets"])
def test_a_batch_is_one_row_without_padding(targets: list[int] | None) -> None:
    batch = story_batch(STORIES, targets, tokenizer=TOKENIZER, features_of=features_of)
    assert batch.num_padding == 0
    assert not (batch.input_ids_BS == TOKENIZER.pad).any()
    [num_tokens] = {getattr(batch, name).numel() for name in ("input_ids_BS", "labels_BS", "context_positions_BS")}
    assert batch.num_tokens == num_tokens == sum(lengths_of(batch)) == batch.packing.position_ids_BS.numel()


def test_a_batch_counts_what_its_losses_are_means_over() -> None:
    batch = story_batch(STORIES, [1, 2], tokenizer=TOKENIZER, features_of=features_of)
    words = [len(TOKENIZER.encode(SEPARATOR + CAPTIONS[target])) for target in (1, 2)]
    # Besides its words a target's picture mark and the end of the sequence are scored.
    assert batch.counts == {"word": sum(words) + 2 * 2, "feature": 2}
    assert batch.num_samples == 2


def test_all_targets_count_as_the_samples_of_one_do() -> None:
    singly = [
        story_batch([chunk], [target], tokenizer=TOKENIZER, features_of=features_of).counts
        for chunk, target in every_target(STORIES)
    ]
    batch = story_batch(STORIES, None, tokenizer=TOKENIZER, features_of=features_of)
    assert batch.counts == {name: sum(counts[name] for counts in singly) for name in ("word", "feature")}
    assert batch.num_samples == 2


def test_a_moved_batch_has_all_its_tensors_there() -> None:
    batch = story_batch(STORIES, [1, 2], tokenizer=TOKENIZER, features_of=features_of).to(torch.device("meta"))
    inputs = batch.inputs
    packing = inputs.pop("packing")
    assert isinstance(packing, Packing)
    assert {tensor.device.type for tensor in [*inputs.values(), packing.position_ids_BS]} == {"meta"}
    assert batch.num_samples == 2


def test_features_take_the_precision_that_they_are_moved_at() -> None:
    batch = story_batch(STORIES, None, tokenizer=TOKENIZER, features_of=features_of)
    half = batch.to(torch.device("cpu"), torch.bfloat16)
    assert half.target_features.dtype == torch.bfloat16
    assert half.target_features[:, 0, 0].tolist() == [1, 2, 3, 5, 6]
    assert batch.features_NFD.dtype == torch.float32


def test_spread_takes_from_all_over() -> None:
    assert spread(range(100), 4) == [0, 25, 50, 75]
    assert spread(range(2), 4) == [0, 1]
