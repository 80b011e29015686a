import numpy as np
import pytest
import torch
from fabricated_run import WORLD, paint
from PIL import Image

from evaluation.measures import probe
from evaluation.measures.probe import ProbeConfig, fit, load_probe, train_probe
from evaluation.pictures import MEASURED_SIDE
from story_model.dataset import read_stories
from story_model.pixels import Square, decode_square, to_image

SIZE = (MEASURED_SIDE, MEASURED_SIDE)
SQUASH = Square(MEASURED_SIDE, "squash")
CROP = Square(MEASURED_SIDE, "crop", Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def examples():
    labels = [(who, where) for who in range(3) for where in range(2) for _ in range(8)]
    pictures = [
        paint(WORLD.characters[who], WORLD.places[where], number, SIZE) for number, (who, where) in enumerate(labels)
    ]
    return np.stack(pictures), np.array(labels)


def test_equal_seeds_give_equal_weights(examples):
    first, second = (fit(*examples, WORLD, steps=3, seed=1).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_leaves_the_callers_random_state_alone(examples):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    fit(*examples, WORLD, steps=1, seed=9)
    assert torch.rand(1) == expected


@pytest.fixture(scope="module")
def trained(make_run):
    made = make_run()
    return made, train_probe(made.run, ProbeConfig(steps=60, seed=0, square=SQUASH))


def test_it_learns_who_and_where(trained):
    metrics = trained[1].metrics
    assert min(metrics["probe_character_accuracy"], metrics["probe_place_accuracy"]) > 0.9


def test_it_reads_soft_pictures_from_its_file(trained):
    reader = load_probe(trained[0].run.probe_dir, WORLD)
    soft = np.stack([np.asarray(paint(who, "sea", 5, (16, 16)).resize(SIZE)) for who in WORLD.characters])
    assert reader.probabilities(soft)[0].argmax(1).tolist() == [0, 1, 2]


def test_title_frames_are_not_learnt_from(trained):
    assert trained[1].counts == {"train_keyframes": 48, "validation_keyframes": 36}


def test_it_learns_from_keyframes_that_are_square_as_told_pictures_are(make_run, monkeypatch):
    learnt = []

    def noted(pictures, *rest, **settings):
        learnt.append(pictures)
        return fit(pictures, *rest, **settings)

    monkeypatch.setattr(probe, "fit", noted)
    made = make_run()
    train_probe(made.run, ProbeConfig(steps=1, seed=0, square=CROP))
    first = read_stories(made.run.dataset_dir, "train")[0].images[0]
    assert (learnt[0][0] == to_image(decode_square(first, CROP).pixels)).all()


def test_without_truth_there_is_nothing_to_learn_from(make_run):
    made = make_run(with_truth=False)
    with pytest.raises(ValueError, match="does not exist"):
        train_probe(made.run, ProbeConfig(steps=1, seed=0, square=SQUASH))
