from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from storystream_builder.showing.contact_sheets import Cell, Row, draw_sheet, write_sheet

VERSION_1 = Path(__file__).parent / "data" / "dataset_v1"
RED = (255, 0, 0)


def red_pixels(sheet: Image.Image) -> int:
    return sum(number for number, colour in sheet.getcolors(1 << 20) if colour == RED)


def test_every_picture_is_on_the_sheet_in_full():
    cells = [Cell("x", Image.new("RGB", (30, 20), RED)) for _ in range(23)]
    assert red_pixels(draw_sheet([Row("one", cells), Row("two", cells[:4])])) == 27 * 30 * 20


def test_a_picture_that_is_missing_leaves_a_gap():
    assert red_pixels(draw_sheet([Row("one", [Cell("x", None)])])) == 0


def test_any_text_can_be_a_label():
    text = "日本語 \u202e <b> " + "long " * 200
    assert draw_sheet([Row(text, [Cell(text, None)])]).width > 0


@pytest.mark.parametrize(("kind", "rows"), [("episode", 5), ("story", 5)])
def test_a_sheet_has_a_row_for_each(built, tmp_path, kind, rows):
    assert write_sheet(built.dataset_dir, kind, tmp_path / "sheet.png") == rows
    assert Image.open(tmp_path / "sheet.png").format == "PNG"


def test_a_run_s_sheet_has_a_row_for_each_reason_and_a_dataset_s_one(built, tmp_path):
    statuses = set(pq.read_table(next(built.dataset_dir.glob("frames/*")))["status"].to_pylist())
    assert write_sheet(built.root, "reason", tmp_path / "run.png") == len(statuses) > 1
    assert write_sheet(built.dataset_dir, "reason", tmp_path / "dataset.png") == 1


def test_a_sheet_of_a_dataset_of_schema_version_1_is_drawn(tmp_path):
    assert write_sheet(VERSION_1, "story", tmp_path / "sheet.jpg") == 2


def test_a_sheet_has_at_most_so_many_rows(built, tmp_path):
    assert write_sheet(built.dataset_dir, "story", tmp_path / "sheet.PNG", limit=2) == 2


def test_a_name_that_is_no_picture_s_is_an_error(built, tmp_path):
    with pytest.raises(ValueError, match="no picture's name"):
        write_sheet(built.dataset_dir, "story", tmp_path / "sheet.gif")
