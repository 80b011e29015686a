import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from small_clip import save_clip
from tellings import still

from evaluation.distances.random_features import RandomFeatures, extract
from evaluation.measures.alignment import alignment_of
from evaluation.measures.cartoon_world import agreement_values
from evaluation.measures.catalog import AGAINST_THE_DATASET, CATALOG, in_reading_order
from evaluation.measures.characters import character_values, figures_of_texts
from evaluation.measures.clip import Clip
from evaluation.measures.copies import Gallery, copies_of, copies_of_training, training_likeness
from evaluation.measures.diversity import diversity_of
from evaluation.measures.entities import entity_values, naming_values
from evaluation.measures.features import base_of, by_images, by_pixels, features_of, standard, standardised, unit_length
from evaluation.measures.likeness import likeness_of
from evaluation.measures.style import channel_statistics, colours_of, style_of
from evaluation.measures.summary import summarise_all
from evaluation.measures.wording import text_values
from evaluation.pictures import Pair, Telling
from story_model.config import load_config
from story_model.pixels import detokenizer_square
from story_model.schema import TrueWorld

SQUARE = detokenizer_square(load_config("tiny").model.detokenizer)
WORLD = TrueWorld(characters=["Ada", "Bo"], places=["hill"], actions=["waves"])
TEXTS = ["Ada waves on the hill", "Bo waves", "then Ada and Bo rest", "Ada waves again", "Bo waves"]


def drawn(folder, name, pairs):
    """Make pairs of text and picture; none where the number is none."""
    made = []
    for index, (text, number) in enumerate(pairs):
        if number is None:
            made.append(Pair(index, text, None, None))
            continue
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        path = folder / f"{name}-{index}.png"
        Image.fromarray(pixels).resize((SQUARE.side, SQUARE.side)).save(path)
        made.append(Pair(index, text, path, pixels))
    return tuple(made)


def stories(folder, number=3):
    found = []
    for story in range(number):
        seeds = [10 * story, 1, None, 10 * story, 10 * story + 3]
        told = drawn(folder, f"t{story}", zip(TEXTS, seeds, strict=True))
        true = drawn(folder, f"d{story}", zip(TEXTS[:4], range(90 + 10 * story, 94 + 10 * story), strict=True))
        found.append(Telling(f"s{story}", "free", "dense", true[0], told[1:], true[1:]))
    return found


def nonsense(images):
    return np.stack([np.asarray(image.resize((2, 2)), dtype=np.float64).ravel() for image in images])


def in_network(tellings, rows, prefix, character):
    figures = {
        one.story_id: figures_of_texts(one, row, WORLD.characters) for one, row in zip(tellings, rows, strict=True)
    }
    return likeness_of(rows, prefix) | diversity_of(rows, prefix) | character_values(figures, character)


def everything(tellings, clip):
    """Take every measure that there is."""
    network = RandomFeatures()
    raw = features_of(tellings, by_pixels(lambda pixels: extract(pixels, network)))
    styles = features_of(tellings, by_pixels(lambda pixels: channel_statistics(pixels, network)))
    seen, clipped = (
        standardised(raw, base_of(raw)),
        unit_length(features_of(tellings, by_images(clip.pictures, SQUARE))),
    )
    dino = unit_length(features_of(tellings, by_images(nonsense, SQUARE)))
    keyframes = np.stack([still(value) for value in (0, 60, 200)])
    return {
        **in_network(tellings, seen, "similarity", "character"),
        **in_network(tellings, clipped, "clip_i", "clip_character"),
        **in_network(tellings, dino, "dino_i", "dino_character"),
        **alignment_of(tellings, clipped, clip.texts),
        **style_of(standardised(styles, base_of(styles))),
        **colours_of(tellings),
        **copies_of(tellings),
        **copies_of_training(tellings, Gallery(keyframes)),
        **training_likeness(seen, standard(base_of(raw))(extract(keyframes, network))),
        **text_values(tellings),
        **entity_values(tellings),
        **naming_values(tellings, {"character": WORLD.characters, "place": WORLD.places}),
        **agreement_values({}),
    }


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return Clip(save_clip(tmp_path_factory.mktemp("clip")))


def test_every_measure_is_in_the_catalogue_and_every_entry_is_measured(clip, tmp_path):
    assert set(everything(stories(tmp_path), clip)) == {measure.name for measure in CATALOG}


def test_all_that_is_held_against_the_dataset_is_the_same_for_the_dataset_itself(clip, tmp_path):
    own = [replace(one, told=one.reference) for one in stories(tmp_path)]
    found = summarise_all(everything(own, clip), resamples=0, seed=0)
    fixed = {name for name in AGAINST_THE_DATASET if found[name].value.value == pytest.approx(1)}
    assert fixed == AGAINST_THE_DATASET
    assert found["similarity_within"].value.value != pytest.approx(1)


def test_names_are_used_once_and_fit_tables():
    names = [measure.name for measure in CATALOG]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and name.replace("_", "").isalnum() for name in names)
    assert all(measure.meaning.endswith(".") for measure in CATALOG)


@pytest.mark.parametrize("number", [1, 3])
def test_all_is_numbers_and_the_same_each_time(clip, tmp_path, number):
    told = stories(tmp_path, number)
    first = summarise_all(everything(told, clip), resamples=20, seed=0)
    again = summarise_all(everything(told, clip), resamples=20, seed=0)
    assert first == again
    for summary in first.values():
        json.dumps(summary.model_dump(mode="json"), allow_nan=False)


@pytest.mark.parametrize("seeds", [(5,), (None,)])
def test_one_story_of_one_segment_is_measured_without_nan(clip, tmp_path, seeds):
    opening, *told = drawn(tmp_path, "x", zip(TEXTS, (1, *seeds), strict=False))
    found = everything([Telling("s", "free", "dense", opening, tuple(told), ())], clip)
    for name, summary in summarise_all(found, resamples=20, seed=0).items():
        assert summary.value is None or np.isfinite(summary.value.value), name
    assert found["similarity_across"] == {"s": []}


def test_measures_are_listed_in_reading_order():
    names = ["text_words", "similarity_within", "character_agrees"]
    assert [measure.name for measure in in_reading_order(names)] == names[::-1]


def test_an_unknown_measure_is_named():
    with pytest.raises(KeyError, match="nonsense"):
        in_reading_order(["text_words", "nonsense"])
