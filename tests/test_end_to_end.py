"""The whole pipeline on a drawn series, killed in the middle of every step, ends as one that was left alone.

The steps run as a user would type them, without Prefect, in processes that are killed with SIGKILL.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from story_model.config import load_config, save_config
from story_model.manifest import read_manifest
from story_model.workspace import RunFolder
from training.loop import CHECKPOINT

OVERRIDES = [
    "cartoon.episodes=3",
    "cartoon.shots_per_episode=12",
    "cartoon.width=96",
    "cartoon.height=64",
    "build.workers=1",
    "build.keyframes.min_sharpness=1",
    "build.stories.length=8",
    "build.stories.min_length=4",
    "build.stories.chunk_length=4",
    "model.mllm.language_model.layers=1",
    "model.image_encoder.layers=1",
    "model.detokenizer.unet_channels=[16,32]",
    "model.detokenizer.unet_heads=[1,2]",
    *(f"train.{part}.steps=12" for part in ("image_encoder", "language_model", "stage1", "stage2", "stage3")),
    *(f"train.{part}.batch_size=2" for part in ("image_encoder", "language_model", "stage1", "stage2", "stage3")),
    *(f"train.{part}.checkpoint_every=2" for part in ("image_encoder", "language_model", "stage1", "stage2", "stage3")),
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
TRAINED = ["image_encoder", "language_model", "stage1", "stage2", "stage3"]
PARTS = ["tokenizer", "autoencoder", *TRAINED]


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
    for part in TRAINED:
        run.kill_when((folder.root / "model" / part / CHECKPOINT).is_file, *run.train)
        assert read_manifest(folder.root / "model" / part) is None
    run.finish(*run.train)
    run.kill_when(lambda: any((folder.root / "stories").rglob("story.json")), *run.tell)
    run.finish(*run.tell)
    assert run.digests() == straight.digests()
    assert len(run.digests()) == 1 + len(PARTS) + 2


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
