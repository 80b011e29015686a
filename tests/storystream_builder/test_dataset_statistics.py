"""Numbers of a dataset are those of its tables, of either schema version."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from storystream_builder.catalog import Catalog
from storystream_builder.showing.statistics import ShareStatistics, lines_of, read_statistics

VERSION_1 = Path(__file__).parent / "data" / "dataset_v1"


def test_statistics_count_what_is_there(built):
    found = read_statistics(built.dataset_dir)
    assert sum(one.stories for one in found.subsets) == 5
    assert sum(one.pairs for one in found.subsets) == 4 + 4 + 4 + 3 + 3
    assert found.captions_by_status["narrated"] == 4
    assert len(found.problems) == 5


def test_a_licence_is_told_with_what_it_gives(built):
    assert read_statistics(built.dataset_dir).licenses == [ShareStatistics("CC BY 3.0", 5, 18, 5)]


def test_lengths_and_sizes_are_those_of_the_stories(built):
    found = read_statistics(built.dataset_dir)
    assert (found.lengths.minimum, found.lengths.maximum, found.lengths.mean) == (3, 4, 18 / 5)
    assert found.sizes == {"160 x 96": 18}


def test_a_dataset_of_schema_version_1_is_counted():
    found = read_statistics(VERSION_1)
    assert [(one.split, one.stories, one.pairs) for one in found.subsets] == [("train", 1, 4), ("validation", 1, 4)]
    assert found.series == [ShareStatistics("", 2, 8, 2)]
    assert found.tokens == {}
    assert sum(found.frames_by_status.values()) == 36


def test_no_question_asks_for_a_picture(built, monkeypatch):
    asked = []
    query = Catalog.query
    monkeypatch.setattr(Catalog, "query", lambda self, sql, **given: (asked.append(sql), query(self, sql, **given))[1])
    read_statistics(built.dataset_dir)
    assert len(asked) > 5
    assert not [sql for sql in asked if re.search(r"\bimages?\b|SELECT \*(?! FROM read_parquet\(\$\w+\)$)", sql)]


def test_statistics_are_json(built):
    found = read_statistics(built.dataset_dir)
    assert json.loads(json.dumps(asdict(found)))["words"]["mean"] == pytest.approx(found.words.mean)


def test_a_line_is_told_for_every_split_series_and_problem(built):
    text = "\n".join(lines_of(read_statistics(built.dataset_dir)))
    for expected in ("stories/train: ", "CC BY 3.0: 5 stories of 5 episodes", "160 x 96", "decode: empty.mp4: empty"):
        assert expected in text
