"""The feature store: each picture is encoded once; what a kill, a full disk or a damaged file loses is made anew."""

import errno
import json
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from story_model.pixels import Square
from story_model.tensor_files import TensorInfo
from training import features
from training.features import Made, Maker, Store, open_store
from training.rows import MIN_COSINE, quantised, restored
from training.shards import left_behind

SHAPE = (4, 6)
KEYS = [f"picture-{number}" for number in range(10)]


def maker(dtype: torch.dtype = torch.bfloat16, *, digest: str = "d", side: int = 8) -> Maker:
    fields = {"features": TensorInfo(SHAPE, dtype), "sizes": TensorInfo((6,), torch.float32)}
    return Maker("encoder", digest, Square(side, "squash"), fields)


def load(key: str) -> int:
    return int(key.split("-")[1])


def features_of(number: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(number))


class Encoder:
    """Makes features of numbers, and remembers whose."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.batches: list[int] = []

    def __call__(self, numbers: Sequence[int]) -> Mapping[str, Tensor]:
        self.seen += numbers
        self.batches.append(len(numbers))
        sizes = torch.tensor([[number] * 6 for number in numbers], dtype=torch.float32)
        return {"features": torch.stack([features_of(number) for number in numbers]), "sizes": sizes}


def make(store: Store, keys: Sequence[str] = KEYS, encode=None, **given: object) -> Made:
    return store.make(keys, load, encode or Encoder(), **{"batch_size": 3, "desc": "test"} | given)


@pytest.fixture(params=[1 << 20, 0], ids=["held", "on disk"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    return open_store(tmp_path, maker(), shard_pictures=4, held_bytes=request.param)


# -------------------------------------------------------------------------------------------- rows


def test_rows_come_in_the_order_of_their_keys(store):
    make(store)
    keys = [KEYS[number] for number in (7, 0, 0, 9, 3, 4, 5)]
    expected = torch.stack([features_of(load(key)) for key in keys]).bfloat16().float()
    assert torch.equal(store.rows(keys, "features"), expected)


def test_each_field_has_its_own_type(store):
    make(store)
    assert torch.equal(store.rows(KEYS, "sizes"), torch.arange(10.0)[:, None].expand(-1, 6))
    assert store.rows(KEYS[:1], "features", dtype=torch.bfloat16).dtype == torch.bfloat16


def test_no_keys_have_no_rows(store):
    make(store)
    assert store.rows([], "features").shape == (0, *SHAPE)


def test_a_small_store_is_read_once(tmp_path, monkeypatch):
    store = open_store(tmp_path, maker(), shard_pictures=4)
    make(store)
    store.rows(KEYS, "features")
    monkeypatch.setattr(os, "preadv", None)
    assert store.rows(KEYS[3:5], "features").shape == (2, *SHAPE)


def test_what_is_handed_out_can_be_changed_without_harm(store):
    make(store)
    store.rows(KEYS, "sizes").zero_()
    assert store.rows(KEYS, "sizes")[9, 0] == 9


def test_from_the_disk_only_the_rows_asked_for_are_read(tmp_path, monkeypatch):
    store = open_store(tmp_path, maker(), shard_pictures=4, held_bytes=0)
    make(store)
    sizes = []
    preadv = os.preadv
    monkeypatch.setattr(
        os, "preadv", lambda file, buffers, at: sizes.append(buffers[0].nbytes) or preadv(file, buffers, at)
    )
    store.rows([KEYS[1], KEYS[2], KEYS[6]], "features")
    row = 2 * 4 * 6
    assert sizes == [2 * row, row]


def test_the_files_are_safetensors(tmp_path):
    store = open_store(tmp_path, maker(), shard_pictures=4)
    make(store)
    found = load_file(store.folder / "00001.safetensors")
    assert torch.equal(found["features"], torch.stack([features_of(number) for number in range(4, 8)]).bfloat16())
    assert json.loads((store.folder / "00001.json").read_text())["keys"] == KEYS[4:8]


def test_a_key_without_a_row_is_told(store):
    make(store)
    with pytest.raises(ValueError, match="has no row for picture-10 and 1 others; make them first"):
        store.rows([KEYS[0], "picture-10", "picture-11"], "features")


def test_a_reader_finds_what_was_made_after_it_opened(tmp_path):
    reader = open_store(tmp_path, maker())
    make(open_store(tmp_path, maker()))
    assert reader.rows(KEYS, "sizes")[9, 0] == 9


# -------------------------------------------------------------------------------------------- making


def test_each_unique_picture_is_encoded_once_in_batches(store):
    encoder = Encoder()
    made = make(store, [*KEYS, *KEYS], encoder)
    assert (made.encodes, made.hits) == (10, 0)
    assert encoder.seen == list(range(10))
    assert encoder.batches == [3, 3, 3, 1]


def test_a_second_run_encodes_nothing(store):
    make(store)
    again = Encoder()
    assert make(store, encode=again) == Made(hits=10, encodes=0)
    assert make(open_store(store.folder.parent, maker()), encode=again) == Made(hits=10, encodes=0)
    assert again.seen == []


def test_only_what_is_missing_is_encoded(store):
    make(store, KEYS[2:5])
    encoder = Encoder()
    assert make(store, encode=encoder) == Made(hits=3, encodes=7)
    assert encoder.seen == [0, 1, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    "other",
    [maker(digest="other weights"), maker(side=9), maker(torch.float16)],
    ids=["weights", "square", "type"],
)
def test_what_another_maker_made_is_never_met(tmp_path, other):
    make(open_store(tmp_path, maker()))
    assert len(open_store(tmp_path, other)) == 0


def test_a_folder_that_belongs_to_another_maker_is_refused(tmp_path):
    store = open_store(tmp_path, maker())
    (store.folder / "store.json").write_text(maker(side=9).described())
    with pytest.raises(ValueError, match=r"store.json describes another maker .*; delete the folder"):
        open_store(tmp_path, maker())


def test_processes_share_the_work_and_see_all_of_it(tmp_path):
    encoders = [Encoder(), Encoder(), Encoder()]
    for rank, encoder in enumerate(encoders):
        make(open_store(tmp_path, maker(), shard_pictures=2), encode=encoder, rank=rank, world=3)
    assert [encoder.seen for encoder in encoders] == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]
    store = open_store(tmp_path, maker())
    assert torch.equal(store.rows(KEYS, "sizes")[:, 0], torch.arange(10.0))
    assert make(store) == Made(hits=10)


def test_ranks_write_at_the_same_time(tmp_path):
    """Each rank's encoder waits until the other one encodes too."""
    context = multiprocessing.get_context("spawn")  # what other tests left in this process stays out of them
    both = context.Barrier(2)
    ranks = [context.Process(target=_make_in_step, args=(tmp_path, rank, both)) for rank in range(2)]
    for one in ranks:
        one.start()
    for one in ranks:
        one.join(60)
    assert [one.exitcode for one in ranks] == [0, 0]
    assert len(open_store(tmp_path, maker())) == 10


