import contextlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from fabricated_run import encoded, told_story
from PIL import Image, ImageDraw

from evaluation.external import main, read_external
from evaluation.external_forms import external_folders, read_story
from evaluation.judging.form import Pictures
from evaluation.pictures import Pair, measured, read_tellings, stack
from story_model.config import PROJECT_DIR
from story_model.dataset import Story, read_stories
from story_model.pixels import Square, detokenizer_square
from story_model.schema import Segment, ToldStory

SQUASH = Square(64, "squash")
CROP = Square(64, "crop", Image.Resampling.BICUBIC)


def plain(colour, size=(64, 64)):
    return Image.new("RGB", size, colour)


def frame(number, size=(160, 90)):
    """A picture unlike those of other numbers."""
    image = plain("black", size)
    ImageDraw.Draw(image).rectangle(
        (0, 0, size[0], 20 * number + 10), fill=("red", "lime", "blue", "white")[number % 4]
    )
    return image


@pytest.fixture
def validation():
    images = tuple(encoded(frame(number), "PNG") for number in range(3))
    return [
        Story(name, "stories", "validation", "v", images, ("a", "b", "c"), (0, 1, 2), ("", "", ""))
        for name in ("v/0", "w/0")
    ]


@pytest.fixture
def system(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    return folder


def seed_story(folder, pictures, lines):
    folder.mkdir(parents=True, exist_ok=True)
    plain("grey").save(folder / "000start_image.jpg")
    for number in range(1, pictures + 1):
        plain("grey", (64, 80)).save(folder / f"{number:02d}.jpg")
        plain("teal").save(folder / f"ori_{number:02d}.jpg")
    (folder / "text.txt").write_text("".join(f"{line}\n" for line in lines))


def numbered(folder, numbers, texts, size=(64, 64)):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        frame(number, size).save(folder / f"{number:02d}.png")
    if texts is not None:
        (folder / "texts.txt").write_text("\n".join(texts) + "\n")


def told(folder, story_id, *images):
    segments = [Segment(index=index, text=f"t{index}", image=image) for index, image in enumerate(images)]
    story = ToldStory(story_id=story_id, mode="free", policy="theirs", segments=segments)
    told_story(folder, story, {index: frame(index) for index in range(len(images))})


def reason(system, validation, name):
    """Why a folder is skipped; another one is usable."""
    numbered(system / "w-0", [1], ["x"])
    return read_external(system, validation, SQUASH)[2].skipped[name]


def test_a_story_in_our_own_form_goes_by_the_id_it_names(system, validation):
    told(system / "whatever", "v/0", "00.png", "01.png", None)
    name, (telling,), notes = read_external(system, validation, SQUASH)
    assert (name, telling.system, telling.story_id) == ("external-theirs", "external-theirs", "v/0")
    assert [pair.text for pair in telling.told] == ["t1", "t2"]
    assert [pair.text for pair in telling.reference] == ["b", "c"]
    assert (notes.texts_alone, notes.pictures, notes.not_told) == (1, 1, 1)


def test_the_opening_is_the_datasets_own(system, validation):
    numbered(system / "v-0", [0, 1], ["their words", "x"])
    (telling,) = read_external(system, validation, SQUASH)[1]
    assert (telling.opening.text, telling.opening.source) == ("a", validation[0].images[0])
    assert telling.opening.image(512).size == (64, 64)


def test_seed_storys_output_is_read_through_the_mapping(system, validation):
    seed_story(system / "val_0", 3, ["[INST]one", "two", "three", "a last text without a picture"])
    (system / "mapping.csv").write_text("folder,story_id\nval_0,w/0\n")
    _, (telling,), notes = read_external(system, validation, SQUASH)
    assert telling.story_id == "w/0"
    assert [pair.text for pair in telling.told] == ["one", "two", "three", "a last text without a picture"]
    assert [pair.source.name for pair in telling.pictured] == ["ori_01.jpg", "ori_02.jpg", "ori_03.jpg"]
    assert notes.forms == {"seed-story": 1}


def test_of_appended_runs_the_last_ones_lines_count_and_that_is_noted(system, validation):
    """The script appends to text.txt and writes over the pictures, so the pictures are the last run's."""
    seed_story(system / "v-0", 3, ["old 1", "old 2", "old 3", "new 1", "new 2", "new 3"])
    _, (telling,), notes = read_external(system, validation, SQUASH)
    assert [pair.text for pair in telling.told] == ["new 1", "new 2", "new 3"]
    assert notes.remarks == {"text.txt holds several runs; the last one's lines are taken": 1}


@pytest.mark.parametrize("lines", [5, 7, 12, 0])
def test_lines_that_are_no_number_of_runs_are_not_guessed_at(system, validation, lines):
    """Of 3 pictures a run writes 3 lines, or 4; 12 are three runs or four."""
    seed_story(system / "v-0", 3, ["x"] * lines)
    assert f"text.txt has {lines} lines for 3 pictures" in reason(system, validation, "v-0")


def test_numbered_pictures_begin_with_the_opening_or_after_it(system, validation):
    numbered(system / "v-0", [0, 1, 2], ["o", "one", "two"])
    numbered(system / "w-0", [1, 2], ["one", "two"])
    tellings = read_external(system, validation, SQUASH)[1]
    assert [[(pair.index, pair.text) for pair in telling.told] for telling in tellings] == [
        [(1, "one"), (2, "two")]
    ] * 2


def test_texts_may_be_json_lines_with_indices(system, validation):
    numbered(system / "v-0", [1, 2], None)
    lines = [{"index": 1, "text": "one\nwith a break", "seed": 7}, {"index": 2, "text": "two"}]
    (system / "v-0" / "texts.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (telling,) = read_external(system, validation, SQUASH)[1]
    assert [pair.text for pair in telling.told] == ["one\nwith a break", "two"]


def test_pictures_of_any_shape_become_the_square_that_the_datasets_do(system, validation):
    """The sides of a wide picture are red, its middle is blue; where the dataset is cropped, only blue is left."""
    wide = plain("red", (160, 90))
    wide.paste("blue", (30, 0, 130, 90))
    numbered(system / "v-0", [1], ["one"])
    wide.save(system / "v-0" / "01.png")
    (telling,) = read_external(system, validation, CROP)[1]
    (pair,) = telling.pictured
    assert (pair.pixels == plain("blue")).all()
    assert pair.image(512).size == pair.squared(CROP).size == (64, 64)
    assert pair.image(512).getpixel((1, 1)) == (0, 0, 255)


def test_odd_sizes_and_unequal_lengths_are_counted(system, validation):
    numbered(system / "v-0", [1, 2], ["x"] * 2, size=(40, 300))
    numbered(system / "w-0", [1], ["x"])
    notes = read_external(system, validation, SQUASH)[2]
    assert (notes.sizes, notes.segments) == ({"40 x 300": 2, "64 x 64": 1}, {1: 1, 2: 1})


def test_an_opening_unlike_the_datasets_is_named(system, validation):
    numbered(system / "v-0", [0, 1], ["o", "x"])
    frame(0).save(system / "v-0" / "00.jpg", quality=60)
    (system / "v-0" / "00.png").unlink()
    numbered(system / "w-0", [0, 1], ["o", "x"])
    plain("white").save(system / "w-0" / "00.png")
    assert read_external(system, validation, SQUASH)[2].unlike_openings == ["w-0"]


def test_a_report_is_told_what_weakens_a_system_and_not_what_it_is_made_of(system, validation):
    numbered(system / "v-0", [0, 1], ["o", "x"])
    numbered(system / "nobody", [0, 1], ["o", "x"])
    notes = read_external(system, validation, SQUASH)[2]
    cautions = " | ".join(notes.cautions)
    assert "validation stories not told: " in cautions
    assert "unmatched nobody" in cautions
    assert not any(word in cautions for word in ("external-", "forms:", "sizes:"))
    assert all(word in " | ".join(notes.lines) for word in ("forms:", "sizes:", "unmatched nobody"))


def test_a_folder_of_no_validation_story_is_unmatched_and_named(system, validation):
    numbered(system / "v-0", [1], ["x"])
    seed_story(system / "val_7", 1, ["x"])
    notes = read_external(system, validation, SQUASH)[2]
    assert notes.unmatched == ["val_7"]
    assert any("val_7" in line and "mapping.csv" in line for line in notes.lines)


def test_two_folders_of_one_story_do_not_count_twice(system, validation):
    told(system / "a", "v/0", "00.png", "01.png")
    numbered(system / "v-0", [1], ["x"])
    notes = read_external(system, validation, SQUASH)[2]
    assert (notes.stories, notes.skipped) == (1, {"v-0": "story v/0 is in folder a already"})


@pytest.mark.parametrize(
    ("numbers", "texts", "why"),
    [
        ([1, 3], ["x"] * 3, "picture 2 is missing"),
        ([0], ["x"], "has no picture 01"),
        ([2, 3], ["x"] * 2, "has no picture 01"),
        ([1, 2], ["x"], "has 2 pictures and 1 texts"),
        ([1], None, "either texts.txt"),
        ([], ["x"], "holds no story"),
    ],
)
def test_texts_and_pictures_that_do_not_belong_together_are_skipped_with_the_reason(
    system, validation, numbers, texts, why
):
    numbered(system / "v-0", numbers, texts)
    assert why in reason(system, validation, "v-0")


def test_one_number_of_two_pictures_is_no_order(system, validation):
    numbered(system / "v-0", [1], ["x"])
    plain("red").save(system / "v-0" / "1.jpg")
    assert reason(system, validation, "v-0") == "01.png and 1.jpg have the same number"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"index": 2, "text": "x"}', "indices must be 1"),
        ('{"index": "1", "text": "x"}', "line 1"),
        ('{"text": "x", "text": "y"}', "a key comes twice"),
        ("{", "line 1"),
        ("[" * 100_000, "line 1"),
    ],
)
def test_json_lines_are_read_strictly(system, validation, line, why):
    numbered(system / "v-0", [1], None)
    (system / "v-0" / "texts.jsonl").write_text(line)
    assert why in reason(system, validation, "v-0")


