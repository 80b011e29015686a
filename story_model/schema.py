"""The forms in which stories lie on disk: Parquet schemas of the dataset, told stories, the drawn world's truth.

The dataset's layout (all paths relative to its folder):

    README.md, manifest.json, examples/
    data/<subset>/<split>-00000-of-0000N.parquet    TRAIN: self-contained stories, pictures inline
    frames/<subset>-00000-of-0000N.parquet          one row a keyframe candidate; the kept ones with their picture
    meta/{episodes,shots,stories,errors}.parquet    no pictures
"""

import json
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 2
"""2: scores of text and fades, paid tokens, series and licence of each source, kinds of errors. 1 is read too."""

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

STORIES_INLINE = pa.schema(
    [
        ("story_id", pa.string()),
        ("subset", pa.string()),
        ("split", pa.string()),
        ("episode_id", pa.string()),
        ("images", pa.list_(_IMAGE)),
        ("captions", pa.list_(pa.string())),
        ("frame_captions", pa.list_(pa.string())),
        ("orders", pa.list_(pa.int32())),
        ("pts_ms", pa.list_(pa.int64())),
        ("shot_ids", pa.list_(pa.int32())),
        ("image_sha256", pa.list_(pa.string())),
        ("width", pa.list_(pa.int32())),
        ("height", pa.list_(pa.int32())),
        ("phash", pa.list_(pa.uint64())),
        ("caption_model", pa.string()),
        ("story_model", pa.string()),
        ("prompt_sha256", pa.string()),
        ("license", pa.string()),
        ("attribution", pa.string()),
        ("series", pa.string()),
        ("url", pa.string()),
        ("frame_ids", pa.list_(pa.string())),
    ]
)
"""The train table: names `images`, `captions`, `orders` are those of the published StoryStream."""