def _make_in_step(root: Path, rank: int, both) -> None:
    torch.set_num_threads(1)

    def encode(numbers: Sequence[int]) -> Mapping[str, Tensor]:
        both.wait(30)
        return Encoder()(numbers)

    make(open_store(root, maker()), encode=encode, rank=rank, world=2, batch_size=5)


def test_of_two_processes_the_second_waits_and_encodes_nothing_again(tmp_path):
    context = multiprocessing.get_context("spawn")  # what other tests left in this process stays out of them
    begun, count = context.Event(), context.Queue()
    processes = [context.Process(target=_make_slowly, args=(tmp_path, begun, count)) for _ in range(2)]
    processes[0].start()
    assert begun.wait(30)
    processes[1].start()
    for one in processes:
        one.join(60)
    assert sorted(count.get() for _ in range(2)) == [0, 10]


def _make_slowly(root: Path, begun, count) -> None:
    torch.set_num_threads(1)

    def encode(numbers: Sequence[int]) -> Mapping[str, Tensor]:
        begun.set()
        time.sleep(0.1)
        return Encoder()(numbers)

    count.put(make(open_store(root, maker()), encode=encode).encodes)


# -------------------------------------------------------------------------------------------- what goes wrong


def test_a_killed_run_keeps_its_finished_files(tmp_path):
    context = multiprocessing.get_context("spawn")  # what other tests left in this process stays out of them
    one = context.Process(target=_make_until_killed, args=(tmp_path,))
    one.start()
    one.join(60)
    assert one.exitcode == -signal.SIGKILL
    store = open_store(tmp_path, maker(), shard_pictures=4)
    assert len(store) == 8
    assert left_behind(store.folder, "")
    assert make(store) == Made(hits=8, encodes=2)
    assert not left_behind(store.folder, "")
    assert torch.equal(store.rows(KEYS, "sizes")[:, 0], torch.arange(10.0))


