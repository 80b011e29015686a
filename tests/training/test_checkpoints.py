"""A checkpoint is whole or not there, and what goes wrong with one leaves the others."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from training import checkpoints
from training.checkpoints import CHECKPOINTS, Checkpoint, best_checkpoint, newest_checkpoint, save_checkpoint


def checkpoint(step: int, *, held_out: float | None = None, skipped: int = 0) -> Checkpoint:
    values = torch.full((3, 2), float(step))
    optimizer = {"step.w": torch.tensor(float(step)), "exp_avg.w": values / 2, "exp_avg_sq.w": values / 4}
    return Checkpoint(step, {"w": values}, optimizer, skipped, held_out)


def names(out_dir: Path) -> list[str]:
    return sorted(path.name for path in (out_dir / CHECKPOINTS).iterdir())


def folder(out_dir: Path, step: int) -> Path:
    return out_dir / CHECKPOINTS / f"step-{step:08d}"


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    written = replace(checkpoint(7, held_out=0.5, skipped=3), recent=[0.1, -1 / 3])
    save_checkpoint(tmp_path, written, keep=2)
    read = newest_checkpoint(tmp_path)
    assert read is not None
    assert (read.step, read.skipped, read.held_out, read.recent) == (7, 3, 0.5, [0.1, -1 / 3])
    assert equal(read.parameters, written.parameters)
    assert equal(read.optimizer, written.optimizer)


def test_there_is_none_where_none_was_written(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    assert best_checkpoint(tmp_path) is None


def test_checkpoints_are_named_so_that_the_newest_comes_last(tmp_path: Path) -> None:
    for step in (9, 10, 100, 99_999_999):
        save_checkpoint(tmp_path, checkpoint(step), keep=9)
    assert names(tmp_path) == ["step-00000009", "step-00000010", "step-00000100", "step-99999999"]
    files = sorted(path.name for path in folder(tmp_path, 9).iterdir())
    assert files == ["checkpoint.json", "optimizer.safetensors", "parameters.safetensors"]
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.step == 99_999_999


def test_what_a_killed_process_left_half_done_is_written_over(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1), keep=2)
    unfinished = tmp_path / CHECKPOINTS / ".unfinished"
    unfinished.mkdir()
    (unfinished / "parameters.safetensors").write_bytes(b"half")
    (unfinished / "leftover").write_bytes(b"x")
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.step == 1
    save_checkpoint(tmp_path, checkpoint(2), keep=2)
    assert names(tmp_path) == ["step-00000001", "step-00000002"]
    assert not (folder(tmp_path, 2) / "leftover").exists()


def test_a_step_saved_again_replaces_its_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1), keep=2)
    folder(tmp_path, 1).joinpath("parameters.safetensors").write_bytes(b"damaged")
    save_checkpoint(tmp_path, checkpoint(1, skipped=5), keep=2)
    read = newest_checkpoint(tmp_path)
    assert read is not None
    assert read.skipped == 5


def test_a_full_disk_leaves_the_checkpoints_that_were_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, checkpoint(step), keep=2)

    def full(tensors: Mapping[str, Tensor], path: Path) -> None:
        path.write_bytes(b"as much as fitted")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, checkpoint(3), keep=2)
    monkeypatch.undo()
    assert names(tmp_path)[-2:] == ["step-00000001", "step-00000002"]
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.step == 2
    save_checkpoint(tmp_path, checkpoint(3), keep=2)
    assert names(tmp_path) == ["step-00000002", "step-00000003"]


@pytest.mark.parametrize("note", [None, b"", b'{"step": "soon"}'])
def test_a_checkpoint_without_a_sound_note_is_passed_over(
    note: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, checkpoint(step), keep=2)
    path = folder(tmp_path, 2) / "checkpoint.json"
    path.unlink() if note is None else path.write_bytes(note)
    read = newest_checkpoint(tmp_path)
    assert read is not None
    assert read.step == 1
    assert "step-00000002 has no sound checkpoint.json" in caplog.text


@pytest.mark.parametrize("name", ["parameters.safetensors", "optimizer.safetensors"])
def test_a_checkpoint_with_a_file_missing_is_passed_over(name: str, tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, checkpoint(step), keep=2)
    (folder(tmp_path, 2) / name).unlink()
    read = newest_checkpoint(tmp_path)
    assert read is not None
    assert read.step == 1


def test_the_best_is_kept_beside_the_newest_and_no_other(tmp_path: Path) -> None:
    for step, held_out in enumerate([3.0, 1.0, 2.0, 4.0, None], 1):
        save_checkpoint(tmp_path, checkpoint(step, held_out=held_out), keep=1)
    assert names(tmp_path) == ["step-00000002", "step-00000005"]
    best = best_checkpoint(tmp_path)
    assert best is not None
    assert best.step == 2


def test_a_damaged_best_checkpoint_gives_way_to_the_next_best(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step, held_out in ((1, 3.0), (2, 1.0), (3, 2.0)):
        save_checkpoint(tmp_path, replace(checkpoint(step), held_out=held_out), keep=3)
    (tmp_path / CHECKPOINTS / "step-00000002" / "parameters.safetensors").write_bytes(b"cut short")
    best = best_checkpoint(tmp_path)
    assert best is not None
    assert best.step == 3
    assert "taking the next best" in caplog.text
