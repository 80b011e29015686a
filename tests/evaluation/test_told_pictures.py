import io

import numpy as np
import pytest
from fabricated_run import encoded, told_story
from PIL import Image

from evaluation.pictures import measured, read_tellings, sample_keyframes, stack
from story_model.dataset import Story, read_stories
from story_model.pixels import Square, decode_square, to_image
from story_model.schema import Segment, ToldStory

SQUASH = Square(64, "squash")
CROP = Square(64, "crop", Image.Resampling.BICUBIC)


def plain(colour, size=(64, 64)):
    return Image.new("RGB", size, colour)


@pytest.fixture
def validation():
    images = tuple(encoded(plain(colour, (160, 90)), "PNG") for colour in ("red", "green", "blue"))
    return [Story("v/0", "stories", "validation", "v", images, ("a", "b", "c"), (0, 1, 2), ("", "", ""))]


def story(*images, story_id="v/0"):
    segments = [Segment(index=index, text=f"t{index}", image=image) for index, image in enumerate(images)]
    return ToldStory(story_id=story_id, mode="free", policy="dense", segments=segments)


def write(folder, told):
    told_story(folder, told, {index: plain("white") for index in range(len(told.segments))})


def test_a_told_picture_stands_beside_the_pair_of_its_index(tmp_path, validation):
    write(tmp_path / "v", story("00.png", "01.png", "02.png"))
    (telling,) = read_tellings(tmp_path, validation, SQUASH)
    assert [pair.text for pair in telling.reference] == ["b", "c"]
    assert (stack(telling.reference)[0] == plain("green")).all()


def test_a_story_may_be_told_longer_than_the_dataset_knows_it(tmp_path, validation):
    write(tmp_path / "v", story("00.png", "01.png", "02.png", "03.png"))
    (telling,) = read_tellings(tmp_path, validation, SQUASH)
    assert (len(telling.told), len(telling.reference)) == (3, 2)


def test_a_segment_without_a_picture_is_told_but_not_pictured(tmp_path, validation):
    write(tmp_path / "v", story("00.png", None, "02.png"))
    (telling,) = read_tellings(tmp_path, validation, SQUASH)
    assert [pair.index for pair in telling.pictured] == [2]


def test_the_reference_loses_the_detail_that_the_told_size_cannot_hold():
    """Stripes of one pixel vanish at 8 x 8, and stay vanished when the picture is measured at 64 x 64."""
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    source = encoded(Image.fromarray(stripes), "PNG")
    assert measured(source).std() > 100
    assert measured(source, square=Square(8, "squash")).std() < 10


def test_the_reference_is_cropped_where_told_pictures_are(tmp_path):
    """The sides of a wide frame are red, its middle square blue; a told crop shows blue alone."""
    frame = plain("red", (160, 90))
    frame.paste("blue", (30, 0, 130, 90))
    images = (encoded(frame, "PNG"),) * 2
    write(tmp_path / "v", story("00.png", "01.png"))
    wide = Story("v/0", "stories", "validation", "v", images, ("a", "b"), (0, 1), ("", ""))
    (telling,) = read_tellings(tmp_path, [wide], CROP)
    assert (stack(telling.reference)[0] == plain("blue")).all()


def test_training_keyframes_are_cropped_where_told_pictures_are(make_run):
    dataset = make_run(with_truth=False).run.dataset_dir
    images = [image for story in read_stories(dataset, "train") for image in story.images]
    crops = {to_image(decode_square(image, CROP).pixels).tobytes() for image in images}
    drawn = sample_keyframes(dataset, len(images), square=CROP, seed=0)
    assert {pair.squared(CROP).tobytes() for pair in drawn} == crops
    assert len(stack(drawn)) == len(images)


def test_told_pictures_of_another_size_are_refused(tmp_path, validation):
    write(tmp_path / "v", story("00.png", "01.png"))
    with pytest.raises(ValueError, match="tell the stories again"):
        read_tellings(tmp_path, validation, Square(32, "squash"))


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "..\\secret.png"])
def test_a_picture_outside_the_story_is_not_read(tmp_path, validation, name):
    plain("white").save(tmp_path / "secret.png")
    write(tmp_path / "told" / "v", story("00.png", name))
    with pytest.raises(ValueError, match="leaves"):
        read_tellings(tmp_path / "told", validation, SQUASH)


def test_a_broken_picture_is_named(tmp_path, validation):
    write(tmp_path / "v", story("00.png", "01.png"))
    (tmp_path / "v" / "01.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"01\.png cannot be decoded"):
        read_tellings(tmp_path, validation, SQUASH)


def test_a_story_of_another_dataset_is_refused(tmp_path, validation):
    write(tmp_path / "v", story("00.png", "01.png", story_id="other"))
    with pytest.raises(ValueError, match="no validation story"):
        read_tellings(tmp_path, validation, SQUASH)


def test_a_gap_in_the_numbering_is_refused(tmp_path, validation):
    told = story("00.png", "01.png", "02.png")
    write(tmp_path / "v", told.model_copy(update={"segments": [told.segments[0], told.segments[2]]}))
    with pytest.raises(ValueError, match="numbered"):
        read_tellings(tmp_path, validation, SQUASH)


def test_pictures_are_never_scaled_up_for_showing(tmp_path, validation):
    write(tmp_path / "v", story("00.png", "01.png"))
    (telling,) = read_tellings(tmp_path, validation, SQUASH)
    assert telling.told[0].image(512).size == (64, 64)


def test_only_known_formats_are_decoded():
    buffer = io.BytesIO()
    plain("red").save(buffer, format="TIFF")
    with pytest.raises(ValueError, match="cannot be decoded"):
        measured(buffer.getvalue())
