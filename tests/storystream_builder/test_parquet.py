"""How tables lie on disk."""

import json

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from story_model import schema
from story_model.build_config import ParquetConfig
from storystream_builder.parquet import TableWriter, write_table

MANY = "\x00".join(str(number) for number in range(2000)).encode()


def row(number: int, picture: bytes = MANY) -> dict[str, object]:
    return {
        "story_id": f"s-{number:04d}",
        "subset": "s",
        "split": "train",
        "episode_id": "e0",
        "images": [{"bytes": picture, "path": "a.jpg"}, {"bytes": picture[::-1], "path": "b.jpg"}],
        "captions": ["one", "two"],
    }


def write(folder, rows: int = 10, **sizes: float):
    config = ParquetConfig(**({"row_group_mb": 0.04, "file_mb": 10} | sizes))
    with TableWriter(folder, "train", schema.with_metadata(schema.STORIES_INLINE), config) as writer:
        for number in range(rows):
            writer.add(row(number), 2 * len(MANY))
    return sorted(folder.glob("*.parquet"))


def leaf(path, name: str):
    metadata = pq.read_metadata(path)
    group = metadata.row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    return next(column for column in columns if column.path_in_schema == name)


def test_row_groups_are_cut_by_bytes(tmp_path):
    (path,) = write(tmp_path)
    metadata = pq.read_metadata(path)
    per_group = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    assert per_group == [3, 3, 3, 1]


def test_files_are_cut_by_bytes_and_say_how_many_they_are(tmp_path):
    names = [path.name for path in write(tmp_path, file_mb=0.06)]
    assert names == [f"train-0000{number}-of-00004.parquet" for number in range(4)]


def test_no_row_is_lost_or_doubled_over_files(tmp_path):
    paths = write(tmp_path, file_mb=0.06)
    names = [name for path in paths for name in pq.read_table(path, columns=["story_id"])["story_id"].to_pylist()]
    assert names == [f"s-{number:04d}" for number in range(10)]


def test_pictures_are_stored_plain_and_text_is_compressed(tmp_path):
    (path,) = write(tmp_path)
    pictures, text = leaf(path, "images.list.element.bytes"), leaf(path, "captions.list.element")
    assert (pictures.compression, text.compression) == ("UNCOMPRESSED", "ZSTD")
    assert "RLE_DICTIONARY" not in pictures.encodings


def test_pictures_have_no_statistics_and_ids_have(tmp_path):
    (path,) = write(tmp_path)
    assert not leaf(path, "images.list.element.bytes").is_stats_set
    assert leaf(path, "story_id").statistics.min == "s-0000"


def test_the_same_rows_make_the_same_bytes(tmp_path):
    (one,), (other,) = write(tmp_path / "a"), write(tmp_path / "b")
    assert one.read_bytes() == other.read_bytes()


def test_a_flipped_byte_is_noticed_by_its_page(tmp_path):
    (path,) = write(tmp_path)
    data = bytearray(path.read_bytes())
    data[data.index(MANY) + 50] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)


def test_a_writer_that_fails_leaves_no_file(tmp_path):
    def write_and_fail() -> None:
        with TableWriter(tmp_path, "train", schema.STORIES_INLINE, ParquetConfig()) as writer:
            writer.add(row(0), 10)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert list(tmp_path.glob("*.parquet")) == []


def test_a_table_without_rows_keeps_its_columns(tmp_path):
    (path,) = write(tmp_path, rows=0)
    assert (pq.read_metadata(path).num_rows, pq.read_schema(path).names) == (0, schema.STORIES_INLINE.names)


def test_hugging_face_finds_pictures_and_lists_in_the_metadata(tmp_path):
    (path,) = write(tmp_path)
    features = json.loads(pq.read_schema(path).metadata[b"huggingface"])["info"]["features"]
    assert features["images"] == {"feature": {"_type": "Image"}, "_type": "List"}
    assert features["captions"] == {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"}
    assert features["phash"]["feature"]["dtype"] == "uint64"
    assert set(features) == set(schema.STORIES_INLINE.names)


def test_duckdb_reads_what_is_written(tmp_path):
    (path,) = write(tmp_path)
    rows = duckdb.execute("SELECT count(*), sum(len(images)) FROM read_parquet(?)", [str(path)]).fetchall()
    assert rows == [(10, 20)]


def test_one_table_is_one_file(tmp_path):
    table = pa.Table.from_pylist([{"file": "x", "step": "decode", "reason": "empty"}], schema=schema.ERRORS)
    write_table(tmp_path / "errors.parquet", table, row_group_mb=1)
    assert pq.read_table(tmp_path / "errors.parquet").equals(table)
