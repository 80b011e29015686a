"""Which device is chosen, on machines with and without GPUs."""

import pytest
import torch

from story_model.config import Settings
from story_model.device import chosen_device


def machine(monkeypatch: pytest.MonkeyPatch, *, gpus: int, local_rank: int | None = None) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", str(local_rank))


def test_without_a_gpu_auto_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpus=0)
    assert chosen_device("auto") == torch.device("cpu")


def test_with_a_gpu_auto_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpus=1)
    assert chosen_device("auto") == torch.device("cuda", 0)


def test_each_process_of_a_machine_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpus=4, local_rank=3)
    assert chosen_device("auto") == chosen_device("cuda") == torch.device("cuda", 3)


def test_the_cpu_is_taken_where_asked_for_though_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpus=1)
    assert chosen_device("cpu") == torch.device("cpu")


def test_asking_for_a_gpu_where_there_is_none_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpus=0)
    with pytest.raises(ValueError, match="set STORY_DEVICE=auto or cpu"):
        chosen_device("cuda")


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpus=2, local_rank=2)
    with pytest.raises(ValueError, match="start at most 2 processes"):
        chosen_device("auto")


def test_the_environment_says_which_device_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORY_DEVICE", "cpu")
    assert Settings().device == "cpu"
