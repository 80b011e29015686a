import json
import shutil
import sys
from pathlib import Path

import pytest

from storystream_builder.__main__ import main

VERSION_1 = Path(__file__).parent / "data" / "dataset_v1"


@pytest.fixture
def run(monkeypatch, capsys):
    """A function that runs a command line: (exit code, what it printed)."""

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["storystream_builder", *map(str, arguments)])
        code = main()
        printed = capsys.readouterr()
        return code, printed.out + printed.err.rpartition("\r")[2]

    return call


def test_a_sound_dataset_is_called_sound(run, built):
    code, text = run("verify", built.dataset_dir)
    assert (code, text.splitlines()[0]) == (0, "sound: every byte, every story, splits apart")


def test_damage_is_a_failure(run, built, tmp_path):
    dataset = Path(shutil.copytree(built.dataset_dir, tmp_path / "dataset"))
    (dataset / "README.md").unlink()
    code, text = run("verify", dataset)
    assert code == 1
    assert "README.md: the file is missing" in text


def test_statistics_name_every_split_and_problem(run, built):
    code, text = run("stats", built.dataset_dir)
    assert code == 0
    for expected in ("stories/train:", "stories/validation:", "decode: empty.mp4: empty"):
        assert expected in text


def test_statistics_are_written_for_programs(run, built):
    code, text = run("stats", built.dataset_dir, "--json")
    assert (code, json.loads(text)["licenses"][0]["name"]) == (0, "CC BY 3.0")


def test_equal_builds_are_no_failure(run, built):
    assert run("diff", built.root, built.dataset_dir) == (0, "the builds are equal\n")


def test_a_difference_is_exit_1(run, built):
    code, text = run("diff", VERSION_1, built.dataset_dir)
    assert code == 1
    assert "schema version: 1 -> 2" in text


def test_what_cannot_be_compared_is_exit_2(run, built, tmp_path):
    code, text = run("diff", built.dataset_dir, tmp_path)
    assert code == 2
    assert "holds no finished dataset" in text


def test_pages_are_written_beside_the_dataset(run, built):
    code, text = run("show", built.dataset_dir)
    assert code == 0
    assert text.splitlines()[0] == str(built.root / "dataset-pages" / "index.html")
    shutil.rmtree(built.root / "dataset-pages")


def test_a_contact_sheet_is_drawn(run, built, tmp_path):
    assert run("show", built.dataset_dir, "--sheet", "story", tmp_path / "x.png") == (
        0,
        f"{tmp_path / 'x.png'}: 5 rows\n",
    )


def test_a_sheet_of_an_unknown_kind_names_the_known_ones(run, built, tmp_path):
    code, text = run("show", built.dataset_dir, "--sheet", "shot", tmp_path / "x.png")
    assert (code, "known: episode, story, reason" in text) == (1, True)


def test_a_preview_needs_a_run(run, built, tmp_path):
    code, text = run("show", built.dataset_dir, "--set", "build.filters.max_text=0", "--out", tmp_path / "pages")
    assert (code, "no config.yaml" in text) == (1, True)


def test_a_wrong_folder_is_one_line_and_a_failure(run, tmp_path):
    code, text = run("build", tmp_path / "run", tmp_path / "nowhere")
    assert code == 1
    assert "does not exist; name a video or a folder of videos" in text
    assert "Traceback" not in text


def test_a_run_s_folder_stands_for_its_dataset(run, built):
    assert run("verify", built.root)[0] == 0
    assert run("stats", built.root)[0] == 0


def test_a_runner_that_only_the_flow_has_is_refused_by_hand(run, tmp_path):
    code, text = run("build", tmp_path / "run", tmp_path, "build.runner=dask")
    assert code == 1
    assert "needs the flow" in text


def test_settings_may_follow_options(run, tmp_path):
    code, text = run("build", tmp_path / "run", tmp_path, "--preset", "tiny", "--set", "build.stories.lenght=4")
    assert code == 1
    assert "did you mean 'length'?" in text


def test_videos_may_be_named_by_a_url(run, tmp_path):
    code, text = run("build", tmp_path / "run", "memory://no/such/folder")
    assert code == 1
    assert "nothing at memory://" in text


def test_an_interrupted_command_says_how_to_go_on(run, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("storystream_builder.__main__.build_dataset", interrupted)
    code, text = run("build", tmp_path / "run", tmp_path)
    assert code == 130
    assert "goes on from here" in text


def test_pictures_that_look_alike_across_splits_are_noted(run, built, monkeypatch):
    assert "note:" not in run("verify", built.root)[1]
    monkeypatch.setattr("storystream_builder.__main__.similar_pictures", lambda _: 3)
    code, text = run("verify", built.root)
    assert (code, "3 pictures of validation look like one of training" in text) == (0, True)
