"""Archives that are damaged or mean harm: each is told as a fault, and what is sound of them is read."""

import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from drawn_release import write_tar, write_zip

from storystream_builder.importers.archives import read_pictures, source_bytes
from storystream_builder.importers.entries import Entry, Limits
from storystream_builder.importers.texts import read_texts

NOISE = os.urandom(300_000)


def read(source: Path, wanted=lambda name: True, progress=lambda done: None, **limits) -> list[Entry]:
    return list(read_pictures(source, wanted=wanted, limits=Limits(**limits), progress=progress))


def codes(source: Path, **limits) -> list[str]:
    return [entry.fault.code if entry.fault else entry.name for entry in read(source, **limits)]


def texts(source: Path, **limits) -> dict[str, list[bytes | None] | str]:
    found = read_texts(source, limits=Limits(**limits))
    return {one.name: one.fault.code if one.fault else list(one.lines()) for one in found}


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


# ------------------------------------------------------------------------------------------------------------- tar


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_files_are_read_in_the_archive_s_order_whether_packed_or_not(tmp_path, mode):
    path = write_tar(tmp_path / "a.tar", [("b/2.jpg", b"two"), ("a/1.jpg", b"one")], mode)
    assert [(entry.name, entry.data) for entry in read(path)] == [("b/2.jpg", b"two"), ("a/1.jpg", b"one")]


def test_what_is_not_wanted_is_named_and_not_read(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("1", b"one"), ("2", b"two")])
    assert [entry.data for entry in read(path, wanted=lambda name: name == "2")] == [None, b"two"]


@pytest.mark.parametrize(
    ("kind", "code"),
    [(tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "link"), (tarfile.CHRTYPE, "special file"),
     (tarfile.FIFOTYPE, "special file")],
)  # fmt: skip
def test_links_and_devices_are_faults_and_the_rest_is_read(tmp_path, kind, code):
    path = write_tar(tmp_path / "a.tar", [special("x", kind, "/etc/passwd"), ("y", b"why")])
    assert codes(path) == [code, "y"]


def test_a_file_beyond_the_limit_is_not_read(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("large", NOISE), ("small", b"1")])
    assert codes(path, picture_bytes=1000) == ["too large", "small"]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_what_comes_before_the_cut_of_a_truncated_archive_is_read(tmp_path, mode):
    path = write_tar(tmp_path / "a.tar", [("first", NOISE), ("second", NOISE)], mode)
    path.write_bytes(path.read_bytes()[: len(NOISE) * 3 // 2])
    assert codes(path) == ["first", "truncated archive"]


def test_an_archive_cut_between_two_files_is_truncated_too(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("first", b"1"), ("second", b"2")], "w")
    path.write_bytes(path.read_bytes()[: 2 * tarfile.BLOCKSIZE])
    assert codes(path) == ["first", "truncated archive"]


def test_a_damaged_header_in_the_middle_is_no_quiet_end(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("first", b"1"), ("second", b"2")], "w")
    data = bytearray(path.read_bytes())
    data[2 * tarfile.BLOCKSIZE + 3] ^= 0xFF
    path.write_bytes(data)
    assert codes(path) == ["first", "damaged archive"]


def test_a_flipped_byte_is_told_by_the_checksum_of_the_whole(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("first", NOISE)])
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # of the checksum itself, so that every file unpacks
    path.write_bytes(data)
    assert codes(path) == ["first", "damaged archive"]


def test_an_archive_that_swells_is_left(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("first", b"1"), ("zeros", bytes(4 << 20)), ("last", b"1")])
    found = codes(path, ratio_free_bytes=1 << 20, picture_bytes=1000)
    assert found == ["first", "too large", "damaged archive"]


def test_a_name_of_many_megabytes_is_not_read(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("first", b"1"), ("n" * (2 << 20), b"2")])
    assert codes(path) == ["first", "damaged archive"]


def test_more_files_than_the_limit_end_the_archive(tmp_path):
    path = write_tar(tmp_path / "a.tar", [(str(number), b"") for number in range(5)])
    assert codes(path, files=3) == ["0", "1", "2", "damaged archive"]