def _make_until_killed(root: Path) -> None:
    torch.set_num_threads(1)

    def encode(numbers: Sequence[int]) -> Mapping[str, Tensor]:
        if 9 in numbers:
            os.kill(os.getpid(), signal.SIGKILL)
        return Encoder()(numbers)

    make(open_store(root, maker(), shard_pictures=4), encode=encode, batch_size=1)


def test_an_interrupted_run_keeps_what_it_encoded(store):
    def encode(numbers: Sequence[int]) -> Mapping[str, Tensor]:
        if 6 in numbers:
            raise KeyboardInterrupt
        return Encoder()(numbers)

    with pytest.raises(KeyboardInterrupt):
        make(store, encode=encode)
    assert len(store) == 6
    assert make(store) == Made(hits=6, encodes=4)


def test_a_full_disk_is_told_in_one_line_and_keeps_what_is_finished(store, monkeypatch):
    fsync = os.fsync

    def full(file: int) -> None:
        if Path(f"/proc/self/fd/{file}").readlink().name.startswith(".00001.safetensors"):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        ValueError, match=r"takes no more \(.*No space left.*\); free some space and run the same command"
    ):
        make(store)
    monkeypatch.setattr(os, "fsync", fsync)
    assert len(store) == 4
    assert sorted(path.name for path in store.folder.glob("*0000*")) == ["00000.json", "00000.safetensors"]
    assert make(store) == Made(hits=4, encodes=6)


def test_a_disk_that_is_too_small_is_told_before_anything_is_encoded(store, monkeypatch):
    monkeypatch.setattr(features.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100})())
    encoder = Encoder()
    with pytest.raises(ValueError, match=r"of 10 pictures takes .* GB and .* GB are free"):
        make(store, encode=encoder)
    assert encoder.seen == []


@pytest.mark.parametrize("harm", ["cut short", "gone", "no note"])
def test_a_damaged_file_is_told_and_made_anew(store, caplog, harm):
    make(store)
    path = store.folder / "00001.safetensors"
    if harm == "cut short":
        path.write_bytes(path.read_bytes()[:-1])
    elif harm == "gone":
        path.unlink()
    else:
        path.with_suffix(".json").write_text("{}")
    again = open_store(store.folder.parent, maker(), shard_pictures=4, held_bytes=0)
    assert len(again) == 6
    assert caplog.messages == [f"{path} is damaged; what it held will be made anew"]
    encoder = Encoder()
    assert make(again, encode=encoder) == Made(hits=6, encodes=4)
    assert encoder.seen == [4, 5, 6, 7]
    assert torch.equal(again.rows(KEYS, "sizes")[:, 0], torch.arange(10.0))
    caplog.clear()
    open_store(store.folder.parent, maker())
    assert caplog.messages == []


def test_verify_finds_a_flipped_bit(store):
    make(store)
    assert store.verify() == []
    path = store.folder / "00002.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert store.verify() == ["00002.safetensors"]
    assert make(store) == Made(hits=8, encodes=2)


