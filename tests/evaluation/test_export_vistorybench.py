import json
import re

import pytest
from PIL import Image

import evaluation.export_vistorybench as exporter
from evaluation.export_vistorybench import Export, export, main
from story_model.schema import Segment, ToldStory

SHOT_KEYS = {
    "Setting Description",
    "Plot Correspondence",
    "Characters Appearing",
    "Static Shot Description",
    "Shot Perspective Design",
}
"""Without one of these its loader leaves a shot out."""
SYSTEM = "free-window"


@pytest.fixture(scope="module")
def run(make_run):
    return make_run(with_truth=False).run


def shots_of(out, name, story="01", language="en"):
    """The pictures of a story, where and in the order in which its reader takes them."""
    (stamp,) = (out / "outputs" / "storystream" / name / language).iterdir()
    assert re.fullmatch(r"\d{8}_\d{6}", stamp.name)
    return sorted((stamp / story / "shots").iterdir())


def prompts_of(out, name, story="01"):
    return json.loads((out / "dataset" / name / "ViStory" / story / "story.json").read_text())["Shots"]


def test_pictures_lie_where_its_reader_looks(run, tmp_path):
    export(run, tmp_path / "out", systems=[SYSTEM], timestamp="20261121_101112")
    root = tmp_path / "out" / "outputs" / "storystream" / SYSTEM / "en" / "20261121_101112"
    assert sorted(path.name for path in root.iterdir()) == ["01", "02", "03"]
    names = [path.name for path in shots_of(tmp_path / "out", SYSTEM)]
    assert names == [f"shot_{number:02d}.png" for number in range(9)]


def test_a_shot_is_the_told_picture_and_the_opening_is_none(run, tmp_path):
    export(run, tmp_path / "out", systems=[SYSTEM])
    first = shots_of(tmp_path / "out", SYSTEM)[0]
    assert first.read_bytes() == (run.told_dir("free", "window") / "e4-0" / "01.png").read_bytes()


def test_every_shot_has_its_own_text_where_its_loader_looks(run, tmp_path):
    """The last of the ten told segments has no picture and is no shot: unequal numbers would not be judged."""
    export(run, tmp_path / "out", systems=[SYSTEM])
    told = ToldStory.model_validate_json((run.told_dir("free", "window") / "e4-0" / "story.json").read_bytes())
    prompts = prompts_of(tmp_path / "out", SYSTEM)
    assert len(prompts) == len(shots_of(tmp_path / "out", SYSTEM)) == 9
    assert [shot["index"] for shot in prompts] == list(range(1, 10))
    assert [shot["Static Shot Description"]["en"] for shot in prompts] == [one.text for one in told.segments[1:10]]
    assert all(shot.keys() >= SHOT_KEYS for shot in prompts)


def test_the_opening_stands_in_for_the_reference_without_which_csd_breaks_off(run, tmp_path):
    export(run, tmp_path / "out", systems=[SYSTEM], language="ch")
    story = tmp_path / "out" / "dataset" / SYSTEM / "ViStory" / "02"
    ((name, character),) = json.loads((story / "story.json").read_text())["Characters"].items()
    assert (character["name_en"], character["name_ch"], character["num_of_appearances"]) == ("Opening", "Opening", 0)
    told = run.told_dir("free", "window") / "e5-0" / "00.png"
    assert (story / "image" / name / "00.png").read_bytes() == told.read_bytes()


def test_chinese_stories_still_have_the_english_names_that_its_loader_asks_for(run, tmp_path):
    export(run, tmp_path / "out", systems=[SYSTEM], language="ch")
    assert shots_of(tmp_path / "out", SYSTEM, language="ch")
    (shot, *_) = prompts_of(tmp_path / "out", SYSTEM)
    assert shot["Characters Appearing"] == {"en": [], "ch": []}
    assert all("ch" in shot[key] for key in SHOT_KEYS)


def test_the_manifest_says_which_story_is_which_and_what_is_left_out(run, tmp_path):
    export(run, tmp_path / "out", systems=[SYSTEM])
    system = Export.model_validate_json((tmp_path / "out" / "manifest.json").read_bytes()).systems[SYSTEM]
    assert [(one.story, one.story_id) for one in system.stories] == [("01", "e4/0"), ("02", "e5/0"), ("03", "e6/0")]
    assert [(one.shots, one.without_picture) for one in system.stories] == [(9, 1)] * 3
    assert (tmp_path / "out" / system.outputs / "01").is_dir()
    assert (tmp_path / "out" / system.dataset / "01" / "story.json").is_file()


