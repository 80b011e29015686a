"""The dataset card: what the Hugging Face hub reads (YAML), and what a person wants to know before using the data."""

import json
import re
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from story_model import schema
from story_model.build_config import BuildConfig
from storystream_builder.assemble import Assembly

_CAPTIONS = {
    "narrated": "the line spoken over the frame, from the episode's subtitles",
    "measured": "nothing is spoken: light, main colours, movement and time, measured; no objects and no names",
    "seen": "written by a vision-language model that saw the frame",
    "truncated": "likewise, but cut off at the length limit",
}


def card(assembly: Assembly, *, config: BuildConfig, caption_model: str, story_model: str) -> str:
    """Write the dataset's README."""
    stories = assembly.stories.stories
    pairs = sum(len(story.frames) for story in stories)
    splits = Counter(story.split for story in stories)
    sections = [
        _front_matter(config, sorted(splits)),
        f"# {config.subset}: illustrated stories from {len(assembly.episodes)} episodes",
        f"{len(stories)} stories with {pairs} picture-text pairs: "
        + ", ".join(f"{number} in `{split}`" for split, number in sorted(splits.items()))
        + ". Each row is one story: keyframes of one episode in order, with the text over each.",
        *(f"> **Warning:** {warning}." for warning in assembly.stories.warnings),
        "## How it was made",
        "Shots are found in one decode pass, the sharpest fit frame of each is kept, near-duplicates are dropped, and "
        f"runs of {config.stories.length} frames of one episode become a story. Whole episodes are held out.",
        f"Captions are by `{caption_model}`, the stories' text by `{story_model}`.",
        _captions(assembly.counts),
        "## What was dropped where",
        _funnel(assembly),
        "## Licence",
        f"Licence of the videos: {config.license}. Attribution: {config.attribution or 'none given'}.",
        "## Columns",
        f"Schema version {schema.SCHEMA_VERSION}. `data/` holds the stories below; `frames/` every candidate with its "
        "scores and what became of it; `meta/` episodes, shots, stories without pictures, and errors.",
        _table(("column", "type"), [(c.name, _kind(c.type)) for c in schema.STORIES_INLINE]),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(config: BuildConfig, splits: list[str]) -> str:
    known = re.fullmatch(r"[a-z0-9.-]+", config.license)
    lines = ["---", f"license: {config.license if known else 'other'}"]
    lines += [] if known else [f"license_name: {json.dumps(config.license)}"]
    lines += ["configs:", f"- config_name: {config.subset}", "  data_files:"]
    for split in splits:
        lines += [f"  - split: {split}", f"    path: data/{config.subset}/{split}-*.parquet"]
    return "\n".join([*lines, "---"])


def _captions(counts: Counter[str]) -> str:
    rows = [
        (status, str(counts[f"captions {status}"]), meaning)
        for status, meaning in _CAPTIONS.items()
        if counts[f"captions {status}"]
    ]
    return _table(("captions", "frames", "which are"), rows)


def _funnel(assembly: Assembly) -> str:
    counts = assembly.counts
    rows = [("videos found", counts["videos"]), ("episodes used", len(assembly.episodes) - len(assembly.duplicates))]
    rows += [("episodes that repeat another", len(assembly.duplicates)), ("candidates scored", counts["candidates"])]
    prefix = "frames "
    reasons = [(name.removeprefix(prefix), number) for name, number in counts.items() if name.startswith(prefix)]
    rows += [(f"- {reason}", number) for reason, number in sorted(reasons, key=lambda row: (-row[1], row[0]))]
    rows += [("stories", len(assembly.stories.stories)), ("stories that failed", counts["stories failed"])]
    rows += [("rows in `meta/errors.parquet`", len(assembly.problems))]
    return _table(("what", "how many"), [(what, str(number)) for what, number in rows])


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _kind(kind: pa.DataType) -> str:
    return f"list of {_kind(kind.value_type)}" if pa.types.is_list(kind) else str(kind)
