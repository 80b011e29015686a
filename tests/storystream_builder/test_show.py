"""Pages on a dataset: all that is there is shown, nothing that is said in it can run, nothing is fetched."""

import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn_release import lines, names, story, write_pictures, write_zip
from PIL import Image

from storystream_builder.importers.release_config import ReleaseConfig
from storystream_builder.importers.storystream_release import import_release
from storystream_builder.showing.page_writer import clock
from storystream_builder.showing.show import show, write_pages

VERSION_1 = Path(__file__).parent / "data" / "dataset_v1"
ATTACK = "<script>alert(1)</script>"
BACKWARDS = "holiday_\u202egpj.exe"


class Page(HTMLParser):
    """What a browser would make of a page, as far as it matters here."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.tags, self.scripts, self.addresses, self.handlers = "", [], [], [], []
        self._in_script = False
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._in_script = tag == "script"
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [value for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag):
        self._in_script = False

    def handle_data(self, data):
        if self._in_script:
            self.scripts.append(data)
        else:
            self.text += data


def rewrite(path: Path, **values) -> None:
    """Set columns of a table to one value throughout."""
    table = pq.read_table(path)
    rows = [row | {k: v(row) if callable(v) else v for k, v in values.items()} for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


@pytest.fixture
def hostile(built, tmp_path) -> Path:
    """A dataset in which whatever can hold text holds an attack."""
    dataset = Path(shutil.copytree(built.dataset_dir, tmp_path / "dataset"))
    rewrite(next(dataset.glob("frames/*")), caption=ATTACK, caption_model=ATTACK)
    rewrite(dataset / "meta/stories.parquet", captions=lambda row: [ATTACK] * len(row["captions"]))
    rewrite(
        dataset / "meta/episodes.parquet",
        source_name=BACKWARDS,
        title='"><img src=x onerror=alert(1)>',
        series=ATTACK,
        attribution=ATTACK,
        license="' onmouseover='alert(1)",
        url="javascript:alert(1)",
    )
    rewrite(dataset / "meta/errors.parquet", file=BACKWARDS, reason=ATTACK)
    return dataset


@pytest.fixture
def pages(built, tmp_path) -> Path:
    return write_pages(built.root, tmp_path / "pages").parent


def test_every_episode_has_a_page_that_the_overview_links(pages, built):
    ids = pq.read_table(built.dataset_dir / "meta/episodes.parquet")["episode_id"].to_pylist()
    assert {f"episodes/{name}.html" for name in ids} <= set(Page(pages / "index.html").addresses)
    assert {path.stem for path in (pages / "episodes").iterdir()} == set(ids)


def test_every_link_and_picture_is_there(pages):
    for path in pages.rglob("*.html"):
        for address in Page(path).addresses:
            assert (path.parent / address.partition("#")[0]).exists(), (path, address)


def test_the_overview_tells_reasons_splits_problems_and_licences(pages):
    text = Page(pages / "index.html").text
    for expected in ("a sharper one is kept", "validation", "empty.mp4", "the file has no bytes", "CC BY 3.0", "us"):
        assert expected in text


def test_an_episode_tells_its_shots_scores_captions_and_stories(pages, built):
    rows = pq.read_table(built.dataset_dir / "meta/episodes.parquet").to_pylist()
    spoken = next(row for row in rows if row["source_name"] == "spoken.mp4")
    text = Page(pages / f"episodes/{spoken['episode_id']}.html").text
    for expected in ("Shot 0", "Shot 4", "sharpness", "no narration", "This is second 2.", "narrated", "train"):
        assert expected in text


def test_a_story_is_cut_where_training_cuts_it(pages, built):
    (stem,) = {
        row["episode_id"]
        for row in pq.read_table(built.dataset_dir / "meta/episodes.parquet").to_pylist()
        if row["source_name"] == "one.mp4"
    }
    assert re.findall(r"(\d)\u2013(\d)", Page(pages / f"episodes/{stem}.html").text) == [("1", "2"), ("3", "4")]


def test_a_run_shows_what_was_dropped_and_a_dataset_what_was_kept(built, tmp_path):
    frames = pq.read_table(next(built.dataset_dir.glob("frames/*")), columns=["status"])["status"].to_pylist()
    for folder, number in ((built.root, len(frames)), (built.dataset_dir, frames.count("kept"))):
        out = write_pages(folder, tmp_path / folder.name).parent
        assert len(list(out.rglob("*.jpg"))) == number


def test_thumbnails_are_bounded(built, tmp_path):
    write_pages(built.dataset_dir, tmp_path / "pages", side=50)
    for path in (tmp_path / "pages").rglob("*.jpg"):
        assert max(Image.open(path).size) <= 50


def test_nothing_that_is_said_in_a_dataset_becomes_part_of_a_page(hostile, tmp_path):
    out = write_pages(hostile, tmp_path / "pages").parent
    said = ""
    for path in out.rglob("*.html"):
        page = Page(path)
        assert len(page.scripts) == 1
        assert page.handlers == []
        assert not [one for one in page.addresses if one.startswith("javascript")]
        said += page.text
    assert ATTACK in said


def test_a_name_that_reads_backwards_is_spelt_out(hostile, tmp_path):
    out = write_pages(hostile, tmp_path / "pages").parent
    assert not [path for path in out.rglob("*.html") if "\u202e" in path.read_text()]
    assert "holiday_<U+202E>gpj.exe" in Page(out / "index.html").text


def test_the_policy_of_a_page_allows_its_own_script_and_no_other(pages):
    for path in pages.rglob("*.html"):
        digest = base64.b64encode(hashlib.sha256(Page(path).scripts[0].encode()).digest()).decode()
        policy = re.search(r'Content-Security-Policy" content="([^"]*)"', path.read_text())
        assert policy
        assert (
            f"default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
            in policy[1]
        )


def test_ids_from_data_do_not_choose_where_files_go(built, tmp_path):
    dataset = Path(shutil.copytree(built.dataset_dir, tmp_path / "dataset"))
    for path in [*dataset.glob("frames/*"), *dataset.glob("meta/*.parquet")]:
        if "episode_id" in pq.read_schema(path).names:
            rewrite(path, episode_id=lambda row: f"../../{row['episode_id']}")
    before = set(tmp_path.iterdir())
    write_pages(dataset, tmp_path / "pages")
    assert set(tmp_path.iterdir()) - before == {tmp_path / "pages"}
    assert len(list((tmp_path / "pages/episodes").iterdir())) == 5


def test_a_picture_that_cannot_be_read_is_counted_and_shown_as_missing(built, tmp_path):
    dataset = Path(shutil.copytree(built.dataset_dir, tmp_path / "dataset"))
    rewrite(
        next(dataset.glob("frames/*")), image=lambda row: row["image"] and {"bytes": b"\xff\xd8no", "path": "x.jpg"}
    )
    out = write_pages(dataset, tmp_path / "pages").parent
    assert "18 pictures could not be decoded" in Page(out / "index.html").text
    assert list(out.rglob("*.jpg")) == []


def test_a_dataset_of_schema_version_1_is_shown(tmp_path):
    out = write_pages(VERSION_1, tmp_path / "pages").parent
    assert len(list((out / "episodes").iterdir())) == 2
    assert len(list(out.rglob("*.jpg"))) == 8


def test_an_imported_release_is_shown(tmp_path):
    pictures = names(258, 1, 2, 3, 64)
    write_pictures(tmp_path / "images.tar.gz", pictures)
    write_zip(tmp_path / "stories.zip", {"train.jsonl": lines(story(pictures))})
    config = ReleaseConfig(subset="george", shortest_part=2)
    import_release(tmp_path / "images.tar.gz", tmp_path / "stories.zip", tmp_path / "dataset", config=config)
    out = write_pages(tmp_path / "dataset", tmp_path / "pages").parent
    assert len(list(out.rglob("*.jpg"))) == 4
    (page,) = (out / "episodes").iterdir()
    assert "No shots known" in Page(page).text


def test_a_page_without_dropped_pictures_begins_with_the_kept_ones(built, tmp_path):
    for folder, checked in ((built.root, False), (built.dataset_dir, True)):
        page = next((write_pages(folder, tmp_path / folder.name).parent / "episodes").iterdir())
        assert ('id="kept-only" checked' in page.read_text()) == checked


def test_a_run_whose_build_made_nothing_is_told_of_the_preview(built, tmp_path):
    run = Path(shutil.copytree(built.root, tmp_path / "run"))
    shutil.rmtree(run / "dataset")
    (run / "config.yaml").touch()
    with pytest.raises(ValueError, match="previews what other settings would make"):
        write_pages(run, tmp_path / "pages")


def test_stories_are_shown_without_a_table_of_frames(built, tmp_path):
    dataset = Path(shutil.copytree(built.dataset_dir, tmp_path / "dataset"))
    (frames,) = dataset.glob("frames/*")
    pq.write_table(pq.read_table(frames).slice(0, 0), frames)
    out = write_pages(dataset, tmp_path / "pages").parent
    assert len(list(out.rglob("*.jpg"))) == 18


def test_what_a_limit_leaves_out_is_said(built, tmp_path):
    out = write_pages(built.dataset_dir, tmp_path / "pages", limit=2).parent
    assert len(list((out / "episodes").iterdir())) == 2
    assert "The first 2 of 5 episodes have a page" in Page(out / "index.html").text


def test_pages_are_written_anew(built, tmp_path):
    write_pages(built.dataset_dir, tmp_path / "pages")
    out = write_pages(built.dataset_dir, tmp_path / "pages", limit=1).parent
    assert len(list((out / "episodes").iterdir())) == len(list((out / "thumbnails").iterdir())) == 1


def test_a_folder_with_something_else_is_left_alone(built, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds something else than pages"):
        write_pages(built.dataset_dir, tmp_path)


def test_a_dataset_is_not_written_into(built):
    with pytest.raises(ValueError, match="lies in the dataset"):
        write_pages(built.root, built.dataset_dir / "pages")


def test_a_folder_without_a_dataset_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="holds no dataset; build it first"):
        write_pages(tmp_path, tmp_path / "pages")


def test_a_sheet_and_a_preview_are_not_asked_for_at_once(built):
    with pytest.raises(ValueError, match="give one of them"):
        list(show(built.root, sheet=("story", "x.png"), overrides=("build.filters.max_text=0",)))


@pytest.mark.parametrize(
    ("milliseconds", "told"), [(0, "0:00.0"), (59_960, "1:00.0"), (123_440, "2:03.4"), (3_723_400, "1:02:03.4")]
)
def test_times_are_told_as_on_a_clock(milliseconds, told):
    assert clock(milliseconds) == told
