import io
from fractions import Fraction

import av
import cv2
import imagehash
import numpy as np
import pytest
from drawn_videos import HEIGHT, WIDTH, draw_video, picture, scenes
from PIL import Image

from storystream_builder.pictures import jpeg, perceptual_hash, score, thumbnail, upright


def frame_of(pixels: np.ndarray, pixel_format: str = "yuv420p") -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format=pixel_format)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "nv12", "rgb24", "yuv420p10le"])
def test_a_thumbnail_shows_the_frame_in_any_pixel_format(pixel_format):
    pixels = picture(1)
    seen = cv2.cvtColor(thumbnail(frame_of(pixels, pixel_format)), cv2.COLOR_YCrCb2RGB)
    expected = cv2.resize(pixels, (seen.shape[1], seen.shape[0]))
    assert np.abs(seen.astype(int) - expected).mean() < 12


@pytest.mark.parametrize("pixel_format", ["yuv420p", "rgb24", "gray"])
def test_black_measures_as_black(pixel_format):
    assert score(frame_of(np.zeros((HEIGHT, WIDTH, 3), np.uint8), pixel_format)).luma < 1


def test_blur_lowers_the_sharpness():
    sharp = picture(1)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 5)
    assert score(frame_of(blurred)).sharpness < score(frame_of(sharp)).sharpness / 10


def test_large_frames_are_scaled_down():
    assert upright(frame_of(picture(1)), pixel_aspect=1.0, max_side=80).size == (80, 48)


def test_small_frames_are_not_scaled_up():
    assert upright(frame_of(picture(1)), pixel_aspect=1.0, max_side=1000).size == (WIDTH, HEIGHT)


@pytest.mark.parametrize(("aspect", "size"), [(2.0, (2 * WIDTH, HEIGHT)), (0.5, (WIDTH, 2 * HEIGHT))])
def test_oblong_pixels_are_made_square(aspect, size):
    assert upright(frame_of(picture(1)), pixel_aspect=aspect, max_side=1000).size == size


def test_a_file_with_oblong_pixels_yields_square_ones(tmp_path, decode):
    video = draw_video(tmp_path / "x.mp4", scenes(1), sample_aspect=Fraction(4, 3))
    _, rows = decode(video)
    assert {(row["width"], row["height"]) for row in rows if row["image"]} == {(round(WIDTH * 4 / 3), HEIGHT)}


def test_a_film_on_its_side_is_stood_upright(clips, decode):
    """Another decoder that turns frames itself shows the same picture."""
    path = clips / "extra" / "decord_video_90.mov"
    _, rows = decode(path)
    kept = next(row for row in rows if row["status"] == "kept")
    ours = np.asarray(Image.open(io.BytesIO(kept["image"]["bytes"])))
    theirs = cv2.cvtColor(cv2.VideoCapture(str(path)).read()[1], cv2.COLOR_BGR2RGB)
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).mean() < 25 < np.abs(ours[::-1, ::-1].astype(int) - theirs).mean()


def test_a_jpeg_is_near_to_what_it_was_made_of():
    original = Image.fromarray(picture(1))
    again = Image.open(io.BytesIO(jpeg(original, 95)))
    assert np.abs(np.asarray(again).astype(int) - np.asarray(original)).mean() < 4


def test_the_hash_survives_another_size_and_compression():
    original = Image.fromarray(picture(1, 640, 384))
    other = Image.open(io.BytesIO(jpeg(original.resize((320, 192)), 60)))
    assert (perceptual_hash(original) ^ perceptual_hash(other)).bit_count() <= 2


@pytest.mark.parametrize("seed", range(20))
def test_the_hash_is_the_one_that_imagehash_prints(seed):
    original = Image.fromarray(picture(seed, 320, 180))
    assert f"{perceptual_hash(original):016x}" == str(imagehash.phash(original))
