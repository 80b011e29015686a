"""Exports lose nothing: what comes back from the published form is the dataset, and shards hold every story."""

import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from drawn_release import lines, names, story, write_pictures, write_zip

from story_model.dataset import Story, read_stories
from storystream_builder.__main__ import main
from storystream_builder.exporters.export import ExportConfig, export_dataset
from storystream_builder.importers.release_config import ReleaseConfig
from storystream_builder.importers.storystream_release import import_release

SPLITS = ("train", "validation")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Stories of five and four pairs for training, and one of three for validation."""
    folder = tmp_path_factory.mktemp("dataset")
    five, four, three = names(258, 1, 2, 3, 64, 65), names(258, 70, 71, 72, 73), names(300, 1, 2, 3)
    images = write_pictures(folder / "images.tar.gz", [*five, *four, *three])
    umlaut = story(three, captions=["»Ä«", 'a "quoted" one', "two\nlines\u2028of it"])
    texts = {"train.jsonl": lines(story(five), story(four, number=1)), "val.jsonl": lines(umlaut)}
    stories = write_zip(folder / "stories.zip", texts)
    import_release(images, stories, folder / "dataset", config=ReleaseConfig(subset="george"))
    return folder / "dataset"


def export(dataset: Path, out: Path, form: str, **changes):
    return export_dataset(dataset, out, config=ExportConfig.model_validate({"form": form} | changes))


def told(dataset: Path) -> list[tuple[object, ...]]:
    """All that a reader sees of a dataset, pictures to the byte."""
    stories = [one for split in SPLITS for one in read_stories(dataset, split)]
    return [(one.story_id, one.split, one.episode_id, one.captions, one.pts_ms, list(one.images)) for one in stories]


def imported(exported: Path, out: Path, subset: str) -> Path:
    import_release(exported / "images", exported / "json", out, config=ReleaseConfig(subset=subset))
    return out


def samples(shard: Path) -> Iterator[tuple[dict[str, object], list[bytes]]]:
    """Read a shard as WebDataset does: files in a row whose names are the same up to the first dot are a sample."""
    text, images, current = None, [], None
    with tarfile.open(shard) as archive:
        for member in archive:
            key, _, ending = member.name.partition(".")
            data = archive.extractfile(member).read()
            if key != current and text is not None:
                yield text, images
            if key != current:
                assert ending == "json"
                text, images, current = json.loads(data), [], key
            else:
                assert ending == f"{len(images):02d}.jpg"
                images.append(data)
    yield text, images


# ---------------------------------------------------------------------------------------------------- published form


def test_what_was_built_comes_back_from_the_published_form(built, tmp_path):
    export(built.dataset_dir, tmp_path / "published", "storystream")
    again = imported(tmp_path / "published", tmp_path / "again", "stories")
    assert told(again) == told(built.dataset_dir)


def test_what_was_imported_comes_back_from_the_published_form(dataset, tmp_path):
    export(dataset, tmp_path / "published", "storystream")
    assert told(imported(tmp_path / "published", tmp_path / "again", "george")) == told(dataset)


def test_chunks_come_back_joined(dataset, tmp_path):
    counts = export(dataset, tmp_path / "published", "storystream", chunks=2).counts
    assert counts["pairs after the last chunk, left out"] == 2
    again = read_stories(imported(tmp_path / "published", tmp_path / "again", "george"), "train")
    assert [one.captions for one in again] == [one.captions[:4] for one in read_stories(dataset, "train")]


def test_each_line_is_json_with_the_published_keys(dataset, tmp_path):
    export(dataset, tmp_path, "storystream")
    first = json.loads((tmp_path / "json" / "train.jsonl").read_text().splitlines()[0])
    assert list(first) == ["id", "images", "captions", "orders"]
    assert first["images"][3] == "000258/000258_keyframe_0-1-4-7.jpg"
    assert all((tmp_path / "images" / image).is_file() for image in first["images"])
    assert len((tmp_path / "json" / "val.jsonl").read_bytes().split(b"\n")) == 2


def test_chunks_are_written_as_training_reads_them(dataset, tmp_path):
    export(dataset, tmp_path, "storystream", chunks=3)
    rows = [json.loads(line) for line in (tmp_path / "json" / "train_3.jsonl").read_text().splitlines()]
    assert [(row["id"], len(row["images"]), "orders" in row) for row in rows] == [
        (0, 3, False),
        (0, 2, False),
        (1, 3, False),
    ]


def test_two_pictures_of_one_moment_are_an_error(tmp_path):
    from storystream_builder.exporters.export_published import write_published

    def one(number: int) -> Story:
        return Story(f"s-{number}", "s", "train", "e", [bytes([number])] * 2, ("a", "b"), (1, 2), (f"{number}", "x"))

    with pytest.raises(ValueError, match="story s-1: another picture of its episode is of the same moment"):
        write_published(tmp_path, {"train": [one(0), one(1)]}, chunk_length=None)


# -------------------------------------------------------------------------------------------------------- webdataset


def test_shards_hold_every_story_with_its_pictures(dataset, tmp_path):
    counts = export(dataset, tmp_path, "webdataset").counts
    assert counts["shards"] == 2
    for split in SPLITS:
        (shard,) = tmp_path.glob(f"{split}-*.tar")
        found = [(text["story_id"], text["captions"], images) for text, images in samples(shard)]
        assert found == [(one.story_id, list(one.captions), list(one.images)) for one in read_stories(dataset, split)]


def test_chunks_are_samples_of_their_own(dataset, tmp_path):
    export(dataset, tmp_path, "webdataset", chunks=3)
    found = [(text["story_id"], len(images)) for text, images in samples(tmp_path / "train-000000.tar")]
    assert found == [("george-000258-0000/0", 3), ("george-000258-0000/1", 2), ("george-000258-0001/0", 3)]


def test_no_shard_exceeds_the_size_asked_for_unless_one_sample_does(dataset, tmp_path):
    export(dataset, tmp_path / "small", "webdataset", shard_mb=0.001)
    assert len(list((tmp_path / "small").glob("train-*.tar"))) == 2
    for shard_mb in (0.02, 0.03):
        export(dataset, tmp_path / f"{shard_mb}", "webdataset", chunks=2, shard_mb=shard_mb)
        sizes = [path.stat().st_size for path in (tmp_path / f"{shard_mb}").glob("*.tar")]
        assert len(sizes) > 1
        assert max(sizes) <= shard_mb * 2**20


@pytest.mark.parametrize("form", ["storystream", "webdataset"])
def test_the_same_dataset_gives_the_same_bytes_and_a_second_run_writes_nothing(dataset, tmp_path, form):
    first, other = export(dataset, tmp_path / "a", form), export(dataset, tmp_path / "b", form)
    assert first.digest == other.digest
    assert export(dataset, tmp_path / "a", form).reused


def test_an_id_that_is_no_file_s_name_is_an_error(tmp_path):
    from storystream_builder.exporters.export_webdataset import write_shards

    harmful = Story("../../etc/x", "s", "train", "e", [b"1"] * 2, ("a", "b"), (1, 2), ("1", "1"))
    with pytest.raises(ValueError, match="cannot be a key"):
        write_shards(tmp_path, {"train": [harmful]}, chunk_length=None, shard_bytes=1000)


def test_the_command_exports_and_says_what(dataset, tmp_path, monkeypatch, capsys):
    command = ["storystream_builder", "export", dataset, tmp_path / "out", "--form", "webdataset", "--chunks", "2"]
    monkeypatch.setattr(sys, "argv", list(map(str, command)))
    assert main() == 0
    assert "        4  samples train" in capsys.readouterr().out


def test_a_dataset_is_not_replaced_by_its_export(dataset):
    before = told(dataset)
    with pytest.raises(ValueError, match="lie in one another"):
        export(dataset, dataset, "storystream")
    assert told(dataset) == before


def test_a_folder_that_is_no_dataset_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="name the folder of a dataset"):
        export(tmp_path, tmp_path / "out", "storystream")
