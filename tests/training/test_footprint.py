"""What a process holds follows from what is trained, what is shared out and what waits on the CPU."""

from itertools import pairwise

import pytest

from story_model.train_config import LaunchConfig
from training.footprint import Footprint, footprint_of

GIB = 2**30
PRECISIONS = ["float32", "bfloat16"]


def holds(precision: str = "bfloat16", gpus: int = 8, activations: float = 5 * GIB, **launch) -> Footprint:
    return footprint_of(
        parameters=7_000_000_000,
        trained=400_000_000,
        bystanders=0.0,
        activations=activations,
        precision=precision,
        launch=LaunchConfig(**launch),
        gpus=gpus,
    )


def sharded(stage: int, **launch) -> Footprint:
    return holds(engine="deepspeed", zero_stage=stage, **launch)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_stage_of_zero_holds_less_than_the_one_before(precision) -> None:
    held = [sharded(stage, precision=precision).gpu for stage in (1, 2, 3)]
    assert held[0] < holds(precision).gpu
    assert all(less < more for more, less in pairwise(held))


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_offloading_moves_bytes_from_the_gpu_to_the_cpu(stage, precision) -> None:
    stays, moves = (sharded(stage, precision=precision, offload=offload) for offload in (False, True))
    assert moves.gpu < stays.gpu
    assert stays.host == 0 < moves.host


def test_plain_torch_neither_shares_nor_offloads() -> None:
    alone, many = holds(gpus=1), holds(gpus=8, offload=True, zero_stage=3)
    assert alone == many
    assert (alone.weights, alone.gradients, alone.optimizer) == (2 * 6.6e9 + 4 * 0.4e9, 4 * 0.4e9, 8 * 0.4e9)


def test_more_processes_hold_less_each_where_something_is_shared() -> None:
    assert sharded(2, gpus=16).gpu < sharded(2, gpus=8).gpu


def test_zero_3_gathers_a_billion_parameters_at_a_time() -> None:
    whole = 2 * 7e9
    assert sharded(3).weights == pytest.approx(whole / 8 + whole / 7 * 7 / 8)


def test_half_precision_halves_what_is_frozen() -> None:
    assert holds("float32").weights - holds("bfloat16").weights == 2 * 6.6e9


def test_the_optimizer_s_step_takes_room_where_activations_take_less() -> None:
    assert holds(activations=0.0).activations == 4 * 0.4e9


def test_a_gpu_is_not_filled_to_the_last_byte() -> None:
    held = Footprint(weights=79 * GIB, gradients=0, optimizer=0, activations=0)
    assert not held.fits(80)
    assert held.fits(90)
