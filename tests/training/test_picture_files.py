"""Every picture is found and read where it lies; nothing is extracted, no name is a path, no link is followed."""

import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from picture_folders import drawn, link, write_folder, write_table, write_tar

from training.picture_files import Item, PictureReader, items_of

PICTURES = [drawn(number) for number in range(5)]


def read_all(path: Path) -> list[bytes]:
    """Read what a file holds at its places."""
    reader = PictureReader(path.parent)
    return [reader.read(path.name, item.place) for item in items_of(path)]


def reason(item: Item) -> str:
    with pytest.raises((OSError, ValueError)) as caught:
        item.load()
    return str(caught.value)


def test_a_shard_s_pictures_are_read_at_their_places(tmp_path: Path) -> None:
    members = {f"{number}.jpg": picture for number, picture in enumerate(PICTURES)}
    texts = {f"{number}.txt": b"a caption" for number in range(5)} | {"meta.json": b"{}"}
    write_tar(tmp_path / "a.tar", dict(sorted({**members, **texts}.items())))
    assert [item.load() for item in items_of(tmp_path / "a.tar")] == PICTURES
    assert read_all(tmp_path / "a.tar") == PICTURES


@pytest.mark.parametrize("as_struct", [True, False], ids=["struct", "binary"])
def test_a_table_s_pictures_are_read_at_their_places(as_struct: bool, tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", PICTURES, as_struct=as_struct)
    assert [item.load() for item in items_of(tmp_path / "a.parquet")] == PICTURES
    assert read_all(tmp_path / "a.parquet") == PICTURES


def test_row_groups_are_held_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "a.parquet", PICTURES, as_struct=True)
    places = [item.place for item in items_of(tmp_path / "a.parquet")]
    opened: list[int] = []
    read = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda self, number, **how: opened.append(number) or read(self, number, **how)
    )
    roomy, tight = PictureReader(tmp_path), PictureReader(tmp_path, held_bytes=1)
    for place in places * 2:
        roomy.read("a.parquet", place)
    assert opened == [0, 1, 2]
    opened.clear()
    for place in places * 2:
        tight.read("a.parquet", place)
    assert opened == [0, 1, 2] * 2


def test_a_member_s_name_is_no_path(tmp_path: Path) -> None:
    outside = drawn(90)
    write_folder(tmp_path, {"evil.jpg": outside})
    shard = tmp_path / "source" / "a.tar"
    write_tar(shard, {"../evil.jpg": PICTURES[0], "/etc/evil.jpg": PICTURES[1]})
    before = sorted(tmp_path.rglob("*"))
    assert read_all(shard) == PICTURES[:2]
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "evil.jpg").read_bytes() == outside


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE], ids=["symbolic", "hard", "fifo"])
def test_a_member_that_is_no_file_cannot_be_read(kind: bytes, tmp_path: Path) -> None:
    write_folder(tmp_path, {"secret.jpg": drawn(90)})
    write_tar(tmp_path / "a.tar", {"x": link("x.jpg", str(tmp_path / "secret.jpg"), kind), "1.jpg": PICTURES[1]})
    odd, other = items_of(tmp_path / "a.tar")
    assert "a link or special file" in reason(odd)
    assert other.load() == PICTURES[1]


def test_a_link_among_picture_files_is_not_followed(tmp_path: Path) -> None:
    write_folder(tmp_path, {"secret.jpg": drawn(90)})
    for name in ("a.jpg", "a.tar", "a.parquet"):
        (tmp_path / name).symlink_to(tmp_path / "secret.jpg")
        (item,) = items_of(tmp_path / name)
        assert "it is a link" in reason(item)


def test_a_file_that_became_a_link_is_not_read(tmp_path: Path) -> None:
    write_folder(tmp_path, {"secret.jpg": PICTURES[1], "a.jpg": PICTURES[1]})
    (item,) = items_of(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "a.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(OSError, match="symbolic"):
        PictureReader(tmp_path).read("a.jpg", item.place)


def test_a_path_beside_missing_bytes_is_not_followed(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", [PICTURES[0], None], as_struct=True)
    good, empty = items_of(tmp_path / "a.parquet")
    assert good.load() == PICTURES[0]
    assert "a path beside it is not followed" in reason(empty)


def test_a_shard_that_is_cut_off_gives_what_is_before_and_says_so(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {f"{number}.jpg": picture for number, picture in enumerate(PICTURES)})
    whole = (tmp_path / "a.tar").read_bytes()
    last = [item.place for item in items_of(tmp_path / "a.tar")][-1]
    (tmp_path / "a.tar").write_bytes(whole[: last.start + 10])
    *good, cut = [item for item in items_of(tmp_path / "a.tar") if item.name != "4.jpg"]
    assert [item.load() for item in good] == PICTURES[:4]
    assert "damaged" in reason(cut)


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {f"{number}.jpg": picture for number, picture in enumerate(PICTURES)})
    data = bytearray((tmp_path / "a.tar").read_bytes())
    third = [item.place for item in items_of(tmp_path / "a.tar")][2].start
    data[third - 512 : third] = b"x" * 512
    (tmp_path / "a.tar").write_bytes(data)
    *good, damaged = items_of(tmp_path / "a.tar")
    assert [item.load() for item in good] == PICTURES[:2]
    assert "damaged after byte" in reason(damaged)


def test_a_member_as_large_as_no_picture_is_not_loaded(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("bomb.jpg")
        member.size = 1 << 40
        archive.fileobj.write(member.tobuf(tarfile.GNU_FORMAT))
    first = next(items_of(tmp_path / "a.tar"), None)
    assert first is not None
    assert "MiB" in reason(first)


@pytest.mark.parametrize("name", ["a.tar", "a.parquet"])
def test_a_file_of_noise_is_one_item_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(drawn(3) * 4)
    (item,) = items_of(tmp_path / name)
    assert reason(item)


def test_a_compressed_archive_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"")
    (item,) = items_of(tmp_path / "a.tar.gz")
    assert "repack it as .tar" in reason(item)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"a": [b"x"], "b": [b"y"]}, "any of a, b may be it"),
        ({"caption": ["x"]}, "there are caption"),
    ],
    ids=["several", "none"],
)
def test_a_table_without_a_known_column_of_pictures_names_those_it_has(
    columns: dict[str, list], said: str, tmp_path: Path
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    (item,) = items_of(tmp_path / "a.parquet")
    assert said in reason(item)


def test_a_column_called_image_is_taken_before_other_bytes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"embedding": [b"x"], "image": [PICTURES[0]]}), tmp_path / "a.parquet")
    assert read_all(tmp_path / "a.parquet") == PICTURES[:1]
