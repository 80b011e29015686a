"""Evaluated runs made by hand, small and with as many stories as a test of significance needs."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from fabricated_run import encoded, paint, scene, text_of, told_story
from PIL import ImageOps
from pydantic import BaseModel

from story_model.config import Settings, load_config, save_config
from story_model.manifest import StepResult, run_step
from story_model.schema import STORIES_INLINE, Segment, ToldStory
from story_model.workspace import RunFolder

POLICY = "multimodal_sink"
MODES = ("captions_given", "free")
VALUES = pa.schema(
    [
        *((name, pa.string()) for name in ("system", "mode", "policy", "story_id")),
        ("index", pa.int32()),
        ("measure", pa.string()),
        ("value", pa.float64()),
    ]
)
Value = Callable[[int, int], float]
"""Of a story's number and a segment's index."""


class _Nothing(BaseModel):
    salt: str = ""


def noise(story: int, index: int) -> float:
    """A number in [0, 1) that only looks random."""
    return int(hashlib.sha256(f"{story} {index}".encode()).hexdigest()[:8], 16) / 2**32


def evaluated_run(
    root: Path,
    *,
    stories: int = 10,
    segments: int = 3,
    measures: dict[str, Value] | None = None,
    spoiled: bool = False,
    first_story: int = 0,
    opening_text: str = "",
    scores: dict[str, object] | None = None,
    overrides: tuple[str, ...] = (),
) -> RunFolder:
    """Make a run's folder: dataset, told stories and the table of measured values.

    `spoiled`: told pictures are negatives. `opening_text`: added to every opening's caption.
    """
    run = RunFolder(root)
    own = [f"tell.policies=[{POLICY}]", f"tell.segments={segments}", "evaluate.bootstrap=200"]
    own += ["evaluate.distances.resamples=20", "evaluate.report_stories=2", *overrides]
    config = load_config("tiny", own)
    save_config(config, run.config_path)
    numbers = range(first_story, first_story + stories)
    _step(run.dataset_dir, lambda folder: _write_dataset(folder, numbers, segments, opening_text))
    for part in ("stage2", "stage3"):
        _step(run.root / "model" / part, lambda folder: (folder / "weights").write_text(str(root)))
    for mode in MODES:
        told_dir = run.told_dir(mode, POLICY)
        _step(told_dir, lambda folder, mode=mode: _tell(folder, mode, numbers, segments, spoiled, opening_text))
    values = measures or {"character_agrees": lambda story, index: 0.5 + noise(story, index) / 4}
    inputs = {"dataset": run.dataset_dir} | {f"stories/{mode}-{POLICY}": run.told_dir(mode, POLICY) for mode in MODES}
    _step(run.evaluation_dir, lambda folder: _write_values(folder, values, numbers, segments, scores or {}), inputs)
    return run


def settings_at(workspace: Path, mlflow_uri: str, experiment: str) -> Settings:
    return Settings(
        _env_file=None,
        workspace=workspace,
        tracking_uri=mlflow_uri,
        experiment=experiment,
        api_base_url=None,
        judge_base_url=None,
    )


def _write_values(folder, values, numbers, segments, scores):
    rows = [
        {
            "system": f"{mode}-{POLICY}",
            "mode": mode,
            "policy": POLICY,
            "story_id": f"e{number}/0",
            "index": index,
            "measure": measure,
            "value": value(number, index),
        }
        for mode in MODES
        for measure, value in values.items()
        for number in numbers
        for index in range(1, segments + 1)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=VALUES), folder / "values.parquet")
    (folder / "scores.json").write_text(json.dumps(scores))


def _write_dataset(folder, numbers, segments, opening_text):
    (folder / "data" / "stories").mkdir(parents=True)
    rows = [_story(number, segments, opening_text) for number in numbers]
    path = folder / "data" / "stories" / "validation-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=STORIES_INLINE), path)


def _story(number, segments, opening_text):
    scenes = [scene(number, index) for index in range(segments + 1)]
    images = [encoded(paint(who, where, index, (32, 32)), "PNG") for index, (who, where) in enumerate(scenes)]
    captions = [text_of(*one) for one in scenes]
    return {
        "story_id": f"e{number}/0",
        "subset": "stories",
        "split": "validation",
        "episode_id": f"e{number}",
        "images": [{"bytes": image, "path": None} for image in images],
        "captions": [captions[0] + opening_text, *captions[1:]],
        "pts_ms": list(range(segments + 1)),
        "image_sha256": [hashlib.sha256(image).hexdigest() for image in images],
    }


def _tell(folder, mode, numbers, segments, spoiled, opening_text):
    for number in numbers:
        told, pictures = [], {}
        for index in range(segments + 1):
            who, where = scene(number, index)
            picture = paint(who, where, index + number % 2, (64, 64))
            pictures[index] = ImageOps.invert(picture) if spoiled and index else picture
            text = text_of(who, where) + ("" if index else opening_text)
            told.append(Segment(index=index, text=text, image=f"{index:02d}.png"))
        story = ToldStory(story_id=f"e{number}/0", mode=mode, policy=POLICY, segments=told)
        told_story(folder / f"e{number}-0", story, pictures)


def _step(out_dir, write, inputs=None):
    def work(folder):
        write(folder)
        return StepResult(counts={"made": 1})

    run_step(out_dir, work, step=out_dir.name, version=1, config=_Nothing(), inputs=inputs or {})