def test_a_picture_that_cannot_be_decoded_skips_its_story(system, validation):
    numbered(system / "v-0", [1], ["x"])
    whole = (system / "v-0" / "01.png").read_bytes()
    for damaged in (b"", b"GIF89a nothing", whole[: len(whole) // 2]):
        (system / "v-0" / "01.png").write_bytes(damaged)
        assert "cannot be decoded" in reason(system, validation, "v-0")


@pytest.mark.parametrize("size", [(1, 9), (90, 10), (9000, 8000)])
def test_a_picture_that_would_fill_the_memory_is_not_scaled_up(system, validation, size):
    """At 1 x 9 a crop to 1,024 would first be 1,024 x 9,216; at 1 x 10,000 some 30 GB."""
    numbered(system / "v-0", [1], ["x"])
    Image.new("1", size).save(system / "v-0" / "01.png")
    assert f"01.png has {size[0]} x {size[1]} pixels" in reason(system, validation, "v-0")


def test_a_png_whose_parts_have_wrong_lengths_is_an_error_that_says_so():
    """Pillow reports some of them as SyntaxError, and does without the rest of others."""
    whole = encoded(frame(1), "PNG")
    for length in range(whole[36]):
        with contextlib.suppress(ValueError):
            measured(whole[:36] + bytes([length]) + whole[37:])


@pytest.mark.parametrize("image", ["../w-0/01.png", "/etc/hostname", "..\\secret.png", "gone.png"])
def test_a_picture_outside_of_the_storys_folder_is_not_read(system, validation, image):
    told(system / "v", "v/0", "00.png", image)
    assert re.search("leaves|is not there", reason(system, validation, "v"))


def test_links_out_of_the_folder_are_not_followed(system, tmp_path, validation):
    numbered(tmp_path / "elsewhere", [1], ["x"])
    (system / "v-0").symlink_to(tmp_path / "elsewhere")
    assert "leaves" in reason(system, validation, "v-0")
    (system / "v-0").unlink()
    numbered(system / "v-0", [1], ["x"])
    (system / "v-0" / "02.png").symlink_to(tmp_path / "elsewhere" / "01.png")
    assert "leaves" in reason(system, validation, "v-0")


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("folder;story_id\nv-0;v/0\n", "line 2: give folder,story_id"),
        ("folder,story_id\nv-0,v/0\nv-0,w/0\n", "line 3: .* comes twice"),
        ("folder,story_id\nv-0,nobody\n", "'nobody' is no validation story"),
        ("folder,story_id\nv-0,v/0,more\n", "line 2: give folder,story_id"),
        ("folder,story_id\n../v-0,v/0\n", "there is no folder"),
        ("\xff", "is no table"),
    ],
)
def test_a_malformed_mapping_ends_the_reading(system, validation, table, why):
    numbered(system / "v-0", [1], ["x"])
    (system / "mapping.csv").write_bytes(table.encode("latin-1"))
    with pytest.raises(ValueError, match=why):
        read_external(system, validation, SQUASH)


