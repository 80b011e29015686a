import numpy as np
import pytest
from fabricated_run import encoded
from PIL import Image

from evaluation.pictures import Pair, Telling
from evaluation.showing.figures import contact_sheet


@pytest.mark.parametrize(("transform", "sees_sides"), [("squash", True), ("crop", False)])
def test_the_dataset_s_row_of_the_contact_sheet_shows_what_told_squares_show(transform, sees_sides):
    frame = Image.new("RGB", (160, 90), "red")
    frame.paste("blue", (30, 0, 130, 90))
    known = Pair(1, "known", encoded(frame, "PNG"), None)
    told = [Pair(index, "told", encoded(Image.new("RGB", (64, 64), "blue"), "PNG"), None) for index in (0, 1)]
    telling = Telling("s", "free", "dense", told[0], (told[1],), (known,))
    sheet = np.asarray(contact_sheet([telling], stories=1, transform=transform)).astype(int)
    assert ((sheet[:, :, 0] > 200) & (sheet[:, :, 2] < 50)).any() == sees_sides
