"""A run's folder made by hand: a drawn series of coloured shapes, its dataset, stages' manifests and told stories."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw
from pydantic import BaseModel

from evaluation.systems import CAPTIONS_ALONE, RECONSTRUCTION, systems_of
from story_model.config import RunConfig, Settings, load_config, save_config
from story_model.manifest import StepResult, run_step
from story_model.schema import (
    EPISODES,
    ERRORS,
    FRAMES,
    STORIES_INLINE,
    Segment,
    ToldStory,
    TrueEpisode,
    TrueShot,
    TrueWorld,
)
from story_model.workspace import RunFolder

WORLD = TrueWorld(characters=["Ada", "Bo", "Cy"], places=["hill", "sea"], actions=["waves"])
COLOURS = {"Ada": "#d02020", "Bo": "#2030d0", "Cy": "#f0d020", "hill": "#50a050", "sea": "#90c8f0"}
SHOT_MS = 2000
STORY_LENGTH = 12
SEGMENTS = 10
TRAINED = 4
"""Episodes of the training split; validation comes after them."""
WRONG_EVERY = {"dense": 0, "window": 2, "multimodal_sink": 5, CAPTIONS_ALONE: 3, RECONSTRUCTION: 0}
"""Every how many segments a system's told picture shows somebody else than its text names; 0: never."""
STAGES = {
    "stage1": {"stage1_psnr_db": 21.5, "stage1_psnr_baseline_db": 14.0, "stage1_psnr_gain_db": 7.5},
    "stage2": {
        "stage2_word_loss": 1.2,
        "stage2_word_loss_untrained": 6.3,
        "stage2_word_loss_ratio": 0.19,
        "stage2_feature_error": 0.8,
        "stage2_feature_error_baseline": 0.84,
        "stage2_feature_error_ratio": 0.95,
    },
}
"""Stage 3 has no manifest: its row must say so."""


class _Nothing(BaseModel):
    pass


@dataclass(frozen=True)
class Fabricated:
    """A run's folder with what it takes to evaluate it."""

    run: RunFolder
    config: RunConfig
    settings: Settings


def fabricate(
    root: Path, *, with_truth: bool = True, overrides: tuple[str, ...] = (), stories: int = 3, segments: int = SEGMENTS
) -> Fabricated:
    """Make a run's folder at `root` with so many validation stories, with the drawn series' truth or without."""
    run = RunFolder(root)
    config = load_config(
        "tiny",
        [
            "tell.policies=[dense,window,multimodal_sink]",
            f"tell.segments={segments}",
            "evaluate.probe_steps=60",
            "evaluate.bootstrap=20",
            "evaluate.report_stories=2",
            *overrides,
        ],
    )
    save_config(config, run.config_path)
    if with_truth:
        _write_truth(run.videos_dir / "truth", stories)
    _step(run.dataset_dir, lambda out_dir: _write_dataset(out_dir, stories))
    for stage, metrics in STAGES.items():
        _step(run.root / "model" / stage, lambda out_dir: None, metrics)
    for mode, policy in systems_of(config):

        def tell(out_dir, mode=mode, policy=policy):
            _tell(out_dir, mode, policy, stories=stories, segments=segments)

        _step(run.told_dir(mode, policy), tell)
    settings = Settings(
        _env_file=None,
        tracking_uri=f"sqlite:///{root.parent / 'mlflow.db'}",
        api_base_url=None,
        workspace=root.parent,
    )
    return Fabricated(run, config, settings)


def paint(character: str, place: str, number: int, size: tuple[int, int]) -> Image.Image:
    """Paint somebody as a disc, somewhere on a ground."""
    image = Image.new("RGB", (320, 180), COLOURS[place])
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 130, 320, 180), fill="#406030" if place == "hill" else "#e0d0a0")
    left = 40 + (number * 37) % 160
    pen.ellipse((left, 40, left + 90, 150), fill=COLOURS[character], outline="black", width=3)
    return image.resize(size, Image.Resampling.BILINEAR)


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, quality=95)
    return buffer.getvalue()


def told_story(folder: Path, story: ToldStory, pictures: dict[int, Image.Image]) -> None:
    """Write a story's folder."""
    folder.mkdir(parents=True)
    for index, picture in pictures.items():
        picture.save(folder / f"{index:02d}.png")
    (folder / "story.json").write_text(story.model_dump_json())


