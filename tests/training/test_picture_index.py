"""A folder is looked through once: changes alone are looked at again, kills cost a file, what is damaged is named."""

import io
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from picture_folders import drawn, link, write_folder, write_table, write_tar
from PIL import Image

from story_model.pixels import Square, decode_square
from training import picture_index
from training.picture_files import Item, PictureReader, items_of
from training.picture_index import INDEX, PictureIndex, index_pictures, read_index

COUNT = 6


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a folder of all three forms, two pictures each."""
    root = tmp_path / "source"
    write_folder(root, {"b/0.jpg": drawn(0), "b/1.png": drawn(1, form="PNG"), "notes.txt": b"no picture"})
    write_tar(root / "a.tar", {"2.webp": drawn(2, form="WEBP"), "3.jpg": drawn(3)})
    write_table(root / "c.parquet", [drawn(4), drawn(5)], as_struct=True)
    return root


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the names of the files that are looked through from now on."""
    names: list[str] = []

    def noted(path: Path) -> Iterator[Item]:
        names.append(path.name)
        return items_of(path)

    monkeypatch.setattr(picture_index, "items_of", noted)
    return names


def look(root: Path) -> PictureIndex:
    return index_pictures(root, root.parent / "index", name="web")


def count(index: PictureIndex) -> int:
    return sum(len(file.pictures) for file in index.files)


def test_pictures_of_all_forms_are_found_with_their_sizes(root: Path) -> None:
    index = look(root)
    assert [file.name for file in index.files] == ["a.tar", "b/0.jpg", "b/1.png", "c.parquet"]
    assert count(index) == COUNT
    assert {(picture.width, picture.height) for file in index.files for picture in file.pictures} == {(40, 30)}
    assert index.unreadable == []


def test_a_second_look_opens_nothing(root: Path, opened: list[str]) -> None:
    first = look(root)
    opened.clear()
    assert look(root) == first
    assert opened == []


def test_new_and_changed_files_alone_are_looked_at_again(root: Path, opened: list[str]) -> None:
    before = look(root)
    (root / "b/1.png").unlink()
    write_folder(root, {"b/0.jpg": drawn(10), "d.jpg": drawn(11)})
    opened.clear()
    index = look(root)
    assert opened == ["0.jpg", "d.jpg"]
    assert [file.name for file in index.files] == ["a.tar", "b/0.jpg", "c.parquet", "d.jpg"]
    assert index.digest != before.digest
    assert look(root) == index


def test_a_picture_replaced_under_its_old_time_is_noticed(root: Path) -> None:
    before, path = look(root).digest, root / "b/0.jpg"
    state = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert look(root).digest != before


def test_the_digest_is_of_the_pictures_whatever_files_they_lie_in(root: Path) -> None:
    before = look(root).digest
    (root / "b/0.jpg").rename(root / "z.jpg")
    assert look(root).digest == before


