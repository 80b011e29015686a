"""The dataset card: what the Hugging Face hub reads (YAML), and what a person wants to know before using the data."""

import html
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa

from story_model import schema
from story_model.build_config import BuildConfig
from storystream_builder.assemble import Assembly
from storystream_builder.sources import UNKNOWN, Source

_CAPTIONS = {
    "narrated": "the line spoken over the frame: `transcript` in `meta/episodes.parquet` says where it comes from",
    "measured": "nothing is spoken: light, main colours, movement and time, measured; no objects and no names",
    "seen": "written by a vision-language model that saw the frame",
    "local": "likewise, by a network on the machine that built the dataset",
    "truncated": "likewise, but cut off at the length limit",
    "sidecar": "given to the builder in a file",
}


def card(
    assembly: Assembly, *, config: BuildConfig, caption_model: str, story_model: str, examples: Mapping[str, str]
) -> str:
    """Write the dataset's README; `examples` are pictures' paths by the reason for which they were dropped."""
    stories = assembly.stories.stories
    pairs = sum(len(story.frames) for story in stories)
    splits = Counter(story.split for story in stories)
    told = len({story.episode_id for story in stories})
    sections = [
        _front_matter(config, assembly, sorted(splits)),
        f"# {config.subset}: illustrated stories from {told} episodes",
        f"{len(stories)} stories with {pairs} picture-text pairs: "
        + ", ".join(f"{number} in `{split}`" for split, number in sorted(splits.items()))
        + ". Each row is one story: keyframes of one episode in order, with the text over each. Training reads views "
        f"of {config.stories.chunk_length} pairs, named `<story_id>/<number>`; nothing is stored for them.",
        *(f"> **Warning:** {warning}." for warning in assembly.stories.warnings),
        "```python\nfrom datasets import load_dataset\n\n"
        f'stories = load_dataset("path/to/this/folder", "{config.subset}", split="train")\n```',
        "## How it was made",
        "One pass over each video finds its shots, scores candidates of each and stores them; the sharpest fit one is "
        f"kept, near-duplicates are dropped, and runs of {config.stories.length} frames of one episode become a story. "
        f"Whole {'series' if config.stories.split_by == 'series' else 'episodes'} are held out, chosen by a hash.",
        f"Captions are by `{caption_model}`, the stories' text by `{story_model}`.",
        _captions(assembly.counts),
        *_bill(assembly.counts, config),
        "## What was dropped where",
        _funnel(assembly),
        *(f"**{reason}**\n\n![{reason}]({path})" for reason, path in examples.items()),
        "## Sources, licences, credits",
        _sources(assembly),
        "## Columns",
        f"Schema version {schema.SCHEMA_VERSION}. `data/` holds the stories below; `frames/` every candidate with its "
        "scores and what became of it; `meta/` episodes, shots, stories without pictures, and errors.",
        _table(("column", "type"), [(c.name, _kind(c.type)) for c in schema.STORIES_INLINE]),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(config: BuildConfig, assembly: Assembly, splits: list[str]) -> str:
    licences = sorted({episode.outcome.source.license for episode in assembly.episodes})
    known = [licence for licence in licences if re.fullmatch(r"[a-z0-9.-]+", licence) and licence != UNKNOWN]
    lines = ["---", f"license: {licences[0] if licences == known and len(known) == 1 else 'other'}"]
    lines += [] if licences == known and len(known) == 1 else [f"license_name: {json.dumps(', '.join(licences))}"]
    lines += ["configs:", f"- config_name: {json.dumps(config.subset)}", "  data_files:"]
    for split in splits:
        lines += [f"  - split: {split}", f"    path: data/{config.subset}/{split}-*.parquet"]
    return "\n".join([*lines, "---"])


def _sources(assembly: Assembly) -> str:
    """Say, by licence, series and credit, how many episodes and stories there are."""
    episodes = {episode.episode_id: episode.outcome.source for episode in assembly.episodes}
    stories = Counter(_origin(episodes[story.episode_id]) for story in assembly.stories.stories)
    origins = Counter(_origin(source) for source in episodes.values())
    rows = [(*_cells(origin), str(number), str(stories[origin])) for origin, number in sorted(origins.items())]
    return _table(("series", "licence", "credit", "address", "episodes", "stories"), rows)


def _origin(source: Source) -> tuple[str, str, str, str]:
    return source.series, source.license, source.attribution, source.url


def _cells(texts: Sequence[str]) -> tuple[str, ...]:
    """Make texts that came from outside safe in a table: no markup, no line end, no cell border."""
    plain = (html.escape(" ".join(text.split())) for text in texts)
    return tuple(re.sub(r"[|\[\]`*_]", lambda found: f"&#{ord(found[0])};", text) or "-" for text in plain)


def _bill(counts: Counter[str], config: BuildConfig) -> list[str]:
    """Say what was asked of endpoints and, where prices are known, what it cost."""
    sent, received = counts["stories prompt tokens"], counts["stories completion tokens"]
    price = config.narratives.price
    costs = {
        "captions": counts["captions micro-dollars"] / 1e6,
        "stories": (sent * price.prompt_usd + received * price.completion_usd) / 1e6,
    }
    rows = []
    for what, usd in costs.items():
        sent, received = counts[f"{what} prompt tokens"], counts[f"{what} completion tokens"]
        if not sent + received or (what == "captions" and config.captions.captioner != "openai"):
            continue  # a network on this machine sends no bill
        rows.append((what, f"{sent:,}", f"{received:,}", f"{usd:.2f}" if usd else "price unknown"))
    return [_table(("asked for", "tokens sent", "tokens received", "US dollars"), rows)] if rows else []


def _captions(counts: Counter[str]) -> str:
    rows = [
        (status, str(counts[f"captions {status}"]), meaning)
        for status, meaning in _CAPTIONS.items()
        if counts[f"captions {status}"]
    ]
    return _table(("captions", "frames", "which are"), rows)


def _funnel(assembly: Assembly) -> str:
    counts = assembly.counts
    rows = [
        ("videos found", counts["videos"]),
        ("episodes that can be used", len(assembly.episodes) - len(assembly.duplicates)),
    ]
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
