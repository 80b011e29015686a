"""Where a video comes from: patterns of `sources.yaml`, folders as series, and what is refused."""

from pathlib import Path

import pytest

from story_model.build_config import BuildConfig
from storystream_builder.sources import find_sources


@pytest.fixture
def shelf(tmp_path) -> Path:
    for name in ("fox/one.mp4", "fox/two.mp4", "owl/one.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def known(shelf: Path, **config) -> dict:
    return {source.name: source for source in find_sources(shelf, BuildConfig(**config))}


def test_a_folder_is_a_series_and_the_configuration_holds_for_all(shelf):
    sources = known(shelf, license="CC BY 4.0", attribution="us")
    assert {name: source.series for name, source in sources.items()} == {
        "fox/one.mp4": "fox",
        "fox/two.mp4": "fox",
        "owl/one.mp4": "owl",
    }
    assert {(source.license, source.attribution) for source in sources.values()} == {("CC BY 4.0", "us")}


def test_a_later_entry_goes_over_an_earlier_one_where_it_says_something(shelf):
    (shelf / "sources.yaml").write_text(
        "- {files: '*', license: CC0-1.0, attribution: all}\n- {files: 'owl/*', attribution: owls, series: The Owl}\n"
    )
    sources = known(shelf)
    assert (sources["fox/one.mp4"].license, sources["fox/one.mp4"].attribution) == ("CC0-1.0", "all")
    owl = sources["owl/one.mp4"]
    assert (owl.license, owl.attribution, owl.series) == ("CC0-1.0", "owls", "The Owl")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- {files: 'wolf/*', license: x}", "fits no video"),
        ("- {licence: x, files: '*'}", "entry 0"),
        ("files: '*'", "entry"),
        ("- [unclosed", "is no YAML"),
        ("- !!python/object/apply:os.system [ls]", "is no YAML"),
    ],
)
def test_what_cannot_be_meant_is_refused(shelf, text, reason):
    (shelf / "sources.yaml").write_text(text)
    with pytest.raises(ValueError, match=reason):
        known(shelf)


def test_without_any_word_the_licence_is_unknown(shelf):
    assert {source.license for source in known(shelf).values()} == {"unknown"}


def test_of_a_video_named_alone_entries_for_others_are_no_error(shelf):
    (shelf / "owl" / "sources.yaml").write_text("- {files: '*', license: CC0-1.0}\n- {files: 'two.mp4', title: x}\n")
    (source,) = find_sources(shelf / "owl" / "one.mp4", BuildConfig())
    assert source.license == "CC0-1.0"
