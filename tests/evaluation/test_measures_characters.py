import numpy as np
import pytest
from PIL import Image
from tellings import features, still, telling

from evaluation.measures.characters import Figure, character_values, figures_of_crops, figures_of_texts

ADA, BO = np.array([1.0, 0.0]), np.array([0.0, 1.0])


class Halves:
    """Sees Ada on the left and Bo on the right of every picture."""

    def figures(self, pair):
        image = Image.fromarray(pair.pixels)
        return [("Ada", image.crop((0, 0, 32, 64))), ("Bo", image.crop((32, 0, 64, 64)))]


def test_somebody_who_changes_is_less_like_their_earlier_self():
    figures = [Figure(0, "Ada", ADA), Figure(1, "Bo", BO), Figure(2, "Ada", ADA), Figure(3, "Ada", BO)]
    found = character_values({"s": figures})
    assert found["character_likeness"]["s"] == [(2, 1), (3, 0)]
    assert found["character_contrast"]["s"] == [(2, 1), (3, -1)]


def test_a_story_of_one_picture_has_likeness_without_contrast():
    figures = [Figure(n, name, ADA) for n, name in enumerate(["Ada", "Bo", "Ada", "Bo"])]
    found = character_values({"s": figures}, "clip_character")
    assert [value for _, value in found["clip_character_likeness"]["s"]] == [1, 1]
    assert [value for _, value in found["clip_character_contrast"]["s"]] == [0, 0]


def test_figures_of_one_segment_are_not_one_another_s_past():
    figures = [Figure(1, "Ada", ADA), Figure(1, "Ada", BO), Figure(2, "Ada", ADA)]
    assert character_values({"s": figures})["character_likeness"]["s"] == [(2, 0.5)]


def test_whole_pictures_serve_where_their_text_names_one():
    story = telling(
        opening_text="Ada waves",
        texts=["Bo sits", "Ada and Bo", "rain", "Ada"],
        told=[still(1), still(1), still(1), None],
    )
    rows = features("s", ADA, [BO, ADA, ADA], indices=(1, 2, 3))
    found = figures_of_texts(story, rows, ["Ada", "Bo"])
    assert [(figure.index, figure.name) for figure in found] == [(0, "Ada"), (1, "Bo")]


def test_crops_of_a_detector_are_embedded():
    story = telling(opening=still(10), told=[None, still(200)], texts=["x", "y"])
    found = figures_of_crops(story, Halves(), lambda crops: np.array([[np.asarray(crop).mean(), 1] for crop in crops]))
    assert [(figure.index, figure.name) for figure in found] == [(0, "Ada"), (0, "Bo"), (2, "Ada"), (2, "Bo")]
    assert np.linalg.norm(found[0].embedding) == pytest.approx(1)


def test_a_crop_s_features_that_are_no_numbers_are_named():
    with pytest.raises(ValueError, match="story s, picture 0: 'Ada' has features that are not finite"):
        figures_of_crops(telling(told=[still(1)]), Halves(), lambda crops: np.full((len(crops), 2), np.nan))


def test_nobody_seen_is_no_value():
    class Blind:
        def figures(self, pair):
            return []

    assert figures_of_crops(telling(told=[still(1)]), Blind(), lambda crops: np.empty((0, 2))) == []
    assert character_values({"s": []}) == {"character_likeness": {"s": []}, "character_contrast": {"s": []}}