def test_a_folder_without_a_usable_story_says_why(system, validation):
    seed_story(system / "val_0", 1, ["x"])
    with pytest.raises(ValueError, match=r"holds no story that can be used(.|\n)*unmatched val_0"):
        read_external(system, validation, SQUASH)


def test_a_system_is_called_as_it_says_and_never_like_ours(system, validation):
    (system / "system.json").write_text('{"name": "MM-Interleaved", "notes": "as published"}')
    numbered(system / "v-0", [1], ["x"])
    name, (telling,), notes = read_external(system, validation, SQUASH)
    assert (name, telling.mode, notes.notes) == ("external-MM-Interleaved", "external", "as published")


@pytest.mark.parametrize(
    "text", ['{"name": "a/b"}', '{"name": ""}', "{}", '{"name": "a", "nam": 1}', "[", '{"name": "a\\n"}']
)
def test_a_malformed_description_is_refused_with_its_path(system, validation, text):
    (system / "system.json").write_text(text)
    with pytest.raises(ValueError, match=r"system\.json"):
        read_external(system, validation, SQUASH)


def test_two_systems_of_one_name_are_refused(system, tmp_path):
    (tmp_path / "other").mkdir()
    assert list(external_folders([str(system), str(tmp_path / "other")])) == ["external-theirs", "external-other"]
    (tmp_path / "other" / "system.json").write_text('{"name": "theirs"}')
    with pytest.raises(ValueError, match="both called 'external-theirs'"):
        external_folders([str(system), str(tmp_path / "other")])


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere is no folder"):
        external_folders([str(tmp_path / "nowhere")])