def test_all_systems_are_exported_unless_some_are_named(run, tmp_path):
    names = export(run, tmp_path / "out").systems.keys()
    assert names >= {SYSTEM, "captions_given-multimodal_sink", "captions_given-captions_alone"}


def test_an_unknown_system_is_refused_with_those_that_there_are(run, tmp_path):
    with pytest.raises(ValueError, match=r"'x' is no system of .* it has captions_given-dense"):
        export(run, tmp_path / "out", systems=["x"])


def test_a_folder_that_is_there_is_not_written_over(run, tmp_path):
    export(run, tmp_path / "out", systems=[SYSTEM], timestamp="20260101_000000")
    with pytest.raises(ValueError, match="is there already"):
        export(run, tmp_path / "out", systems=[SYSTEM])
    export(run, tmp_path / "out", systems=[SYSTEM], timestamp="20260202_000000", force=True)
    (stamp,) = (tmp_path / "out" / "outputs" / "storystream" / SYSTEM / "en").iterdir()
    assert stamp.name == "20260202_000000"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_force_replaces_an_export_and_nothing_else(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="is no earlier export"):
        export(run, tmp_path / "out", systems=[SYSTEM], force=True)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


@pytest.fixture
def damaged(make_run):
    """A run of which one told picture can be spoiled."""
    run = make_run(with_truth=False).run
    return run, run.told_dir("free", "window") / "e5-0"


def test_an_export_that_fails_leaves_nothing(damaged, tmp_path):
    run, folder = damaged
    (folder / "03.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="is no PNG"):
        export(run, tmp_path / "out", systems=[SYSTEM])
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_cannot_be_put_in_place_leaves_the_earlier_one(run, tmp_path, monkeypatch):
    export(run, tmp_path / "out", systems=[SYSTEM], timestamp="20260101_000000")
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    rename = exporter.Path.rename

    def fail_for_new(self, target):
        if self.name == "new":
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(exporter.Path, "rename", fail_for_new)
    with pytest.raises(OSError, match="no"):
        export(run, tmp_path / "out", systems=[SYSTEM], force=True)
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_picture_outside_of_the_told_story_is_not_exported(damaged, tmp_path):
    run, folder = damaged
    segments = [Segment(index=0, text="o", image="00.png"), Segment(index=1, text="x", image="../../../config.yaml")]
    story = ToldStory(story_id="e5/0", mode="free", policy="window", segments=segments)
    (folder / "story.json").write_text(story.model_dump_json())
    with pytest.raises(ValueError, match="leaves"):
        export(run, tmp_path / "out", systems=[SYSTEM])


@pytest.mark.parametrize("content", ["{", "{}", '{"story_id": "e5/0", "mode": "free", "policy": "x", "segments": []}'])
def test_a_damaged_story_is_named(damaged, tmp_path, content):
    run, folder = damaged
    (folder / "story.json").write_text(content)
    with pytest.raises(ValueError, match=r"e5-0: story\.json"):
        export(run, tmp_path / "out", systems=[SYSTEM])


def test_a_story_without_any_picture_is_counted_and_not_exported(damaged, tmp_path):
    run, folder = damaged
    segments = [Segment(index=0, text="o", image="00.png"), Segment(index=1, text="x", image=None)]
    story = ToldStory(story_id="e5/0", mode="free", policy="window", segments=segments)
    (folder / "story.json").write_text(story.model_dump_json())
    system = export(run, tmp_path / "out", systems=[SYSTEM]).systems[SYSTEM]
    assert system.skipped == {"e5/0": "no told segment has a picture"}
    assert [one.story for one in system.stories] == ["01", "03"]


@pytest.mark.parametrize("timestamp", ["2026", "../../x", "20260101-000000", "20260101_0000001"])
def test_a_timestamp_of_another_form_is_refused(run, tmp_path, timestamp):
    with pytest.raises(ValueError, match="not of the form"):
        export(run, tmp_path / "out", timestamp=timestamp)


def test_the_command_says_what_it_exported_and_what_not(run, tmp_path, capsys):
    main([str(run.root), str(tmp_path / "out"), "--system", SYSTEM])
    said = capsys.readouterr().out
    assert said == f"{SYSTEM}: 3 stories, 27 shots; left out: 3 segments without a picture, 0 stories without any\n"
    with pytest.raises(SystemExit, match=r"export: .* is there already"):
        main([str(run.root), str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=r"holds no config\.yaml"):
        main([str(tmp_path), str(tmp_path / "other")])
    assert Image.open(shots_of(tmp_path / "out", SYSTEM)[0]).size == (64, 64)