def scene(episode: int, number: int) -> tuple[str, str]:
    """Decide who is where in a shot."""
    return WORLD.characters[(episode + number * 2) % 3], WORLD.places[(episode + number // 3) % 2]


def text_of(character: str, place: str) -> str:
    return f"{character} waves at the {place}."


def _step(out_dir, write, metrics=None):
    def work(folder):
        write(folder)
        return StepResult(counts={"made": 1}, metrics=metrics or {})

    run_step(out_dir, work, step=out_dir.name, version=1, config=_Nothing(), inputs={})


def _write_truth(folder, stories):
    folder.mkdir(parents=True)
    (folder / "world.json").write_text(WORLD.model_dump_json())
    for episode in range(TRAINED + stories):
        shots = [TrueShot(start_ms=0, end_ms=SHOT_MS, kind="title")]
        for number in range(STORY_LENGTH):
            who, where = scene(episode, number)
            start = SHOT_MS * (number + 1)
            shots.append(
                TrueShot(
                    start_ms=start, end_ms=start + SHOT_MS, kind="shot", character=who, place=where, action="waves"
                )
            )
        name = f"episode_{episode}"
        (folder / f"{name}.json").write_text(TrueEpisode(video=f"{name}.mp4", shots=shots).model_dump_json())


def _write_dataset(folder, stories):
    rows = {"train": [_story(episode, "train") for episode in range(TRAINED)]}
    rows["validation"] = [_story(episode, "validation") for episode in range(TRAINED, TRAINED + stories)]
    (folder / "data" / "stories").mkdir(parents=True)
    (folder / "meta").mkdir()
    (folder / "frames").mkdir()
    for split, told in rows.items():
        path = folder / "data" / "stories" / f"{split}-00000-of-00001.parquet"
        pq.write_table(pa.Table.from_pylist(told, schema=STORIES_INLINE), path, write_page_checksum=True)
    episodes = [
        {"episode_id": f"e{episode}", "source_name": f"episode_{episode}.mp4"} for episode in range(TRAINED + stories)
    ]
    pq.write_table(pa.Table.from_pylist(episodes, schema=EPISODES), folder / "meta" / "episodes.parquet")
    errors = [{"file": "x.mp4", "step": "probe", "reason": "not a video"}]
    pq.write_table(pa.Table.from_pylist(errors, schema=ERRORS), folder / "meta" / "errors.parquet")
    frames = [{"frame_id": str(n), "status": "kept", "caption_status": "narrated"} for n in range(80)]
    frames += [
        {"frame_id": "m", "status": "kept", "caption_status": "measured"},
        {"frame_id": "b", "status": "no caption: timed out"},
    ]
    pq.write_table(pa.Table.from_pylist(frames, schema=FRAMES), folder / "frames" / "stories-00000.parquet")


def _story(episode, split):
    scenes = [scene(episode, number) for number in range(STORY_LENGTH)]
    images = [encoded(paint(who, where, n + episode, (160, 90)), "JPEG") for n, (who, where) in enumerate(scenes)]
    return {
        "story_id": f"e{episode}/0",
        "subset": "stories",
        "split": split,
        "episode_id": f"e{episode}",
        "images": [{"bytes": image, "path": None} for image in images],
        "captions": [text_of(*one) for one in scenes],
        "pts_ms": [SHOT_MS * (n + 1) + 700 for n in range(STORY_LENGTH)],
        "image_sha256": [hashlib.sha256(image).hexdigest() for image in images],
    }


def _tell(folder, mode, policy, *, stories, segments):
    for episode in range(TRAINED, TRAINED + stories):
        told, pictures = [], {}
        for number in range(segments + 1):
            who, where = scene(episode, number)
            wrong = WRONG_EVERY[policy]
            shown = WORLD.characters[(WORLD.characters.index(who) + 1) % 3] if wrong and number % wrong == 1 else who
            has_picture = not (mode == "free" and number == segments)
            text = (
                text_of(who, where) if mode == "captions_given" else f"{who} likes <b>the</b> {where}, and {who} sings."
            )
            if has_picture:
                pictures[number] = paint(shown, where, number * 3 + 1, (64, 64))
            told.append(Segment(index=number, text=text, image=f"{number:02d}.png" if has_picture else None))
        story = ToldStory(story_id=f"e{episode}/0", mode=mode, policy=policy, segments=told)
        told_story(folder / f"e{episode}-0", story, pictures)
