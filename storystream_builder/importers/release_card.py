"""The card of an imported dataset: where it comes from, what became of each row, what was left out and why."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from story_model import schema
from storystream_builder.importers.release_config import ReleaseConfig
from storystream_builder.importers.release_stories import ReleasedStory


def release_card(stories: Sequence[ReleasedStory], counts: Mapping[str, int], config: ReleaseConfig) -> str:
    """Write the dataset's README."""
    splits = Counter(story.split for story in stories)
    shared = counts["episodes in both splits"]
    sections = [
        _front_matter(config, sorted(splits)),
        f"# {config.series or config.subset}: published illustrated stories from {counts['episodes']} episodes",
        f"{counts['stories']} stories with {counts['pairs']} picture-text pairs: "
        + ", ".join(f"{number} in `{split}`" for split, number in sorted(splits.items()))
        + ". Each row is one story: keyframes of one episode in the order of time, with the text over each.",
        *([f"> **Warning:** {shared} episodes are in both splits."] if shared and config.leaks == "keep" else []),
        "## How it was made",
        "Imported from a release in StoryStream's published form; pictures and captions are as published, to the byte. "
        "Which model wrote the captions the release does not say. Keyframes carry no scores and no shots.",
        f"Stories that cross episodes, go back in time or lack a picture were {_BROKEN[config.broken]}.",
        "## What became of it",
        _table(("what", "how many"), ((name, str(number)) for name, number in counts.items())),
        "Each loss is a row of `meta/errors.parquet`, with the file and line it is of.",
        "## Licence",
        f"Licence: {config.license}. Attribution: {config.attribution or 'none given'}. "
        f"Source: {config.url or 'none given'}.",
        "## Columns",
        f"Schema version {schema.SCHEMA_VERSION}. `data/` holds the stories; `frames/` every picture of the archive, "
        "those in no story without their bytes; `meta/` episodes, stories without pictures, and errors.",
    ]
    return "\n\n".join(sections) + "\n"


_BROKEN = {"cut": "cut there, and parts that are long enough kept", "drop": "left out"}


def _front_matter(config: ReleaseConfig, splits: Sequence[str]) -> str:
    known = re.fullmatch(r"[a-z0-9.-]+", config.license)
    lines = ["---", f"license: {config.license if known else 'other'}"]
    lines += [] if known else [f"license_name: {json.dumps(config.license)}"]
    lines += ["configs:", f"- config_name: {config.subset}", "  data_files:"]
    for split in splits:
        lines += [f"  - split: {split}", f"    path: data/{config.subset}/{split}-*.parquet"]
    return "\n".join([*lines, "---"])


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows))
