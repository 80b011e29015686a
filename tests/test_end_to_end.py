"""The whole pipeline on a drawn series, killed in the middle of every step, ends as one that was left alone.

The steps run as a user would type them, without Prefect, in processes that are killed with SIGKILL.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch

from story_model.config import Settings, load_config, save_config
from story_model.dataset import chunks, read_split
from story_model.manifest import read_manifest
from story_model.parts import load_tokenizer
from story_model.train_config import LaunchConfig
from story_model.workspace import RunFolder
from training.batches import rows_of_step
from training.corpus import load_split
from training.processes import Processes
from training.stage2_mllm import Telling
from training.steps import CHECKPOINTS, Job
from training.task import draws_of

TRAINED = ["image_encoder", "language_model", "stage1", "stage2", "stage3", "baseline"]
OVERRIDES = [
    "cartoon.episodes=3",
    "cartoon.shots_per_episode=12",
    "cartoon.width=96",
    "cartoon.height=64",
    "build.workers=1",
    "build.filters.min_sharpness=1",
    "build.stories.length=8",
    "build.stories.min_length=4",
    "build.stories.chunk_length=4",
    "model.mllm.language_model.layers=1",
    "model.image_encoder.layers=1",
    "model.detokenizer.unet_channels=[16,32]",
    "model.detokenizer.unet_heads=[1,2]",
    *(f"train.{part}.steps=12" for part in TRAINED),
    *(f"train.{part}.batch_size=2" for part in TRAINED),
    *(f"train.{part}.checkpoint_every=2" for part in TRAINED),
    "train.features.shard_pictures=2",
    "train.reconstruction_steps=2",
    "train.validation_samples=4",
    "tell.stories=2",
    "tell.segments=3",
    "tell.modes=[captions_given,free]",
    "tell.policies=[multimodal_sink]",
    "tell.max_text_tokens=6",
    "tell.sampler.steps=2",
    "tell.sampler.batch_size=2",
    "evaluate.probe_steps=4",
    "evaluate.bootstrap=10",
]
PARTS = [
    *("tokenizer", "autoencoder", "image_encoder", "language_model", "features"),
    *("stage1", "stage2", "stage3", "baseline"),
]


class Run:
    """One run's folder and the commands on it."""

    def __init__(self, workspace: Path, tracking_uri: str) -> None:
        self.folder = RunFolder(workspace / "run")
        self.environment = os.environ | {
            "STORY_WORKSPACE": str(workspace),
            "STORY_TRACKING_URI": tracking_uri,
            "OMP_NUM_THREADS": "1",
        }
        save_config(load_config("tiny", OVERRIDES), self.folder.config_path)

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        log = (self.folder.root / "log.txt").open("ab")
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            env=self.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def finish(self, *command: str) -> None:
        process = self.start(*command)
        assert process.wait(timeout=300) == 0, (self.folder.root / "log.txt").read_text()[-3000:]

    def kill_when(self, is_time: Callable[[], bool], *command: str) -> None:
        """Start a command and kill it with all that it started as soon as the condition holds."""
        process = self.start(*command)
        while not is_time():
            assert process.poll() is None, f"{command} ended before it could be killed"
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    @property
    def build(self) -> list[str]:
        return ["storystream_builder", "build", str(self.folder.root), str(self.folder.videos_dir), *OVERRIDES]

    @property
    def train(self) -> list[str]:
        return ["training", str(self.folder.root), *PARTS]

    @property
    def tell(self) -> list[str]:
        return ["evaluation.long_stories", str(self.folder.root)]

    def digests(self) -> dict[str, str]:
        names = ["dataset", *(f"model/{part}" for part in PARTS)]
        names += [path.relative_to(self.folder.root).as_posix() for path in (self.folder.root / "stories").glob("*-*")]
        manifests = {name: read_manifest(self.folder.root / name) for name in names}
        return {name: manifest.digest for name, manifest in manifests.items() if manifest}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, mlflow_uri: str) -> Run:
    """A run that nothing disturbed."""
    run = Run(tmp_path_factory.mktemp("straight"), mlflow_uri)
    for command in (draw_command(run), run.build, run.train, run.tell):
        run.finish(*command)
    return run


def draw_command(run: Run) -> list[str]:
    sizes = ["--episodes", "3", "--shots-per-episode", "12", "--width", "96", "--height", "64", "--workers", "1"]
    return ["storystream_builder.cartoon", str(run.folder.videos_dir), *sizes]