def test_the_documented_story_is_one(tmp_path):
    (block,) = re.findall(r"```json\n(.*?)```", (PROJECT_DIR / "docs" / "external_systems.md").read_text(), re.DOTALL)
    numbered(tmp_path, [0, 1], None)
    (tmp_path / "story.json").write_text(block)
    found = read_story(tmp_path)
    assert (found.form, found.story_id, found.texts) == ("story.json", "e4/0", ("what comes next",))


def test_no_picture_is_opened_to_tell_a_form(tmp_path):
    numbered(tmp_path / "v-0", [1], ["x"])
    (tmp_path / "v-0" / "01.png").write_bytes(b"nothing")
    assert read_story(tmp_path / "v-0").form == "numbered pictures"


def test_our_own_stories_read_as_anothers_are_the_same_pictures(make_run):
    made = make_run(with_truth=False)
    validation = read_stories(made.run.dataset_dir, "validation")
    square = detokenizer_square(made.config.model.detokenizer)
    folder = made.run.told_dir("free", "window")
    theirs, ours = read_external(folder, validation, square)[1], read_tellings(folder, validation, square)
    for one, other in zip(theirs, ours, strict=True):
        assert (stack(one.told) == stack(other.told)).all()
        assert (stack(one.reference) == stack(other.reference)).all()
        assert [pair.text for pair in one.told] == [pair.text for pair in other.told]


def test_stories_of_a_run_are_another_runs_external_system(make_run, capsys, tmp_path):
    run = make_run(with_truth=False).run
    main(["check", str(run.told_dir("free", "window")), str(run.root)])
    assert "external-free-window: 3 stories" in capsys.readouterr().out
    (tmp_path / "theirs" / "a").mkdir(parents=True)
    with pytest.raises(SystemExit, match=r"external: (.|\n)*skipped a: holds no story"):
        main(["check", str(tmp_path / "theirs"), str(run.root)])
    with pytest.raises(SystemExit, match=r"holds no config\.yaml"):
        main(["check", str(tmp_path / "theirs"), str(Path(tmp_path))])


def test_one_file_shown_square_and_whole_is_two_pictures_to_the_judge():
    """Or the answer paid for one would be taken for the other."""
    pictures = Pictures(512, "PNG")
    whole = Pair(1, "x", encoded(frame(1), "PNG"), None)
    shown = [pictures.show(pair) for pair in (whole, replace(whole, square=SQUASH), whole)]
    assert [picture.size for picture in shown] == [(160, 90), (64, 64), (160, 90)]
    assert shown[0].digest == shown[2].digest != shown[1].digest
