"""A published release becomes a dataset: what holds together is there to the byte, all else is told and counted."""

import io
import json
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from drawn_release import chunk, jpeg, lines, name, names, story, write_pictures, write_tar, write_zip
from PIL import Image

from story_model.dataset import Story, read_stories
from story_model.manifest import Manifest
from storystream_builder.__main__ import main
from storystream_builder.importers import frame_reader
from storystream_builder.importers.entries import Fault, Limits
from storystream_builder.importers.release_config import ReleaseConfig
from storystream_builder.importers.release_lines import Line, read_line
from storystream_builder.importers.release_names import Picture, name_of, picture_of
from storystream_builder.importers.release_pictures import look_at
from storystream_builder.importers.release_rows import chunk_length_of, split_of
from storystream_builder.importers.storystream_release import import_release
from storystream_builder.verify import verify_dataset

FOUR = names(258, 1, 2, 3, 64)
OTHER = names(300, 1, 2, 3)


class Release:
    """A release in a folder of its own, and the dataset that is made of it."""

    def __init__(self, folder: Path) -> None:
        self.images, self.stories, self.dataset = folder / "images.tar.gz", folder / "stories.zip", folder / "dataset"

    def make(self, *stories: object, pictures=(*FOUR, *OTHER), **files: bytes) -> "Release":
        write_pictures(self.images, pictures)
        write_zip(
            self.stories, {"train.jsonl": lines(*stories)} | {f"{key}.jsonl": text for key, text in files.items()}
        )
        return self

    def run(self, **changes) -> Manifest:
        """Import it; whatever comes, each row and each picture is accounted for, and the dataset is sound."""
        config = ReleaseConfig.model_validate({"subset": "george", "shortest_part": 2} | changes)
        manifest = import_release(self.images, self.stories, self.dataset, config=config)
        assert verify_dataset(self.dataset) == []
        counts = Counter(manifest.counts)
        kept = counts["pictures: frames kept"] + counts["pictures: frames in no story"]
        assert counts["pictures: files"] == kept + counts["pictures: files refused"]
        assert counts["release: pairs"] == counts["pairs"] + counts["pairs lost"]
        assert counts["problems"] == len(self.errors())
        return manifest

    def read(self, split: str = "train") -> list[Story]:
        return read_stories(self.dataset, split)

    def shown(self, split: str = "train") -> list[tuple[str, tuple[int, ...]]]:
        """Episode and seconds of each story."""
        return [(one.episode_id, tuple(pts_ms // 1000 for pts_ms in one.pts_ms)) for one in self.read(split)]

    def errors(self) -> list[dict[str, str]]:
        return pq.read_table(self.dataset / "meta" / "errors.parquet").to_pylist()

    def codes(self) -> list[str]:
        return [error["code"] for error in self.errors()]


@pytest.fixture
def release(tmp_path) -> Release:
    return Release(tmp_path)


# ------------------------------------------------------------------------------------------------------ what is kept


def test_pictures_and_captions_are_as_published_to_the_byte(release):
    release.make(story(FOUR))
    release.run()
    (read,) = release.read()
    assert list(read.images) == [jpeg(number) for number in range(4)]
    assert read.captions == tuple(f"This is what {image} shows." for image in FOUR)
    assert read.pts_ms == (1007, 2007, 3007, 64007)
    assert (read.story_id, read.episode_id, read.subset) == ("george-000258-0000", "000258", "george")


def test_files_named_val_are_validation(release):
    release.make(story(FOUR), val=lines(story(OTHER)))
    counts = release.run().counts
    assert (counts["stories train"], counts["stories validation"]) == (1, 1)
    assert release.shown("validation") == [("000300", (1, 2, 3))]


def test_every_picture_of_the_archive_is_a_frame_and_those_in_no_story_lack_their_bytes(release):
    release.make(story(FOUR))
    release.run()
    rows = pq.read_table(next((release.dataset / "frames").glob("*"))).to_pylist()
    assert Counter((row["status"], row["image"] is None) for row in rows) == {
        ("kept", False): 4,
        ("in no story", True): 3,
    }


def test_licence_and_source_are_in_the_rows_and_on_the_card(release):
    release.make(story(FOUR))
    release.run(license="cc-by-4.0", attribution="us", series="George", url="https://example.org")
    row = pq.read_table(next(release.dataset.glob("data/*/*"))).to_pylist()[0]
    assert (row["license"], row["attribution"], row["series"], row["url"]) == (
        *("cc-by-4.0", "us", "George", "https://example.org"),
    )
    assert "license: cc-by-4.0" in (release.dataset / "README.md").read_text()


def test_a_second_run_computes_nothing_and_another_place_gets_the_same_bytes(release, tmp_path):
    release.make(story(FOUR), story(OTHER))
    assert not release.run().reused
    assert release.run().reused
    again = import_release(
        release.images, release.stories, tmp_path / "again", config=ReleaseConfig(subset="george", shortest_part=2)
    )
    assert again.digest == release.run().digest


def test_nothing_is_left_on_the_disk_but_the_dataset(release):
    release.make(story(FOUR))
    manifest = release.run()
    left = {path.relative_to(release.dataset).as_posix() for path in release.dataset.rglob("*") if path.is_file()}
    assert left == {*manifest.files, "manifest.json"}


def test_folders_give_the_dataset_that_archives_give(release, tmp_path):
    release.make(story(FOUR), story(OTHER))
    release.run()
    archived = release.read()
    for number, one in enumerate((*FOUR, *OTHER)):
        (tmp_path / "pictures" / one).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pictures" / one).write_bytes(jpeg(number))
    (tmp_path / "pictures" / "link.jpg").symlink_to("/etc/passwd")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.jsonl").write_bytes(lines(story(FOUR), story(OTHER)))
    release.images, release.stories, release.dataset = tmp_path / "pictures", tmp_path / "texts", tmp_path / "folders"
    release.run()
    assert [(one.story_id, one.image_sha256) for one in release.read()] == [
        (one.story_id, one.image_sha256) for one in archived
    ]
    assert release.codes() == ["link"]


def test_pictures_in_any_order_are_found_again_with_one_row_group_in_memory(release, monkeypatch):
    monkeypatch.setattr(frame_reader, "_HELD_BYTES", 0)
    order = [one for pair in zip(FOUR, [*OTHER, name(300, 4)], strict=True) for one in reversed(pair)]
    release.make(story(FOUR), story(OTHER), pictures=order)
    release.run(parquet={"row_group_mb": 0.001, "file_mb": 0.002})
    assert len(list((release.dataset / "frames").glob("*"))) > 1
    pictures = dict(zip(order, map(jpeg, range(8)), strict=True))
    assert [list(one.images) for one in release.read()] == [[pictures[key] for key in keys] for keys in (FOUR, OTHER)]


def test_another_dataset_s_folder_is_not_replaced(release):
    release.make(story(FOUR))
    (release.dataset / "mine").mkdir(parents=True)
    with pytest.raises(ValueError, match="not ours, which would be deleted"):
        release.run()
    assert (release.dataset / "mine").is_dir()


def test_backslashes_folders_above_and_bare_names_are_the_same_picture(release):
    write_tar(release.images, [(f"./george_full/{one}", jpeg(number)) for number, one in enumerate(FOUR)])
    images = [FOUR[0].replace("/", "\\"), f"x/{FOUR[1]}", FOUR[2].rpartition("/")[2], FOUR[3]]
    write_zip(release.stories, {"train.jsonl": lines(story(images))})
    release.run()
    assert release.shown() == [("000258", (1, 2, 3, 64))]


def test_python_dictionaries_are_read_and_none_is_a_story_that_was_given_up(release):
    release.make(str(story(FOUR)).encode(), b"None")
    release.run()
    assert release.shown() == [("000258", (1, 2, 3, 64))]
    assert release.codes() == ["empty story"]


# --------------------------------------------------------------------------------------------------- broken stories


@pytest.mark.parametrize(
    ("images", "shown", "codes"),
    [
        ([*FOUR[:2], *OTHER], [("000258", (1, 2)), ("000300", (1, 2, 3))], ["crosses episodes"]),
        ([*FOUR[2:], *FOUR[:2]], [("000258", (3, 64)), ("000258", (1, 2))], ["back in time"]),
        ([*FOUR[:2], *FOUR[1:3]], [("000258", (1, 2)), ("000258", (2, 3))], ["repeated picture"]),
        ([*FOUR[:3], name(258, 9), FOUR[3]], [("000258", (1, 2, 3))], ["missing picture", "too short"]),
        ([*FOUR, "/etc/passwd"], [("000258", (1, 2, 3, 64))], ["unsafe path"]),
        ([*FOUR, "../000258/000258_keyframe_0-0-5-0.jpg"], [("000258", (1, 2, 3, 64))], ["unsafe path"]),
        ([*FOUR, "000258/picture.jpg"], [("000258", (1, 2, 3, 64))], ["not a keyframe"]),
    ],
)
def test_a_broken_story_is_cut_where_it_breaks(release, images, shown, codes):
    release.make(story(images))
    release.run()
    assert release.shown() == shown
    assert release.codes() == codes


def test_broken_stories_can_be_left_out_whole(release):
    release.make(story([*FOUR[:2], *OTHER[:2]]), story(OTHER))
    counts = release.run(broken="drop").counts
    assert release.shown() == [("000300", (1, 2, 3))]
    assert counts["pairs lost: broken story"] == 4


def test_parts_shorter_than_asked_are_counted(release):
    release.make(story([*FOUR[:2], *OTHER]))
    assert release.run(shortest_part=3).counts["pairs lost: too short"] == 2
    assert release.shown() == [("000300", (1, 2, 3))]


def test_a_picture_without_caption_is_lost_alone(release):
    release.make(story(FOUR, captions=["one", "two", "three", " "]))
    release.run()
    assert release.codes() == ["empty caption"]
    assert release.shown() == [("000258", (1, 2, 3))]


# ------------------------------------------------------------------------------------------------- chunks and copies


def test_chunks_of_one_parent_are_joined(release):
    release.make(train_2=lines(chunk(FOUR[:2], number=0), chunk(FOUR[2:], number=0), chunk(OTHER[:2], number=1)))
    assert release.run().counts["chunks joined"] == 2
    assert release.shown() == [("000258", (1, 2, 3, 64)), ("000300", (1, 2))]


@pytest.mark.parametrize(
    "second",
    [
        chunk(FOUR[2:], number=1),
        story(FOUR[2:], number=0),
        chunk(OTHER[:2], number=0),
    ],
    ids=["another parent", "it has orders", "another episode"],
)
def test_chunks_that_are_not_certain_to_be_of_one_parent_stay_apart(release, second):
    release.make(train_2=lines(chunk(FOUR[:2], number=0), second))
    release.run()
    assert [len(seconds) for _, seconds in release.shown()] == [2, 2]


def test_a_bad_line_between_chunks_keeps_them_apart(release):
    release.make(train_2=lines(chunk(FOUR[:2], number=0), b"{", chunk(FOUR[2:], number=0)))
    release.run()
    assert release.shown() == [("000258", (1, 2)), ("000258", (3, 64))]


def test_chunks_beside_their_parents_are_not_told_twice(release):
    release.make(story(FOUR), train_2=lines(chunk(FOUR[1:3], number=0)))
    assert release.run().counts["pairs lost: repeated story"] == 2
    assert release.shown() == [("000258", (1, 2, 3, 64))]


def test_other_captions_over_the_same_pictures_are_another_story(release):
    release.make(story(FOUR), story(FOUR, captions=["other"] * 4))
    assert release.run().counts["stories"] == 2


def test_an_episode_that_is_held_out_is_left_out_of_training_unless_asked_for(release):
    release.make(story(FOUR[:2]), story(OTHER), val=lines(story(FOUR[2:])))
    assert release.run().counts["pairs lost: held-out episode"] == 2
    assert release.shown() == [("000300", (1, 2, 3))]
    config = ReleaseConfig(subset="george", leaks="keep")
    counts = import_release(release.images, release.stories, release.dataset, config=config).counts
    assert (counts["stories"], counts["episodes in both splits"]) == (3, 1)
    assert "1 episodes are in both splits" in (release.dataset / "README.md").read_text()


# ------------------------------------------------------------------------------------------------------- bad pictures


def test_bad_members_are_told_and_the_first_of_a_name_wins(release):
    link = tarfile.TarInfo(OTHER[0])
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    good = [(one, jpeg(number)) for number, one in enumerate(FOUR)]
    whole = jpeg(9)
    members = [
        *good,
        (FOUR[0], jpeg(7)),
        (link, b""),
        (OTHER[1], whole[: len(whole) // 2]),
        (OTHER[2], b"<html>"),
        ("../../etc/000258/000258_keyframe_0-0-9-0.jpg", b"x"),
        ("caf\udce9.jpg", b"x"),
    ]
    write_tar(release.images, members)
    write_zip(release.stories, {"train.jsonl": lines(story(FOUR), story(OTHER))})
    release.run()
    assert list(release.read()[0].images) == [jpeg(number) for number in range(4)]
    told = [error["code"] for error in release.errors() if error["step"] == "pictures"]
    expected = ["repeated name", "link", "unsafe path", "not a keyframe", "broken picture", "not a picture"]
    assert sorted(told) == sorted(expected)
    assert "caf%E9.jpg" in {error["file"] for error in release.errors()}


def test_what_comes_before_the_cut_of_a_truncated_archive_is_used(release):
    order = [*FOUR, *OTHER]
    write_tar(release.images, [(one, jpeg(number)) for number, one in enumerate(order)], "w")
    data = release.images.read_bytes()
    release.images.write_bytes(data[: data.index(OTHER[1].encode()) + 700])
    write_zip(release.stories, {"train.jsonl": lines(story(FOUR), story(OTHER))})
    release.run()
    assert release.shown() == [("000258", (1, 2, 3, 64))]
    assert Counter(release.codes()) == {"truncated archive": 1, "missing picture": 2, "too short": 1}


def png(width: int, height: int) -> bytes:
    data = io.BytesIO()
    Image.new("1", (width, height)).save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (png(8000, 7000), "too many pixels"),
        (png(20000, 20000), "too many pixels"),
        (b"", "not a picture"),
        (b"GIF89a" + bytes(100), "not a picture"),
        (jpeg(1)[:200], "broken picture"),
        (png(64, 64)[:48], "broken picture"),
    ],
    ids=["56 MP", "400 MP", "empty", "another format", "JPEG cut short", "PNG cut short"],
)
def test_a_picture_that_cannot_be_used_says_why(data, code):
    found = look_at(data, Limits())
    assert isinstance(found, Fault)
    assert found.code == code


# ---------------------------------------------------------------------------------------------------------- bad lines


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"images": ["a"], "captions": ["b"]', "not JSON"),
        (b'{"id": NaN, "images": ["a"], "captions": ["b"]}', "not JSON"),
        (b'{"id": 1, "id": 2, "images": ["a"], "captions": ["b"]}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"{'images': __import__('os').listdir()}", "not JSON"),
        (b"{'a': " + b"-" * 500_000 + b"1}", "not JSON"),
        (b"{'a': 1" + b"+1" * 200_000 + b"}", "not JSON"),
        (b"{'a': '" + b"x" * 2_000_000 + b"'}", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"images": ["a"], "captions": ["\\ud800"]}', "not UTF-8"),
        (b"[1, 2]", "not a story"),
        (b'{"images": "a", "captions": "b"}', "not a story"),
        (b'{"images": ["a"], "captions": [null]}', "not a story"),
        (b'{"images": ["a", "b"], "captions": ["c"]}', "lengths differ"),
        (b'{"images": [], "captions": []}', "empty story"),
        (b'{"images": ["a", "b"], "captions": ["c", "d"], "orders": [1, 0]}', "orders"),
    ],
    ids=lambda value: value[:40] if isinstance(value, bytes) else value,
)
def test_a_line_that_is_no_story_says_why(line, code):
    found = read_line(line)
    assert isinstance(found, Fault)
    assert found.code == code


def test_bad_lines_are_told_by_file_and_number_and_the_others_are_read(release):
    write_pictures(release.images, FOUR)
    text = b"\xef\xbb\xbf" + lines(b"{", story(FOUR)).replace(b"\n", b"\r\n") + b"\r\n" + b"x" * 3000 + b"\n"
    write_zip(release.stories, {"train.jsonl": text, "__MACOSX/._train.jsonl": b"\0", "notes.txt": b"hello"})
    counts = release.run(limits={"line_bytes": 2000}).counts
    assert release.shown() == [("000258", (1, 2, 3, 64))]
    assert [(error["file"], error["code"]) for error in release.errors()] == [
        ("train.jsonl:1", "not JSON"),
        ("train.jsonl:4", "line too long"),
        ("__MACOSX/._train.jsonl", "no stories"),
        ("notes.txt", "no stories"),
    ]
    assert (counts["release: rows"], counts["release: rows refused"]) == (3, 2)


def test_a_line_without_id_and_orders_is_a_story():
    found = read_line(json.dumps({"images": ["a"], "captions": ["b"]}).encode())
    assert found == Line("", ("a",), ("b",), has_orders=False)


# -------------------------------------------------------------------------------------------------------------- names


def test_a_picture_s_time_is_read_without_padding():
    found = picture_of("000258/000258_keyframe_0-20-0-866.jpg")
    assert found == Picture("000258", 20 * 60 * 1000 + 866)
    assert name_of(found, "jpg") == "000258/000258_keyframe_0-20-0-866.jpg"


@pytest.mark.parametrize(
    "path",
    [
        "/000258/000258_keyframe_0-0-1-0.jpg",
        "C:\\000258\\000258_keyframe_0-0-1-0.jpg",
        "..\\000258_keyframe_0-0-1-0.jpg",
        "000258/000258_keyframe_0-60-1-0.jpg",
        "000258/000258_keyframe_0-\u0661-1-0.jpg",
        "keyframe_0-0-1-0.jpg",
        ".hidden/keyframe_0-0-1-0.jpg",
        "",
    ],
)
def test_a_name_that_is_no_keyframe_s_is_a_fault(path):
    assert isinstance(picture_of(path), Fault)


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("val.jsonl", "validation"),
        ("json/george_val.jsonl", "validation"),
        ("validation-00.jsonl", "validation"),
        ("carnival.jsonl", "train"),
        ("values.jsonl", "train"),
        ("train_10.jsonl", "train"),
    ],
)
def test_the_split_is_a_word_of_the_file_s_path(path, split):
    assert split_of(path) == split


@pytest.mark.parametrize(
    ("path", "length"), [("train_10.jsonl", 10), ("george_train10/0.jsonl", 10), ("train.jsonl", None)]
)
def test_a_file_of_chunks_says_their_length(path, length):
    assert chunk_length_of(path) == length


# ------------------------------------------------------------------------------------------------------------ command


def test_nothing_to_use_is_one_line_that_says_what_was_found(release, monkeypatch, capsys):
    release.make(b"{", story(names(999, 1, 2)))
    command = ["import-storystream", release.images, release.stories, release.dataset]
    monkeypatch.setattr(sys, "argv", ["storystream_builder", *map(str, command)])
    assert main() == 1
    printed = capsys.readouterr().err
    assert "no story can be made of 2 rows" in printed
    assert "Traceback" not in printed


def test_the_command_says_what_came_of_it(release, monkeypatch, capsys):
    release.make(story(FOUR))
    command = ["import-storystream", release.images, release.stories, release.dataset, "--subset", "george"]
    monkeypatch.setattr(sys, "argv", ["storystream_builder", *map(str, command), "--license", "cc0-1.0"])
    assert main() == 0
    assert "        1  stories train" in capsys.readouterr().out
    assert release.read()[0].subset == "george"
