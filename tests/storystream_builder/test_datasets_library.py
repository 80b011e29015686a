"""Hugging Face `datasets` loads a built dataset without a script, map-style and streaming, with pictures."""

import pytest
from datasets import Image, List, load_dataset

from story_model.dataset import read_stories


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr("datasets.config.HF_DATASETS_OFFLINE", True)
    return tmp_path


@pytest.mark.parametrize("split", ["train", "validation"])
def test_each_split_loads_as_lists_of_pictures(built, offline, split):
    loaded = load_dataset(str(built.dataset_dir), "stories", split=split, cache_dir=str(offline))
    assert loaded.features["images"] == List(Image())
    stories = read_stories(built.dataset_dir, split)
    assert [row["captions"] for row in loaded] == [list(story.captions) for story in stories]
    picture = loaded[0]["images"][0]
    assert picture.size == (loaded[0]["width"][0], loaded[0]["height"][0])


def test_a_stream_reads_text_without_pictures(built, offline):
    stream = load_dataset(
        str(built.dataset_dir), "stories", split="train", streaming=True, columns=["story_id", "captions"]
    )
    assert [sorted(row) for row in stream] == [["captions", "story_id"]] * len(read_stories(built.dataset_dir, "train"))