FRAMES = pa.schema(
    [
        ("frame_id", pa.string()),
        ("subset", pa.string()),
        ("episode_id", pa.string()),
        ("shot_id", pa.int32()),
        ("pts", pa.int64()),
        ("time_base", pa.string()),
        ("pts_ms", pa.int64()),
        ("status", pa.string()),
        ("sharpness", pa.float32()),
        ("luma", pa.float32()),
        ("contrast", pa.float32()),
        ("phash", pa.uint64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("image", _IMAGE),
        ("image_sha256", pa.string()),
        ("caption", pa.string()),
        ("caption_status", pa.string()),
        ("caption_model", pa.string()),
        ("stretch", pa.int32()),
        ("fade", pa.float32()),
        ("text", pa.float32()),
        ("appeal", pa.float32()),
        ("prompt_sha256", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("license", pa.string()),
        ("attribution", pa.string()),
    ]
)
"""Keyframe candidates that were scored; `status` is `kept` or the reason of rejection (then without bytes)."""

EPISODES = pa.schema(
    [
        ("episode_id", pa.string()),
        ("subset", pa.string()),
        ("split", pa.string()),
        ("source_name", pa.string()),
        ("source_sha256", pa.string()),
        ("codec", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("duration_ms", pa.int64()),
        ("num_frames", pa.int64()),
        ("num_corrupt", pa.int64()),
        ("num_shots", pa.int32()),
        ("num_keyframes", pa.int32()),
        ("num_lines", pa.int32()),
        ("duplicate_of", pa.string()),
        ("license", pa.string()),
        ("attribution", pa.string()),
        ("series", pa.string()),
        ("title", pa.string()),
        ("url", pa.string()),
        ("rotation", pa.int32()),
        ("pixel_aspect", pa.string()),
        ("transcript", pa.string()),
        ("language", pa.string()),
        ("cast", pa.list_(pa.string())),
    ]
)

SHOTS = pa.schema(
    [
        ("episode_id", pa.string()),
        ("shot_id", pa.int32()),
        ("start_ms", pa.int64()),
        ("end_ms", pa.int64()),
        ("motion", pa.float32()),
        ("num_candidates", pa.int32()),
        ("outcome", pa.string()),
        ("start_pts", pa.int64()),
        ("end_pts", pa.int64()),
        ("time_base", pa.string()),
    ]
)

STORIES = pa.schema(
    [
        ("story_id", pa.string()),
        ("subset", pa.string()),
        ("split", pa.string()),
        ("episode_id", pa.string()),
        ("frame_ids", pa.list_(pa.string())),
        ("captions", pa.list_(pa.string())),
    ]
)

ERRORS = pa.schema([(name, pa.string()) for name in ("file", "step", "reason", "code")])
"""What could not be used, and why; `code` is the kind of it. `file` is percent-encoded where its name is not UTF-8."""

_SINCE_2 = (
    (STORIES_INLINE, "series url frame_ids"),
    (FRAMES, "stretch fade text appeal prompt_sha256 prompt_tokens completion_tokens license attribution"),
    (EPISODES, "series title url rotation pixel_aspect transcript language cast"),
    (SHOTS, "start_pts end_pts time_base"),
    (ERRORS, "code"),
)


def as_written(table: pa.Schema, version: int) -> pa.Schema:
    """Give a table's schema as an earlier version wrote it.

    Raises:
        ValueError: a version that this code does not know.
    """
    if not 1 <= version <= SCHEMA_VERSION:
        raise ValueError(f"schema version {version} is not known here; this code reads 1 to {SCHEMA_VERSION}")
    later = " ".join(names for changed, names in _SINCE_2 if changed is table and version < SCHEMA_VERSION).split()
    return pa.schema([column for column in table if column.name not in later])


def with_metadata(schema: pa.Schema) -> pa.Schema:
    """Add the schema version, and what Hugging Face `datasets` needs to load the table without a script."""
    info = {"info": {"features": {column.name: _feature(column.type) for column in schema}}}
    return schema.with_metadata({"huggingface": json.dumps(info), "storystream.schema_version": str(SCHEMA_VERSION)})


def _feature(kind: pa.DataType) -> dict[str, object]:
    if kind == _IMAGE:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    names = {pa.float32(): "float32", pa.string(): "string"}
    return {"dtype": names.get(kind, str(kind)), "_type": "Value"}


# ------------------------------------------------------------------------------------------------- told stories


class Segment(BaseModel):
    """One picture-text pair of a told story."""

    model_config = ConfigDict(extra="forbid")

    index: int
    """0 is the opening, taken from the dataset; 1.. were told."""
    text: str
    image: str | None
    """Picture file (PNG) beside `story.json`; none where the model ended without one."""
    tokens: int = 0
    """Tokens that were run through the language model for this segment."""
    cache_tokens: int = 0
    """Tokens in the cache after it."""


class ToldStory(BaseModel):
    """A story on disk: `<story>/story.json`, its pictures beside it. Other systems' stories are read in this form."""

    model_config = ConfigDict(extra="forbid")

    story_id: str
    """Of the validation story whose opening was continued."""
    mode: Literal["free", "captions_given"]
    policy: str
    segments: list[Segment]


class LearningRow(BaseModel):
    """One line of `evaluation/learning.json`: a number beside the baseline that it had to beat."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str
    measure: str
    value: float | None
    unit: str
    baseline: float | None
    baseline_name: str
    target: str
    reached: bool | None
    """None where a part of it was not measured."""


# --------------------------------------------------------------------------------------- the drawn series' truth


class TrueShot(BaseModel):
    """Who and what is on screen between two times; names are none on title, credits and fades."""

    start_ms: int
    end_ms: int
    kind: Literal["shot", "title", "credits", "fade"]
    character: str | None = None
    place: str | None = None
    action: str | None = None
    text: str | None = None


class TrueEpisode(BaseModel):
    """`truth/<episode>.json` beside the drawn videos."""

    video: str
    shots: list[TrueShot]


class TrueWorld(BaseModel):
    """`truth/world.json`: the vocabulary of the drawn series."""

    characters: list[str]
    places: list[str]
    actions: list[str]


def read_truth(videos_dir: Path) -> tuple[TrueWorld, list[TrueEpisode]] | None:
    """Read what is known of a drawn series; none where the videos are not drawn."""
    folder = videos_dir / "truth"
    if not (folder / "world.json").is_file():
        return None
    world = TrueWorld.model_validate_json((folder / "world.json").read_bytes())
    paths = sorted(path for path in folder.glob("*.json") if path.name != "world.json")
    return world, [TrueEpisode.model_validate_json(path.read_bytes()) for path in paths]