@pytest.mark.parametrize("content", [b"", b"<!doctype html>" * 100, b"\x1f\x8b\x08nothing"])
def test_what_is_no_archive_is_a_fault(tmp_path, content):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content)
    (found,) = codes(path)
    assert found in {"truncated archive", "damaged archive"}


def test_progress_ends_at_the_archive_s_size(tmp_path):
    path, seen = write_tar(tmp_path / "a.tar.gz", [("1", NOISE)]), []
    read(path, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == source_bytes(path)


def test_a_source_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="name a tar archive"):
        read(tmp_path / "nothing")


# ---------------------------------------------------------------------------------------------------------- folder


def test_a_folder_is_read_by_name_and_its_links_are_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "b").mkdir(parents=True)
    (root / "b" / "2.jpg").write_bytes(b"two")
    (root / "1.jpg").write_bytes(b"one")
    (root / "3.jpg").symlink_to(tmp_path / "secret")
    (root / "outside").symlink_to(tmp_path)
    os.mkfifo(root / "4.jpg")
    found = {entry.name: entry.fault.code if entry.fault else entry.data for entry in read(root)}
    expected = {"1.jpg": b"one", "b/2.jpg": b"two", "3.jpg": "link", "outside": "link", "4.jpg": "special file"}
    assert found == expected


# ----------------------------------------------------------------------------------------------------------- texts


def test_lines_come_without_mark_and_ends(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"x.jsonl": b"\xef\xbb\xbfone\r\ntwo\n\nlast"})
    assert texts(path) == {"x.jsonl": [b"one", b"two", b"", b"last"]}


def test_a_line_beyond_the_limit_is_none_and_the_next_is_read(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"x": b"1234567890\n12345678901\r\n" + b"n" * 1_000_000 + b"\nlast"})
    assert texts(path, line_bytes=10) == {"x": [b"1234567890", None, None, b"last"]}


def test_a_member_that_fails_its_checksum_gives_no_line(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("bad", b"something wrong")
        archive.writestr("good", b"right")
    path.write_bytes(path.read_bytes().replace(b"wrong", b"worng", 1))
    assert texts(path) == {"bad": "damaged file", "good": [b"right"]}


def test_a_bomb_is_not_unpacked(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"bomb": bytes(1 << 20), "good": b"right"})
    assert texts(path, ratio_free_bytes=1000) == {"bomb": "too large", "good": [b"right"]}


def test_all_files_together_have_a_limit(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"one": b"1" * 60, "two": b"2" * 60, "three": b"3" * 30})
    assert list(texts(path, text_bytes=100).values()) == [[b"1" * 60], "too large", [b"3" * 30]]


def test_a_size_that_lies_unpacks_no_more_than_it_says(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"x": b"A" * 5000})
    size = (5000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (50).to_bytes(4, "little")))
    assert texts(path) == {"x": "damaged file"}


def test_links_in_a_zip_archive_are_faults(tmp_path):
    path = tmp_path / "a.zip"
    info = zipfile.ZipInfo("link.jsonl")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert texts(path) == {"link.jsonl": "link"}


def test_a_file_without_a_name_in_a_zip_archive_is_read(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"Qx.jsonl": b"one\n"})
    path.write_bytes(path.read_bytes().replace(b"Qx.jsonl", b"\0x.jsonl"))
    assert texts(path) == {"": [b"one"]}


def test_a_zip_archive_without_its_end_is_an_error(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"x": NOISE})
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="download it again"):
        texts(path)


def test_a_folder_of_texts_and_a_single_one_are_read_too(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "train.jsonl").write_bytes(b"one\n")
    (root / "link.jsonl").symlink_to(root / "train.jsonl")
    assert texts(root) == {"link.jsonl": "link", "train.jsonl": [b"one"]}
    assert texts(root / "train.jsonl") == {"train.jsonl": [b"one"]}


def test_reading_holds_no_file_open(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"x": b"1"})
    before = len(list(Path("/proc/self/fd").iterdir()))
    texts(path)
    read(write_tar(tmp_path / "a.tar.gz", [("1", b"1")]))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
