import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fitting import CONFIG, CPU, Fitting, run, training, weights

from story_model.checkpoint import load_tensors
from story_model.train_config import GuardConfig, LaunchConfig, OptimizerConfig
from training.checkpoints import CHECKPOINTS
from training.guards import SKIPPED
from training.loop import Interrupted, rate_factor
from training.processes import Processes


@pytest.mark.parametrize("stop_after", [3, 5, 8, 11])
def test_a_run_cut_short_ends_with_the_same_weights_to_the_bit(tmp_path: Path, stop_after: int) -> None:
    straight = training(tmp_path / "straight")
    run(straight)
    run(training(tmp_path / "cut"), stop_after)
    resumed = training(tmp_path / "cut")
    steps = run(resumed)
    assert steps[0].number == stop_after // CONFIG.checkpoint_every * CONFIG.checkpoint_every + 1
    assert torch.equal(weights(resumed), weights(straight))


def test_a_finished_run_trains_no_step_more(tmp_path: Path) -> None:
    first = training(tmp_path / "run")
    run(first)
    again = training(tmp_path / "run")
    assert run(again) == []
    assert torch.equal(weights(again), weights(first))


def test_a_damaged_checkpoint_falls_back_to_the_one_before_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    straight = training(tmp_path / "straight")
    run(straight)
    run(training(tmp_path / "cut"), 11)
    newest = tmp_path / "cut" / CHECKPOINTS / "step-00000010" / "parameters.safetensors"
    damaged = bytearray(newest.read_bytes())
    damaged[-1] ^= 1
    newest.write_bytes(damaged)
    resumed = training(tmp_path / "cut")
    assert run(resumed)[0].number == 6
    assert "damaged" in caplog.text
    assert torch.equal(weights(resumed), weights(straight))


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    run(training(tmp_path / "run", config=CONFIG.model_copy(update={"checkpoint_every": 2, "keep_checkpoints": 3})))
    names = sorted(folder.name for folder in (tmp_path / "run" / CHECKPOINTS).iterdir())
    assert names == ["step-00000008", "step-00000010", "step-00000012"]


def test_the_loss_falls(tmp_path: Path) -> None:
    steps = run(training(tmp_path / "run", Fitting(dropout=0.0)))
    assert steps[-1].losses["fit"] < 0.5 * steps[0].losses["fit"]


def test_four_micro_batches_of_two_are_a_batch_of_eight(tmp_path: Path) -> None:
    task = Fitting(dropout=0.0)
    whole, parts = (
        training(tmp_path / "whole", task),
        training(tmp_path / "parts", task, launch=LaunchConfig(micro_batch_size=2)),
    )
    for one, other in zip(run(whole), run(parts), strict=True):
        assert one.losses["fit"] == pytest.approx(other.losses["fit"], rel=1e-5)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-5)
    assert torch.allclose(weights(whole), weights(parts), atol=1e-5)


def test_out_of_memory_halves_what_is_computed_at_once_and_not_the_batch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    roomy, tight = Fitting(dropout=0.0), Fitting(dropout=0.0, fits_at_once=3)
    one, other = training(tmp_path / "roomy", roomy), training(tmp_path / "tight", tight)
    run(one)
    run(other)
    assert torch.allclose(weights(one), weights(other), atol=1e-5)
    assert caplog.text.count("out of memory") == 2


def test_a_sample_too_large_for_the_memory_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="out of memory with 1 samples at once; set"):
        run(training(tmp_path / "run", Fitting(fits_at_once=0)))


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_loss_that_is_no_number_never_reaches_the_weights(tmp_path: Path, factor: float) -> None:
    guarded = training(tmp_path / "run", Fitting(poison={7: factor}), launch=LaunchConfig(micro_batch_size=1))
    steps = run(guarded)
    assert weights(guarded).isfinite().all()
    records = [json.loads(line) for line in (tmp_path / "run" / SKIPPED).read_text().splitlines()]
    assert {row for record in records for row in record["rows"]} == {7}
    assert steps[-1].skipped == len(records) >= 2


def test_a_spike_is_left_out_and_ordinary_losses_are_not(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"steps": 40, "guards": GuardConfig(spike_window=20, max_bad_steps=3)})
    one_at_a_time = LaunchConfig(micro_batch_size=4)
    clean = run(training(tmp_path / "clean", config=config, launch=one_at_a_time))
    assert clean[-1].skipped == 0
    run(training(tmp_path / "poisoned", Fitting(poison={7: 1e6}), config, one_at_a_time))
    records = [json.loads(line) for line in (tmp_path / "poisoned" / SKIPPED).read_text().splitlines()]
    assert records
    assert all(7 in record["rows"] and "times its usual" in record["why"] for record in records)


