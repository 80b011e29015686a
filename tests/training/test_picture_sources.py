"""What is taken of sources: pictures of a fit size that no story has, held-out ones least of all."""

import hashlib
from pathlib import Path

import pytest
from picture_folders import drawn, write_folder, write_table, write_tar

from story_model.config import RunConfig, Settings, load_config
from story_model.train_config import Stage1Config
from story_model.workspace import RunFolder
from training.picture_sources import Chosen, SourcePictures, choose, open_sources, source_inputs

LIMITS = Stage1Config(steps=1, batch_size=1, min_side=20, max_aspect=4)


def digest_of(picture: bytes) -> str:
    return hashlib.sha256(picture).hexdigest()


def config_of(*names: str, bad_records: str = "raise") -> RunConfig:
    sources = ", ".join(f"{{name: {name}}}" for name in names)
    return load_config("tiny", [f"train.stage1.sources=[{sources}]", f"train.bad_records={bad_records}"])


def inputs(root: Path, config: RunConfig) -> dict[str, str]:
    return source_inputs(
        "stage1", RunFolder(root / "run"), config, Settings(_env_file=None, pictures=root / "pictures")
    )


def chosen(root: Path, config: RunConfig, *, in_stories: set[str], held_out: set[str]) -> list[Chosen]:
    inputs(root, config)
    opened = open_sources(RunFolder(root / "run"), config, Settings(_env_file=None, pictures=root / "pictures"))
    return choose(opened, LIMITS, in_stories=in_stories, held_out=held_out)


def test_a_picture_is_its_first_source_s_and_held_out_ones_are_nobody_s(tmp_path: Path) -> None:
    pictures = [drawn(number) for number in range(6)]
    digests = [digest_of(picture) for picture in pictures]
    write_tar(tmp_path / "pictures/first/a.tar", {f"{n}.jpg": pictures[n] for n in (0, 1, 2)})
    write_folder(
        tmp_path / "pictures/second", {f"{n}.jpg": pictures[n] for n in (2, 3, 4)} | {"again.jpg": pictures[4]}
    )
    write_table(tmp_path / "pictures/second/t.parquet", [pictures[0], pictures[5]], as_struct=True)
    first, second = chosen(
        tmp_path, config_of("first", "second"), in_stories={digests[1]}, held_out={digests[0], digests[3]}
    )
    assert set(first.digests) == {digests[2]}
    assert first.counts == {"first_pictures": 1, "first_held_out": 1, "first_duplicate": 1}
    assert set(second.digests) == {digests[4], digests[5]}
    assert second.counts == {"second_pictures": 2, "second_held_out": 2, "second_duplicate": 2}


def test_pictures_too_small_or_too_narrow_are_left_out_at_the_limits_alone(tmp_path: Path) -> None:
    sizes = {"fits": (20, 80), "small": (19, 30), "narrow": (20, 81), "wide": (81, 20), "square": (20, 20)}
    write_folder(
        tmp_path / "pictures/web",
        {f"{name}.jpg": drawn(number, size) for number, (name, size) in enumerate(sizes.items())},
    )
    (web,) = chosen(tmp_path, config_of("web"), in_stories=set(), held_out=set())
    assert set(web.digests) == {digest_of(drawn(0, (20, 80))), digest_of(drawn(4, (20, 20)))}
    assert web.counts == {"web_pictures": 2, "web_too_small": 1, "web_too_narrow": 2}


def test_a_picture_that_cannot_be_read_ends_the_run_before_it_begins_and_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "pictures/web", {"good.jpg": drawn(0), "cut.jpg": drawn(1, (300, 200))[:-400]})
    with pytest.raises(ValueError, match=r"1 cannot be read .*cut\.jpg: .*truncated.*bad_records=skip"):
        inputs(tmp_path, config_of("web"))


def test_skipped_pictures_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path / "pictures/web", {"good.jpg": drawn(0), "cut.jpg": drawn(1, (300, 200))[:-400]})
    (web,) = chosen(tmp_path, config_of("web", bad_records="skip"), in_stories=set(), held_out=set())
    assert web.counts == {"web_pictures": 1, "web_unreadable": 1}
    assert "1 cannot be read" in caplog.text
    assert "cut.jpg: " in caplog.text


def test_stage_1_alone_depends_on_the_pictures(tmp_path: Path) -> None:
    write_folder(tmp_path / "pictures/web", {"a.jpg": drawn(0)})
    config, settings = config_of("web"), Settings(_env_file=None, pictures=tmp_path / "pictures")
    assert source_inputs("stage3", RunFolder(tmp_path / "run"), config, settings) == {}
    before = inputs(tmp_path, config)
    assert list(before) == ["pictures of web"]
    assert inputs(tmp_path, config) == before
    write_folder(tmp_path / "pictures/web", {"b.jpg": drawn(1)})
    assert inputs(tmp_path, config) != before
    assert inputs(tmp_path, config_of()) == {}


def test_a_picture_that_changed_since_is_not_taken_for_the_one_that_was_there(tmp_path: Path) -> None:
    write_folder(tmp_path / "pictures/web", {"a.jpg": drawn(0)})
    config, settings = config_of("web"), Settings(_env_file=None, pictures=tmp_path / "pictures")
    inputs(tmp_path, config)
    pictures = SourcePictures(open_sources(RunFolder(tmp_path / "run"), config, settings))
    assert pictures.read(digest_of(drawn(0))) == drawn(0)
    write_folder(tmp_path / "pictures/web", {"a.jpg": bytes(len(drawn(0)))})
    with pytest.raises(ValueError, match=r"picture of web in a\.jpg .*has changed"):
        pictures.read(digest_of(drawn(0)))
    (tmp_path / "pictures/web/a.jpg").unlink()
    with pytest.raises(ValueError, match=r"a\.jpg"):
        pictures.read(digest_of(drawn(0)))


@pytest.mark.parametrize("name", ["../x", "/etc", "a/b", "", ".", "..", ".hidden"])
def test_a_source_s_name_cannot_leave_the_folder_of_pictures(name: str) -> None:
    with pytest.raises(ValueError, match="sources"):
        load_config("tiny", [f"train.stage1.sources=[{{name: '{name}'}}]"])


def test_a_source_is_named_once() -> None:
    with pytest.raises(ValueError, match="named once"):
        config_of("web", "web")
