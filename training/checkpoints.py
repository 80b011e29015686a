"""Checkpoints of a training run: whole or not there, checked when read, few.

    .checkpoints/step-00000400/parameters.safetensors     what is trained, in float32, by name
                               optimizer.safetensors      the optimizer's state, by kind and name
                               checkpoint.json            step, held-out loss, sha256 of both; written last

A checkpoint holds whole tensors, whatever engine trained them and over how many processes, so that any other engine and
number of processes can go on from it. Data order and random numbers are functions of the step and need no place here.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError
from safetensors.torch import save_file
from torch import Tensor

from story_model.checkpoint import load_tensors
from story_model.manifest import publish, sha256_of, write_atomically
from training.steps import CHECKPOINTS

log = logging.getLogger(__name__)

_NOTE = "checkpoint.json"
_PARAMETERS, _OPTIMIZER = "parameters.safetensors", "optimizer.safetensors"
_UNFINISHED = ".unfinished"


class _Note(BaseModel):
    step: int
    skipped: int = 0
    held_out: float | None = None
    recent: list[float] = []
    sha256: dict[str, str]


@dataclass(frozen=True)
class Checkpoint:
    """A training run after some step."""

    step: int
    """Steps done."""
    parameters: dict[str, Tensor]
    """What is trained, float32."""
    optimizer: dict[str, Tensor]
    """`exp_avg.<name>`, `exp_avg_sq.<name>`, `step.<name>`; lacks parameters that no step has moved yet."""
    skipped: int = 0
    """Steps left out so far because they would have spoiled the weights."""
    held_out: float | None = None
    """Held-out loss at this step, where it was measured."""
    recent: Sequence[float] = ()
    """Logarithms of the last losses, by which the guard judges the next ones."""


def save_checkpoint(out_dir: Path, checkpoint: Checkpoint, *, keep: int) -> None:
    """Write a checkpoint and let go of all but the newest `keep` and the best.

    Raises:
        OSError: the disk is full, say; the checkpoints that were there stay.
    """
    folder = _folder(out_dir, checkpoint.step)
    unfinished = folder.with_name(_UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    tensors = {_PARAMETERS: checkpoint.parameters, _OPTIMIZER: checkpoint.optimizer}
    for name, values in tensors.items():
        save_file({key: value.contiguous() for key, value in values.items()}, unfinished / name)
    note = _Note(
        step=checkpoint.step,
        skipped=checkpoint.skipped,
        held_out=checkpoint.held_out,
        recent=list(checkpoint.recent),
        sha256={name: sha256_of(unfinished / name) for name in tensors},
    )
    write_atomically(unfinished / _NOTE, note.model_dump_json().encode())
    shutil.rmtree(folder, ignore_errors=True)
    publish(unfinished, folder)
    _let_go(out_dir, keep)


def newest_checkpoint(out_dir: Path) -> Checkpoint | None:
    """Read the newest checkpoint that is whole; damaged ones are passed over with a warning."""
    for folder in reversed(_folders(out_dir)):
        try:
            return _read(folder)
        except ValueError as error:
            log.warning("%s; trying the checkpoint before it", error)
    return None


def best_checkpoint(out_dir: Path) -> Checkpoint | None:
    """Read the checkpoint with the lowest held-out loss that is whole; none where it was never measured."""
    notes = [(folder, note.held_out) for folder in _folders(out_dir) if (note := _note_of(folder)) is not None]
    for _, folder in sorted((held_out, folder) for folder, held_out in notes if held_out is not None):
        try:
            return _read(folder)
        except ValueError as error:
            log.warning("%s; taking the next best", error)
    return None


def _read(folder: Path) -> Checkpoint:
    note = _note_of(folder)
    if note is None:
        raise ValueError(f"checkpoint {folder} has no sound {_NOTE}")
    for name, digest in note.sha256.items():
        if not (folder / name).is_file() or sha256_of(folder / name) != digest:
            raise ValueError(f"checkpoint {folder} is damaged ({name} is not what was written)")
    parameters, optimizer = load_tensors(folder / _PARAMETERS), load_tensors(folder / _OPTIMIZER)
    return Checkpoint(note.step, parameters, optimizer, note.skipped, note.held_out, note.recent)


def _note_of(folder: Path) -> _Note | None:
    try:
        return _Note.model_validate_json((folder / _NOTE).read_bytes())
    except (OSError, ValidationError):
        return None


def _let_go(out_dir: Path, keep: int) -> None:
    folders = _folders(out_dir)
    notes = {folder: note.held_out for folder in folders if (note := _note_of(folder)) is not None}
    measured = [(held_out, folder) for folder, held_out in notes.items() if held_out is not None]
    kept = {*folders[-keep:], *([min(measured)[1]] if measured else [])}
    for folder in folders:
        if folder not in kept:
            shutil.rmtree(folder)


def _folders(out_dir: Path) -> list[Path]:
    return sorted((out_dir / CHECKPOINTS).glob("step-*"))


def _folder(out_dir: Path, step: int) -> Path:
    return out_dir / CHECKPOINTS / f"step-{step:08d}"
