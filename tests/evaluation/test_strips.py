import base64
import io

import pytest
from fabricated_run import encoded
from PIL import Image

from evaluation.pictures import Pair, Telling
from evaluation.showing.strips import Shown, strips


def opened(shown: Shown | None) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(shown.url.partition(",")[2])))


@pytest.fixture
def shown():
    """A function that sets up one story's strip: the opening, the dataset's picture, the told one."""
    known = Pair(1, "known", encoded(Image.new("RGB", (160, 90), "red"), "PNG"), None)
    told = [Pair(index, "told", encoded(Image.new("RGB", (64, 64), "blue"), "PNG"), None) for index in (0, 1)]
    telling = Telling("s", "free", "dense", told[0], (told[1],), (known,))

    def make(transform):
        (strip,) = strips({"free-dense": [telling]}, {}, stories=1, transform=transform)
        assert strip.aspect_ratio == "160 / 90"
        return opened(strip.opening), opened(strip.cards[0].reference), opened(strip.cards[0].told[0])

    return make


def test_squashed_pictures_are_left_square_for_the_page_to_stretch_back(shown):
    assert [image.size for image in shown("squash")] == [(64, 64), (160, 90), (64, 64)]


def test_a_told_crop_keeps_its_shape_in_the_middle_of_the_frame(shown):
    opening, known, told = shown("crop")
    assert known.size == (160, 90)
    for image in (opening, told):
        assert image.size == (192, 108)
        assert image.getchannel("A").getbbox() == (42, 0, 150, 108)
