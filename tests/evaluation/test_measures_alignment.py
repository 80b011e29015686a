import numpy as np
import pytest
from PIL import Image
from small_clip import save_clip
from tellings import features, still, telling

from evaluation.measures.alignment import alignment_of
from evaluation.measures.clip import Clip
from evaluation.measures.features import by_images, features_of, unit_length
from evaluation.pictures import Pair, Telling
from story_model.config import load_config
from story_model.pixels import detokenizer_square

ROWS = {"left": [1.0, 0.0], "right": [0.0, 1.0], "away": [-1.0, 0.0]}


def read(texts):
    rows = np.array([ROWS[text] for text in texts]).reshape(len(texts), 2)
    return rows, np.array([text == "away" for text in texts], dtype=bool)


def aligned(texts, rows, *, indices=None):
    found = alignment_of([telling(texts=texts)], [features("s", [1, 0], rows, indices=indices)], read)
    return {name: values["s"] for name, values in found.items()}


def test_a_picture_is_held_against_its_own_text():
    found = aligned(["left", "right", "away"], [[1, 0], [1, 0], [1, 0]])
    assert found["clip_t"] == [(1, 1), (2, 0), (3, -1)]
    assert found["clip_score"] == [(1, 2.5), (2, 0), (3, 0)]
    assert found["clip_t_rank"] == [(1, 1), (2, 1 / 2), (3, 1 / 3)]
    assert found["clip_t_first"] == [(1, 1), (2, 0), (3, 0)]
    assert found["clip_t_cut"] == [(1, 0), (2, 0), (3, 1)]


def test_a_loop_of_one_text_ranks_by_chance():
    assert aligned(["left"] * 3, [[1, 0]] * 3)["clip_t_rank"] == [(1, 1 / 2), (2, 1 / 2), (3, 1 / 2)]


def test_segments_without_a_picture_or_a_word_have_no_value_but_their_texts_are_candidates():
    found = aligned(["left", "...", "right"], [[0, 1], [0, 1]], indices=(1, 2))
    assert found["clip_t"] == [(1, 0)]
    assert found["clip_t_rank"] == [(1, 1 / 2)]
    assert aligned(["..."], [[0, 1]])["clip_t"] == []


def test_a_real_network_measures_a_told_story(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    pairs = [
        Pair(n, text, path, still(0)) for n, (text, path) in enumerate(zip(["a", "b c", "d", "e"], paths, strict=True))
    ]
    story = Telling("s", "free", "dense", pairs[0], tuple(pairs[1:]), ())
    clip = Clip(save_clip(tmp_path / "clip"))
    extract = by_images(clip.pictures, detokenizer_square(load_config("tiny").model.detokenizer))
    found = alignment_of([story], unit_length(features_of([story], extract)), clip.texts)
    picture = clip.pictures([Image.open(paths[2]).convert("RGB")])[0]
    assert found["clip_t"]["s"][1] == (2, pytest.approx(float(picture @ clip.texts(["d"])[0][0]), abs=1e-2))
    assert all(len(values["s"]) == 3 for values in found.values())
