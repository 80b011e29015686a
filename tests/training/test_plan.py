"""A plan is printed for every preset, follows the configuration, and says what to change where memory lacks."""

import json
import re
import resource
import subprocess
import sys
from functools import cache

import pytest

from story_model.config import PRESETS_DIR, PROJECT_DIR, load_config, preset_names
from story_model.train_config import LaunchConfig
from training import plan as command
from training.costs import Assumptions, Plan, advice, feature_bytes, latent_bytes, plan
from training.footprint import Footprint
from training.hardware import gpu

BFLOAT16 = tuple(f"train.stage{number}.precision=bfloat16" for number in (1, 2, 3))
PLAIN = tuple(f"train.launch.stage{number}={{}}" for number in (1, 2, 3))
"""Whole shares at once, a copy of the network in each process, nothing computed again."""
STAGE2 = ("train.stage2.steps=6000", "train.stage2.batch_size=240", "train.stage2.keep_checkpoints=2")
GIB = 2**30


@cache
def planned(preset: str, *overrides: str, gpus: int | None = 8) -> Plan:
    given = Assumptions(gpu("h200"), gpus, 0.4, caption_tokens=45, pictures=257_850, picture_kb=80)
    return plan(load_config(preset, overrides), given)


def part(made: Plan, name: str):
    return next(part for part in (*made.trained, *made.once) if part.name == name)


def full(*overrides: str) -> Plan:
    return planned("seed-story-7b", *BFLOAT16, *PLAIN, *STAGE2, *overrides)


# ------------------------------------------------------------------------------------------------------- the numbers


@pytest.mark.parametrize("preset", ["small", "seed-story-7b"])
def test_parameters_are_those_that_the_preset_states(preset) -> None:
    comment = re.match(r"(#.*\n)+", (PRESETS_DIR / f"{preset}.yaml").read_text())
    assert comment
    stated = {int(number.replace(",", "")) for number in re.findall(r"\d{1,3}(?:,\d{3})+", comment[0])}
    made = planned(preset)
    assert {part(made, name).parameters for name in ("stage1", "stage2", "image features")} <= stated
    assert {part(made, name).trained for name in ("stage2", "stage3")} <= stated


def test_the_published_system_pretrains_nothing_and_smaller_ones_do() -> None:
    assert [one.name for one in full().trained] == ["stage1", "stage2", "stage3"]
    assert {one.name for one in planned("tiny").trained} > {"image_encoder", "language_model"}


def test_samples_and_epochs_follow_from_steps() -> None:
    stage2 = part(full(), "stage2")
    assert stage2.samples == 6000 * 240
    assert stage2.epochs == pytest.approx(1_440_000 / (25_785 * 0.83))


def test_hours_follow_from_work_peak_and_utilisation() -> None:
    stage2 = part(full(), "stage2")
    assert stage2.hours == pytest.approx(6000 * stage2.step_flops / (8 * 989e12 * 0.4) / 3600)
    alone = part(planned("seed-story-7b", *BFLOAT16, *PLAIN, *STAGE2, gpus=1), "stage2")
    assert alone.hours == pytest.approx(8 * stage2.hours)


def test_computing_activations_again_takes_a_forward_pass_more_of_time_but_not_of_useful_work() -> None:
    plain, again = part(full(), "stage2"), part(full("train.launch.stage2.activation_checkpointing=full"), "stage2")
    assert again.step_flops == plain.step_flops
    assert again.recomputed_flops == 240 * plain.sample.trained.forward
    assert again.hours > plain.hours
    assert again.memory.gpu < plain.memory.gpu


def test_a_gpu_holds_more_where_frozen_networks_run_beside_the_trained_one() -> None:
    anew = full("train.features.enabled=false")
    assert [one.name for one in anew.once] == ["predicted features"]
    for name in ("stage1", "stage2", "stage3"):
        assert part(anew, name).memory.weights > part(full(), name).memory.weights
        assert part(anew, name).step_flops > part(full(), name).step_flops


def test_a_picture_s_features_take_two_mebibytes_and_one_in_eight_bits() -> None:
    assert feature_bytes(load_config("seed-story-7b")) == 2 * 2**20
    eight = feature_bytes(load_config("seed-story-7b", ["train.features.dtype=int8"]))
    assert eight == 2**20 + 256 * 4


def test_a_picture_s_latents_take_128_kibibytes_and_its_size_24_bytes() -> None:
    assert latent_bytes(load_config("seed-story-7b")) == 128 * 2**10 + 24


def test_stage_3_s_features_are_predicted_prefix_by_prefix() -> None:
    made = full()
    predicted = part(made, "predicted features")
    assert predicted.items == 25_785
    assert predicted.disk == 25_785 * 9 * 2 * 2**20
    assert predicted.flops_per_item > 3 * part(made, "stage2").sample.trained.forward


def test_disk_holds_features_checkpoints_and_weights() -> None:
    made = full()
    assert part(made, "image features").disk == 257_850 * 2 * 2**20
    stage2 = part(made, "stage2")
    assert stage2.checkpoints == 438_521_856 * 12 * 4  # two newest, the best, one in the making
    assert stage2.weights == 438_521_856 * 4 + (stage2.parameters - 438_521_856) * 2
    assert made.disk > made.dataset + 257_850 * 2 * 2**20 + stage2.weights


