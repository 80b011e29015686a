"""What only the whole of a dataset shows: splits that share something, stories that refer to nothing, wrong counts."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from storystream_builder.catalog import Catalog

NEAR_DUPLICATE_BITS = 2
"""Pictures of two splits whose perceptual hashes differ in so many of 64 bits at most look the same."""


def leaks(catalog: Catalog, config: Mapping[str, Any]) -> Iterator[str]:
    """Tell what is in more than one split, as far as the manifest's configuration does not ask for it; or comes twice.

    Episodes (unless there is one only), series where these are held out, pictures.
    """
    build = config.get("build") or {}
    filters, stories = build.get("filters") or {}, build.get("stories") or {}
    episodes_may = config.get("leaks") == "keep"
    pictures_may = episodes_may or filters.get("across_episodes_distance", 0) is None
    by_series = stories.get("split_by") == "series"
    for what in ["episode_id"] * (not episodes_may) + ["series"] * by_series:
        shared = catalog.query(
            f"SELECT {what} FROM read_parquet($stories) GROUP BY 1 HAVING count(DISTINCT split) > 1 "
            "AND (SELECT count(DISTINCT episode_id) FROM read_parquet($stories)) > 1 ORDER BY 1"
        )
        yield from (f"{what.removesuffix('_id')} {name!r} is in more than one split" for (name,) in shared)
    pictures = 0 if pictures_may else catalog.shared_pictures()
    if pictures:
        yield f"{pictures} pictures are, to the byte, in more than one split"
    repeated = catalog.query("SELECT story_id FROM read_parquet($stories) GROUP BY 1 HAVING count(*) > 1 ORDER BY 1")
    yield from (f"story {name} comes twice" for (name,) in repeated)


def similar_pictures(catalog: Catalog, distance: int = NEAR_DUPLICATE_BITS) -> int:
    """Count pictures of validation stories that look like one of a training story."""
    hashes = catalog.query(
        "SELECT split, list(DISTINCT hash) FROM (SELECT split, unnest(phash) AS hash FROM read_parquet($stories)) "
        "GROUP BY 1"
    )
    by_split = {split: np.array(found, np.uint64) for split, found in hashes}
    train = by_split.get("train", np.zeros(0, np.uint64))
    held_out = by_split.get("validation", np.zeros(0, np.uint64))
    return sum(bool((np.bitwise_count(train ^ one) <= distance).any()) for one in held_out)


def dangling(catalog: Catalog) -> Iterator[str]:
    """Tell which stories show a picture that is not among the kept frames, or are not in the table without pictures."""
    lost = catalog.query(
        "SELECT DISTINCT story_id FROM (SELECT story_id, unnest(image_sha256) AS digest FROM read_parquet($stories)) "
        "WHERE digest NOT IN (SELECT image_sha256 FROM read_parquet($frames) WHERE status = 'kept') ORDER BY 1"
    )
    yield from (f"story {name} shows a picture that is not among the frames" for (name,) in lost)
    differing = catalog.query(
        "SELECT coalesce(a.story_id, b.story_id) FROM read_parquet($stories) a "
        "FULL JOIN read_parquet($texts) b USING (story_id) "
        "WHERE a.captions IS DISTINCT FROM b.captions OR a.split IS DISTINCT FROM b.split ORDER BY 1"
    )
    yield from (f"story {name} is not the same in data/ and in meta/stories.parquet" for (name,) in differing)


def counts_that_lie(catalog: Catalog, counts: Mapping[str, int]) -> Iterator[str]:
    """Hold the manifest's counts against the tables."""
    found = {
        "stories": "SELECT count(*) FROM read_parquet($stories)",
        "stories train": "SELECT count(*) FROM read_parquet($stories) WHERE split = 'train'",
        "stories validation": "SELECT count(*) FROM read_parquet($stories) WHERE split = 'validation'",
        "pairs": "SELECT coalesce(sum(len(captions)), 0)::BIGINT FROM read_parquet($stories)",
        "episodes": "SELECT count(*) FROM read_parquet($episodes)",
        "candidates": "SELECT count(*) FROM read_parquet($frames)",
        "problems": "SELECT count(*) FROM read_parquet($errors)",
    }
    for name, query in found.items():
        ((number,),) = catalog.query(query)
        if name in counts and counts[name] != number:
            yield f"the manifest counts {counts[name]} {name}, the tables hold {number}"