def test_a_killed_look_goes_on_at_the_file_where_it_was(
    root: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = look(root)
    (root.parent / "index" / INDEX).unlink()
    monkeypatch.setattr(picture_index, "_DEPTH", 1)

    class Killed(BaseException):
        pass

    def until_the_third(path: Path) -> Iterator[Item]:
        if path.name == "c.parquet":
            raise Killed
        return items_of(path)

    with monkeypatch.context() as patch:
        patch.setattr(picture_index, "items_of", until_the_third)
        patch.setattr(picture_index.os, "cpu_count", lambda: 1)
        with pytest.raises(Killed):
            look(root)
    opened.clear()
    assert look(root) == whole
    assert "a.tar" not in opened
    assert "c.parquet" in opened


def test_a_line_cut_short_costs_its_file_alone(root: Path, opened: list[str]) -> None:
    whole, path = look(root), root.parent / "index" / INDEX
    path.write_bytes(path.read_bytes()[:-30])
    opened.clear()
    assert look(root) == whole
    assert opened == ["c.parquet"]


def truncated(number: int) -> bytes:
    return drawn(number, (300, 200))[:-400]


def bomb() -> bytes:
    """Give a small file of more pixels than are decoded."""
    data = io.BytesIO()
    Image.new("1", (10_000, 9_000)).save(data, "PNG")
    return data.getvalue()


def test_what_is_no_whole_picture_is_counted_and_named(root: Path) -> None:
    write_folder(
        root, {"cut.jpg": truncated(7), "page.jpg": b"<html>", "gif.png": drawn(8, form="GIF"), "big.png": bomb()}
    )
    write_tar(root / "e.tar", {"ok.jpg": drawn(9), "cut.jpg": truncated(7), "l": link("l.jpg", "/etc/hostname")})
    write_table(root / "f.parquet", [drawn(12), truncated(7), None], as_struct=False)
    index = look(root)
    assert count(index) == COUNT + 2
    told = dict(line.split(": ", 1) for line in index.unreadable if not line.startswith(("e.tar", "f.parquet")))
    assert "truncated" in told["cut.jpg"]
    assert told["page.jpg"] == told["gif.png"] == "none of JPEG, PNG, WEBP"
    assert "pixels" in told["big.png"]
    assert sum(line.startswith("e.tar: cut.jpg: ") for line in index.unreadable) == 1
    assert sum(line.startswith("e.tar: l.jpg: a link") for line in index.unreadable) == 1
    assert sum(line.startswith("f.parquet: row") for line in index.unreadable) == 2


def test_a_file_that_the_system_did_not_let_us_read_is_tried_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> Iterator[Item]:
        def load() -> bytes:
            raise PermissionError(13, "Permission denied")

        return (item._replace(load=load) if path.name == "0.jpg" else item for item in items_of(path))

    with monkeypatch.context() as patch:
        patch.setattr(picture_index, "items_of", denied)
        assert [line.split(":")[0] for line in look(root).unreadable] == ["b/0.jpg"]
    index = look(root)
    assert index.unreadable == []
    assert count(index) == COUNT


def test_links_to_folders_and_hidden_files_are_left_alone(root: Path) -> None:
    before = look(root)
    write_folder(root.parent, {"elsewhere/x.jpg": drawn(20)})
    write_folder(root, {".hidden/x.jpg": drawn(21), "._x.jpg": drawn(22)})
    (root / "linked").symlink_to(root.parent / "elsewhere")
    assert look(root) == before


def test_a_folder_that_is_not_there_or_empty_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="STORY_PICTURES"):
        look(tmp_path / "source")
    write_folder(tmp_path / "source", {"notes.txt": b""})
    with pytest.raises(ValueError, match=r"holds none; no \.jpg"):
        look(tmp_path / "source")
    with pytest.raises(ValueError, match="index them first"):
        read_index(tmp_path / "other")


def test_an_index_of_another_format_is_made_anew(root: Path, opened: list[str]) -> None:
    whole, path = look(root), root.parent / "index" / INDEX
    lines = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({"format": 0}), *lines[1:]]))
    opened.clear()
    assert look(root) == whole
    assert len(opened) == 4


def test_no_damage_to_files_ends_a_look_or_lets_a_picture_through_that_does_not_decode(root: Path) -> None:
    files, chance = [root / name for name in ("a.tar", "b/0.jpg", "b/1.png", "c.parquet")], random.Random(0)
    for number in range(120):
        path = chance.choice(files)
        data = bytearray(path.read_bytes())
        for _ in range(chance.choice([1, 3, 20])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        data = data[: chance.randrange(len(data))] if number % 5 == 0 else data
        write_folder(root, {f"damaged/{number}{path.suffix}": bytes(data)})
    index, reader = look(root), PictureReader(root)
    assert len(index.unreadable) > 50
    for file in index.files:
        for picture in file.pictures:
            decode_square(reader.read(file.name, picture.place), Square(16, "crop"))
