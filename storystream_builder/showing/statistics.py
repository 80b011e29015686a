"""What a published dataset holds, in numbers: asked of its tables in SQL, without touching a picture."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from story_model.manifest import read_manifest
from storystream_builder.catalog import Catalog
from storystream_builder.showing.safe_text import shown

_WORDS = r"len(regexp_extract_all(caption, '\S+'))"
_MOST_SIZES = 12
"""Sizes of pictures that are told one by one."""


@dataclass(frozen=True)
class Spread:
    """How a number varies over rows."""

    minimum: float
    p10: float
    median: float
    p90: float
    maximum: float
    mean: float


@dataclass(frozen=True)
class SubsetStatistics:
    """Size of one split of one subset."""

    subset: str
    split: str
    stories: int
    pairs: int
    episodes: int
    mean_caption_words: float


@dataclass(frozen=True)
class ShareStatistics:
    """What one series, or one licence, gives to the dataset; an empty name: none is known."""

    name: str
    stories: int
    pairs: int
    episodes: int


@dataclass(frozen=True)
class Statistics:
    """What a dataset holds, and what was dropped on the way."""

    subsets: list[SubsetStatistics]
    series: list[ShareStatistics]
    licenses: list[ShareStatistics]
    words: Spread
    """Words of the text over one picture."""
    lengths: Spread
    """Pairs of a story."""
    sizes: dict[str, int]
    """Pictures in stories by `width x height`, the most frequent ones first; the rest together."""
    tokens: dict[str, int]
    """Paid for captions, as far as known; empty where none were."""
    funnel: dict[str, int]
    """What the build counted, from videos to stories; empty where no manifest says so."""
    frames_by_status: dict[str, int]
    captions_by_status: dict[str, int]
    shared_pictures: int
    """Pictures that are, to the byte, in more than one split."""
    problems: list[tuple[str, str, str]]
    """(file, step, reason)"""


def read_statistics(dataset_dir: Path) -> Statistics:
    """Count stories, frames and problems of a dataset of any schema version.

    Raises:
        ValueError: there is no dataset.
    """
    manifest = read_manifest(dataset_dir)
    with Catalog(dataset_dir) as catalog:
        return Statistics(
            subsets=_subsets(catalog),
            series=_shares(catalog, "series"),
            licenses=_shares(catalog, "license"),
            words=_spread(
                catalog, f"SELECT unnest([{_WORDS} for caption in captions]) AS x FROM read_parquet($stories)"
            ),
            lengths=_spread(catalog, "SELECT len(captions) AS x FROM read_parquet($stories)"),
            sizes=_sizes(catalog),
            tokens=_tokens(catalog),
            funnel=dict(manifest.counts) if manifest else {},
            frames_by_status=_by_status(catalog, "status"),
            captions_by_status=_by_status(catalog, "caption_status"),
            shared_pictures=catalog.shared_pictures(),
            problems=catalog.query("SELECT file, step, reason FROM read_parquet($errors) ORDER BY ALL"),
        )


def lines_of(found: Statistics) -> Iterator[str]:
    """Tell statistics as lines for a person."""
    for one in found.subsets:
        yield (
            f"{one.subset}/{one.split}: {one.stories} stories, {one.pairs} pairs, {one.episodes} episodes, "
            f"{one.mean_caption_words:.1f} words a caption"
        )
    yield f"pairs a story: {_told(found.lengths)}"
    yield f"words a caption: {_told(found.words)}"
    for title, shares in (("series", found.series), ("licences", found.licenses)):
        yield title
        for share in shares:
            name = shown(share.name) or "(not known)"
            yield f"{share.pairs:9d}  {name}: {share.stories} stories of {share.episodes} episodes"
    for title, counts in (
        ("frames", found.frames_by_status),
        ("captions", found.captions_by_status),
        ("tokens of captions", found.tokens),
        ("sizes of pictures", found.sizes),
        ("what the build counted", found.funnel),
    ):
        if counts:
            yield title
            yield from (f"{number:9d}  {shown(name)}" for name, number in counts.items())
    yield f"{found.shared_pictures} pictures are in more than one split"
    for file, step, reason in found.problems:
        yield f"{step}: {shown(file)}: {shown(reason)}"


def _told(spread: Spread) -> str:
    return (
        f"{spread.mean:.1f} on average, median {spread.median:g}, most {spread.p10:.0f} to {spread.p90:.0f}, "
        f"all {spread.minimum:g} to {spread.maximum:g}"
    )


def _columns(catalog: Catalog, table: Literal["stories", "frames"]) -> set[str]:
    """Name the columns that a table has: earlier schema versions have fewer."""
    return {str(row[0]) for row in catalog.query(f"DESCRIBE SELECT * FROM read_parquet(${table})")}


def _subsets(catalog: Catalog) -> list[SubsetStatistics]:
    rows = catalog.query(
        "SELECT subset, split, count(*), sum(len(captions))::BIGINT, count(DISTINCT episode_id), "
        f"avg(list_avg([{_WORDS} for caption in captions])) "
        "FROM read_parquet($stories) GROUP BY subset, split ORDER BY subset, split"
    )
    return [SubsetStatistics(*row) for row in rows]


def _shares(catalog: Catalog, column: Literal["series", "license"]) -> list[ShareStatistics]:
    name = f"coalesce({column}, '')" if column in _columns(catalog, "stories") else "''"
    rows = catalog.query(
        f"SELECT {name}, count(*), sum(len(captions))::BIGINT, count(DISTINCT episode_id) "
        "FROM read_parquet($stories) GROUP BY 1 ORDER BY 3 DESC, 1"
    )
    return [ShareStatistics(*row) for row in rows]


def _spread(catalog: Catalog, numbers: str) -> Spread:
    """Describe the column `x` of a query; noughts where it has no row."""
    (row,) = catalog.query(
        f"WITH numbers AS ({numbers}) SELECT min(x), quantile_cont(x, 0.1), median(x), quantile_cont(x, 0.9), "
        "max(x), avg(x) FROM numbers"
    )
    return Spread(*(float(value or 0) for value in row))


def _sizes(catalog: Catalog) -> dict[str, int]:
    rows = catalog.query(
        "SELECT width || ' x ' || height, count(*) FROM (SELECT unnest(width) AS width, unnest(height) AS height "
        "FROM read_parquet($stories)) GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    rest = sum(number for _, number in rows[_MOST_SIZES:])
    return dict(rows[:_MOST_SIZES]) | ({"others": rest} if rest else {})


def _tokens(catalog: Catalog) -> dict[str, int]:
    names = [name for name in ("prompt_tokens", "completion_tokens") if name in _columns(catalog, "frames")]
    if not names:
        return {}
    sums = ", ".join(f"sum({name})::BIGINT" for name in names)
    (row,) = catalog.query(f"SELECT {sums} FROM read_parquet($frames)")
    return {name: number for name, number in zip(names, row, strict=True) if number is not None}


def _by_status(catalog: Catalog, column: Literal["status", "caption_status"]) -> dict[str, int]:
    """Count frames by a status; what an endpoint said of a single frame makes none of its own."""
    rows = catalog.query(
        f"SELECT split_part({column}, ':', 1), count(*) FROM read_parquet($frames) WHERE {column} IS NOT NULL "
        "GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    return dict(rows)