def test_a_run_killed_in_every_step_ends_with_the_same_bytes(straight: Run, tmp_path: Path, mlflow_uri: str) -> None:
    run = Run(tmp_path, mlflow_uri)
    folder = run.folder
    run.kill_when(lambda: any(folder.videos_dir.glob("episode_01.mp4")), *draw_command(run))
    run.finish(*draw_command(run))
    run.kill_when(lambda: any(folder.episodes_dir.glob("*/manifest.json")), *run.build)
    run.finish(*run.build)
    for part, results in results_on_the_way(folder).items():
        run.kill_when(lambda results=results: any(results()), *run.train)
        assert read_manifest(folder.root / "model" / part.split()[0]) is None, part
    run.finish(*run.train)
    run.kill_when(lambda: any((folder.root / "stories").rglob("story.json")), *run.tell)
    run.finish(*run.tell)
    assert run.digests() == straight.digests()
    assert len(run.digests()) == 1 + len(PARTS) + 4 + 1  # told systems, and the dataset repainted


def results_on_the_way(folder: RunFolder) -> dict[str, Callable[[], Iterable[Path]]]:
    """Say what lies on the disk in the middle of each part that takes long, in the order of the parts."""

    def checkpoints_of(part: str) -> Callable[[], Iterable[Path]]:
        return lambda: (folder.root / "model" / part / CHECKPOINTS).glob("step-*")

    def features_of(network: str) -> Callable[[], Iterable[Path]]:
        return lambda: folder.features_dir.glob(f"{network}-*/*.safetensors")

    stages = {part: checkpoints_of(part) for part in ("stage1", "stage2")}
    pretrained = {part: checkpoints_of(part) for part in ("image_encoder", "language_model")}
    encoded = {f"features of the {network}": features_of(network) for network in ("image-encoder", "autoencoder")}
    predicted = {"stage3 while it predicts features": features_of("stage2"), "stage3": checkpoints_of("stage3")}
    baseline = {"baseline while it reads captions": features_of("captions"), "baseline": checkpoints_of("baseline")}
    return pretrained | encoded | stages | predicted | baseline


def test_each_unique_picture_goes_through_a_frozen_network_once_in_all_stages(straight: Run) -> None:
    folder = straight.folder
    splits = [read_split(folder.dataset_dir, split).stories for split in ("train", "validation")]
    unique = {digest for stories in splits for view in chunks(stories, 4) for digest in view.image_sha256}
    manifests = {part: read_manifest(folder.root / "model" / part) for part in PARTS}
    encoded = {part: found.counts.get("encoded_pictures", 0) for part, found in manifests.items() if found}
    assert encoded == dict.fromkeys(PARTS, 0) | {"features": 2 * len(unique)}
    targets = sum(len(view.captions) - 1 for stories in splits for view in chunks(stories, 4))
    assert manifests["stage3"] is not None
    assert manifests["stage3"].counts["predicted_features"] == targets


def test_stage_2_trains_without_padding(straight: Run) -> None:
    config, folder = load_config("tiny", OVERRIDES), straight.folder
    processes = Processes(torch.device("cpu"))
    job = Job(folder, config, Settings(_env_file=None), folder.root / "out", LaunchConfig(), processes)
    split = load_split(job, "train", "image_encoder")
    task, stage = Telling(split, load_tokenizer(folder, config.model), is_all_targets=True), config.train.stage2
    for step in range(stage.steps):
        rows = rows_of_step(task.num_samples, stage.batch_size, seed=config.seed, step=step)
        batch = task.batch(draws_of(rows, seed=config.seed, step=step))
        assert batch.num_padding == 0
        assert batch.num_samples == stage.batch_size
    assert job.counts.get("encoded_pictures", 0) == 0


def test_a_finished_run_trains_and_tells_nothing_again(straight: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in straight.folder.root.rglob("manifest.json")}
    for command in (straight.train, straight.tell):
        straight.finish(*command)
    assert {path: path.stat().st_mtime_ns for path in straight.folder.root.rglob("manifest.json")} == before


def test_a_changed_setting_trains_again_only_what_lies_downstream(straight: Run) -> None:
    before = straight.digests()
    save_config(
        load_config("tiny", [*OVERRIDES, "train.stage2.optimizer.learning_rate=1e-3"]), straight.folder.config_path
    )
    straight.finish(*straight.train)
    save_config(load_config("tiny", OVERRIDES), straight.folder.config_path)
    changed = {name for name, digest in straight.digests().items() if digest != before[name]}
    assert changed == {"model/stage2", "model/stage3"}