def test_a_step_reads_the_features_of_its_pictures() -> None:
    assert part(full(), "stage2").bytes_read == 240 * 10 * 2 * 2**20
    prefix = full("train.stage2.sequences=prefix")
    assert part(prefix, "stage2").bytes_read == 240 * 6 * 2 * 2**20


# -------------------------------------------------------------------------------------------------------- what to do


def test_what_does_not_fit_comes_with_a_change_that_makes_it_fit() -> None:
    stage2 = part(full(), "stage2")
    assert not stage2.fits
    overrides = stage2.advice.removeprefix("--set ").split(" needs ")[0].split()
    assert overrides[0].startswith("train.launch.stage2.micro_batch_size=")
    assert part(full(*overrides), "stage2").fits


def test_what_fits_comes_without_advice() -> None:
    tiny = planned("tiny")
    assert all(one.fits and one.advice is None for one in tiny.trained)


def test_the_published_system_as_configured_fits_on_eight_gpus_of_80_gib() -> None:
    made = planned("seed-story-7b", *BFLOAT16)
    assert all(one.memory.fits(80) for one in made.trained)


def test_a_plan_says_how_a_part_is_launched() -> None:
    assert part(full(), "stage2").launch == "torch, none"
    launch = "train.launch.stage2={engine: deepspeed, zero_stage: 3, offload: true, activation_checkpointing: full}"
    assert part(full(launch), "stage2").launch == "ZeRO 3 offloaded, full"


def test_advice_takes_what_costs_least() -> None:
    def memory_of(launch: LaunchConfig) -> Footprint:
        is_light = launch.activation_checkpointing == "selective" and launch.micro_batch_size <= 4
        return Footprint(weights=(10 if is_light else 100) * GIB, gradients=0, optimizer=0, activations=0)

    said = advice("stage2", LaunchConfig(), 8, memory_of, memory_gb=80)
    assert said == (
        "--set train.launch.stage2.micro_batch_size=4 train.launch.stage2.activation_checkpointing=selective "
        "needs 10 GiB"
    )


def test_an_encoder_is_never_told_to_run_blocks_again() -> None:
    def memory_of(launch: LaunchConfig) -> Footprint:
        assert launch.activation_checkpointing == "none"
        return Footprint(10 * GIB if launch.engine == "deepspeed" else 100 * GIB, 0, 0, 0)

    assert "engine=deepspeed" in advice("image_encoder", LaunchConfig(), 2, memory_of, memory_gb=80)


def test_where_nothing_helps_it_is_said() -> None:
    said = advice("stage2", LaunchConfig(), 4, lambda _: Footprint(100 * GIB, 0, 0, 0), memory_gb=80)
    assert "least: 100 GiB" in said


# -------------------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("preset", preset_names())
def test_the_plan_of_every_preset_prints(preset, capsys) -> None:
    precisions = BFLOAT16 if preset == "seed-story-7b" else ()
    assert command.main([preset, "--gpus", "8", "--set", "seed=0", *precisions]) == 0
    printed = capsys.readouterr().out
    for name in ("stage1", "stage2", "stage3", "image features", "Memory of one GPU", "Disk (GB)", "In all"):
        assert name in printed


def test_json_holds_what_the_tables_say(capsys) -> None:
    assert command.main(["tiny", "--json", "--set", "train.stage2.steps=7"]) == 0
    tree = json.loads(capsys.readouterr().out)
    stage2 = next(one for one in tree["trained"] if one["name"] == "stage2")
    assert stage2["steps"] == 7
    assert stage2["fits"] is True
    assert tree["hours"] == pytest.approx(sum(one["hours"] for one in (*tree["once"], *tree["trained"])))


def test_the_user_s_numbers_replace_the_table_s(capsys) -> None:
    given = ["--gpu", "a800", "--tflops", "100", "--memory-gb", "12", "--utilisation", "0.5"]
    assert command.main(["tiny", "--json", *given]) == 0
    device = json.loads(capsys.readouterr().out)["assumptions"]["gpu"]
    assert (device["bfloat16_tflops"], device["memory_gb"]) == (100, 12)
    assert "overridden" in device["source"]


def test_a_gpu_that_is_too_small_is_warned_of(capsys) -> None:
    assert command.main(["tiny", "--memory-gb", "0.2"]) == 0
    printed = capsys.readouterr().out
    assert "DOES NOT FIT" in printed
    assert "WARNING: language_model needs" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "no preset 'nothing'"),
        (["tiny", "--gpu", "abacus"], "no GPU 'abacus'"),
        (["tiny", "--set", "train.stage2.stepz=1"], "stepz"),
        (["tiny", "--utilisation", "1.5"], "at most 1"),
        (["tiny", "--gpus", "0"], "--gpus is 0"),
        (["tiny", "--tflops", "-3"], "more than 0"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(arguments, said, capsys) -> None:
    assert command.main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.count("\n") == 1


def test_the_published_system_is_planned_in_little_memory() -> None:
    code = "import sys; from training.plan import main; sys.exit(main(['seed-story-7b', '--gpus', '8', '--json']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, capture_output=True, text=True, check=True)
    assert {one["name"] for one in json.loads(done.stdout)["trained"]} == {"stage1", "stage2", "stage3"}
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 3 * 2**20  # kilobytes
