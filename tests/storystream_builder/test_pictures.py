import io
from fractions import Fraction

import av
import cv2
import imagehash
import numpy as np
import pytest
from drawn_videos import HEIGHT, WIDTH, draw_video, picture, scenes
from PIL import Image

from storystream_builder.decoding.glimpses import as_picture, glimpse
from storystream_builder.decoding.pictures import compress, jpeg, measured_luma, perceptual_hash, score, upright


def frame_of(pixels: np.ndarray, pixel_format: str = "yuv420p") -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format=pixel_format)


FORMATS = "yuv420p yuvj420p yuv422p yuv444p nv12 nv16 rgb24 bgra yuva420p gbrp yuv420p10le yuv444p12le p010le".split()  # noqa: SIM905


def grey(pixels: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def measured(pixels: np.ndarray, pixel_format: str = "yuv420p"):
    return score(measured_luma(frame_of(pixels, pixel_format)))


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_a_thumbnail_shows_the_frame_in_any_pixel_format(pixel_format):
    pixels = cv2.GaussianBlur(picture(1), (0, 0), 4)  # so that it matters little which pixels are taken
    seen = as_picture(glimpse(0, frame_of(pixels, pixel_format), None))[..., ::-1]
    expected = cv2.resize(pixels, (seen.shape[1], seen.shape[0]))
    assert np.abs(seen.astype(int) - expected).mean() < 12


@pytest.mark.parametrize("pixel_format", [*FORMATS, "gray", "gray10le"])
def test_black_measures_as_black(pixel_format):
    assert measured(np.zeros((HEIGHT, WIDTH, 3), np.uint8), pixel_format).luma < 1


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_a_frame_measures_alike_in_any_pixel_format(pixel_format):
    one, other = measured(picture(1)), measured(picture(1), pixel_format)
    assert (other.luma, other.contrast) == pytest.approx((one.luma, one.contrast), abs=2)
    assert other.sharpness == pytest.approx(one.sharpness, rel=0.1)


@pytest.mark.parametrize("size", [(161, 97), (2, 2), (16, 400), (1, 1)])
def test_frames_of_any_size_are_seen(size):
    frame = av.VideoFrame(*size, "yuv420p")
    seen = glimpse(0, frame, glimpse(0, frame_of(picture(1)), None))
    assert seen.luma.shape == (36, 64)
    assert upright(frame, pixel_aspect=1.0, max_side=100).size > 0


def test_blur_lowers_the_sharpness():
    sharp = picture(1)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 5)
    assert measured(blurred).sharpness < measured(sharp).sharpness / 10


def test_large_frames_are_scaled_down():
    assert upright(frame_of(picture(1)), pixel_aspect=1.0, max_side=80).shape == (48, 80, 3)


def test_small_frames_are_not_scaled_up():
    assert upright(frame_of(picture(1)), pixel_aspect=1.0, max_side=1000).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(("aspect", "size"), [(2.0, (2 * WIDTH, HEIGHT)), (0.5, (WIDTH, 2 * HEIGHT))])
def test_oblong_pixels_are_made_square(aspect, size):
    assert upright(frame_of(picture(1)), pixel_aspect=aspect, max_side=1000).shape == (*size[::-1], 3)


def test_a_file_with_oblong_pixels_yields_square_ones(tmp_path, decode):
    video = draw_video(tmp_path / "x.mp4", scenes(1), sample_aspect=Fraction(4, 3))
    _, rows = decode(video)
    assert {(row["width"], row["height"]) for row in rows if row["image"]} == {(round(WIDTH * 4 / 3), HEIGHT)}


def test_a_film_on_its_side_is_stood_upright(clips, decode):
    """Another decoder that turns frames itself shows the same picture."""
    path = clips / "extra" / "decord_video_90.mov"
    _, rows = decode(path)
    kept = rows[0]
    ours = np.asarray(Image.open(io.BytesIO(kept["image"]["bytes"])))
    theirs = cv2.cvtColor(cv2.VideoCapture(str(path)).read()[1], cv2.COLOR_BGR2RGB)
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).mean() < 25 < np.abs(ours[::-1, ::-1].astype(int) - theirs).mean()


def test_a_jpeg_is_near_to_what_it_was_made_of():
    original = Image.fromarray(picture(1))
    again = Image.open(io.BytesIO(jpeg(original, 95)))
    assert np.abs(np.asarray(again).astype(int) - np.asarray(original)).mean() < 4


def test_a_picture_is_compressed_alike_by_either_way():
    original = picture(1)
    one, other = compress(original[..., ::-1], 95), jpeg(Image.fromarray(original), 95)
    assert one == other


def test_the_hash_survives_another_size_and_compression():
    original = picture(1, 640, 384)
    other = Image.open(io.BytesIO(jpeg(Image.fromarray(original).resize((320, 192)), 60)))
    assert (perceptual_hash(grey(original)) ^ perceptual_hash(grey(np.asarray(other)))).bit_count() <= 2


@pytest.mark.parametrize("seed", range(20))
def test_the_hash_is_nearly_the_one_that_imagehash_prints(seed):
    original = picture(seed, 320, 180)
    theirs = int(str(imagehash.phash(Image.fromarray(original))), 16)
    assert (perceptual_hash(grey(original)) ^ theirs).bit_count() <= 2


@pytest.mark.parametrize("seed", range(3))
def test_the_hash_of_a_small_picture_is_the_one_that_imagehash_prints(seed):
    original = picture(seed, 60, 60)
    assert f"{perceptual_hash(grey(original)):016x}" == str(imagehash.phash(Image.fromarray(original)))