def test_a_file_that_goes_while_it_is_read_is_told(tmp_path):
    store = open_store(tmp_path, maker(), held_bytes=0)
    make(store)
    (store.folder / "00000.safetensors").unlink()
    with pytest.raises(ValueError, match=r"00000.safetensors cannot be read .*; run the same command again"):
        store.rows(KEYS, "features")


def load_some(key: str) -> int:
    if load(key) in {2, 7}:
        raise ValueError(f"story of {key} does not decode")
    return load(key)


def test_a_picture_that_cannot_be_loaded_ends_the_making(store):
    with pytest.raises(ValueError, match="story of picture-2 does not decode"):
        store.make(KEYS, load_some, Encoder(), batch_size=2, desc="test")


def test_or_is_counted_with_its_reason(store):
    made = store.make(KEYS, load_some, Encoder(), batch_size=2, desc="test", bad_records="skip")
    reasons = {key: f"story of {key} does not decode" for key in ("picture-2", "picture-7")}
    assert made == Made(hits=0, encodes=8, failures=reasons)
    assert store.missing(KEYS) == ["picture-2", "picture-7"]
    rest = [key for key in KEYS if key not in reasons]
    assert store.rows(rest, "sizes")[:, 0].tolist() == [load(key) for key in rest]
    assert store.verify() == []


def test_features_that_are_not_finite_are_not_stored(store):
    def encode(numbers: Sequence[int]) -> Mapping[str, Tensor]:
        rows = Encoder()(numbers)
        return {name: values.masked_fill(values.round() == 4, torch.nan) for name, values in rows.items()}

    with pytest.raises(ValueError, match="sizes of picture-4 are not finite"):
        make(store, encode=encode)
    assert "picture-4" not in store


def test_the_outcome_is_told(store, caplog):
    make(store, KEYS[:4])
    with caplog.at_level(logging.INFO):
        make(store)
    assert [message.split(" in ")[0] for message in caplog.messages if message.startswith("test")] == ["test: 6 made"]
    assert caplog.messages[-1].endswith("4 there already, 0 failed")


# -------------------------------------------------------------------------------------------- eight bits


def realistic(count: int, dim: int = 1024) -> Tensor:
    """Make vectors like a vision transformer's: channels of unequal spread, a few large ones, unequal norms."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.exp(0.3 * torch.randn(dim, generator=generator))
    spread[torch.randperm(dim, generator=generator)[:4]] *= 2
    norms = torch.exp(0.5 * torch.randn(count, 1, generator=generator))
    return torch.randn(count, dim, generator=generator) * spread * norms


def test_eight_bits_keep_the_direction_of_realistic_features():
    values = realistic(2000)
    cosine = torch.cosine_similarity(restored(*quantised(values)), values, dim=-1)
    assert cosine.min() >= MIN_COSINE


def test_eight_bits_keep_a_vector_of_zeros():
    assert torch.equal(restored(*quantised(torch.zeros(2, 8))), torch.zeros(2, 8))


def test_a_vector_that_eight_bits_do_not_hold_is_refused():
    values = realistic(3)
    values[1, 5] = 40 * values[1].std()
    with pytest.raises(ValueError, match=r"eight bits do not hold these features .*set train.features.dtype=bfloat16"):
        quantised(values)


@pytest.mark.parametrize("held_bytes", [1 << 20, 0])
def test_a_store_of_eight_bits_gives_back_what_it_took(tmp_path, held_bytes):
    store = open_store(tmp_path, maker(torch.int8), shard_pictures=4, held_bytes=held_bytes)
    make(store)
    values = torch.stack([features_of(number) for number in range(10)])
    found = store.rows(KEYS, "features")
    assert torch.cosine_similarity(found, values, dim=-1).min() >= MIN_COSINE
    assert torch.equal(found[[7, 2]], store.rows([KEYS[7], KEYS[2]], "features"))
    assert load_file(store.folder / "00000.safetensors")["features"].dtype == torch.int8