def test_a_run_cut_short_judges_losses_as_one_that_was_not(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"steps": 40, "guards": GuardConfig(spike_window=20)})
    poisoned, one_at_a_time = Fitting(poison={7: 1e6}), LaunchConfig(micro_batch_size=4)
    straight = training(tmp_path / "straight", poisoned, config, one_at_a_time)
    steps = run(straight)
    assert steps[29].skipped < steps[-1].skipped
    run(training(tmp_path / "cut", poisoned, config, one_at_a_time), 33)
    resumed = training(tmp_path / "cut", poisoned, config, one_at_a_time)
    assert run(resumed)[-1].skipped == steps[-1].skipped
    assert torch.equal(weights(resumed), weights(straight))


def test_too_many_bad_steps_in_a_row_end_the_run(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"guards": GuardConfig(max_bad_steps=3)})
    with pytest.raises(ValueError, match="3 steps in a row would have spoiled the weights"):
        run(training(tmp_path / "run", Fitting(poison=dict.fromkeys(range(40), math.nan)), config))


def test_gradients_that_are_not_finite_move_nothing(tmp_path: Path) -> None:
    bad = training(tmp_path / "run", config=CONFIG.model_copy(update={"steps": 1}))
    before = weights(bad).clone()
    next(bad.network.parameters()).register_hook(lambda gradient: gradient * math.inf)
    (step,) = run(bad)
    assert not math.isfinite(step.gradient_norm)
    assert torch.equal(weights(bad), before)
    assert step.skipped == 1


def test_sigterm_saves_and_leaves(tmp_path: Path) -> None:
    straight = training(tmp_path / "straight")
    run(straight)
    stopped = iter(training(tmp_path / "run"))
    assert [next(stopped).number for _ in range(3)] == [1, 2, 3]
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Interrupted, match="stopped after step 3"):
        next(stopped)
    resumed = training(tmp_path / "run")
    assert run(resumed)[0].number == 4
    assert torch.equal(weights(resumed), weights(straight))


def test_the_best_checkpoint_is_kept_and_taken(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"checkpoint_every": 1, "keep_checkpoints": 1, "keep_best": True})
    losses = iter([5.0, 1.0, *[3.0] * 10])
    held = training(tmp_path / "run", config=config)
    held._held_out_loss = lambda _: next(losses)
    at_step = {step.number: weights(held).clone() for step in held}
    assert torch.equal(weights(held), at_step[2])
    names = sorted(folder.name for folder in (tmp_path / "run" / CHECKPOINTS).iterdir())
    assert names == ["step-00000002", "step-00000012"]


def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path: Path) -> None:
    three = replace(Processes(CPU), count=3)
    with pytest.raises(ValueError, match="a batch of 8 cannot be shared out evenly over 3 processes"):
        training(tmp_path / "run", processes=three)


def test_bfloat16_arithmetic_keeps_what_is_trained_in_float32(tmp_path: Path) -> None:
    half = training(tmp_path / "run", Fitting(dropout=0.0), CONFIG.model_copy(update={"precision": "bfloat16"}))
    steps = run(half)
    assert {parameter.dtype for parameter in half.network.parameters()} == {torch.float32}
    assert steps[-1].losses["fit"] < 0.6 * steps[0].losses["fit"]


def test_the_learning_rate_warms_up_and_falls_to_its_floor() -> None:
    config = OptimizerConfig(warmup_steps=4, min_lr_ratio=0.1)
    factors = [rate_factor(step, 20, config) for step in range(21)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4] == 1.0
    assert factors[4:] == sorted(factors[4:], reverse=True)
    assert factors[20] == pytest.approx(0.1)


def test_a_part_of_the_network_is_saved_under_its_own_names(tmp_path: Path) -> None:
    fit = training(tmp_path / "run")
    run(fit)
    fit.save_weights(tmp_path / "head.safetensors", within="2.")
    saved = load_tensors(tmp_path / "head.safetensors")
    assert saved.keys() == {"weight", "bias"}
    assert torch.equal(saved["weight"], fit.network[2].weight)
