"""A run's pictures of both kinds, measured: the dataset's are square as the de-tokenizer's are."""

import pytest
from fabricated_run import Fabricated

from evaluation.report import evaluate
from story_model.config import override_config
from story_model.dataset import read_stories
from story_model.pixels import decode_square, detokenizer_square, to_image
from story_model.schema import ToldStory

SHORT = ("tell.policies=[multimodal_sink]", "tell.modes=[captions_given]", "evaluate.bootstrap=0")


def retell(made: Fabricated) -> None:
    """Put the dataset's own pictures, as a faultless de-tokenizer would paint them, in the place of the told ones."""
    square = detokenizer_square(made.config.model.detokenizer)
    stories = {story.story_id: story for story in read_stories(made.run.dataset_dir, "validation")}
    for path in made.run.root.glob("stories/*/*/story.json"):
        told = ToldStory.model_validate_json(path.read_bytes())
        for segment in told.segments:
            picture = decode_square(stories[told.story_id].images[segment.index], square).pixels
            to_image(picture).save(path.parent / f"{segment.index:02d}.png")


@pytest.mark.parametrize("transform", ["squash", "crop"])
def test_a_faultless_painter_has_no_distance_from_the_dataset(make_run, transform):
    made = make_run(with_truth=False, overrides=(*SHORT, f"model.detokenizer.transform={transform}"))
    retell(made)
    metrics = evaluate(made.run, made.config, made.settings).metrics
    assert metrics["frechet_random_features"] == pytest.approx(0, abs=1e-3)
    assert metrics["dataset/frechet_random_features"] > 0.1


def test_another_square_is_measured_anew(make_run):
    made = make_run(with_truth=False, overrides=(*SHORT, "model.detokenizer.transform=crop"))
    retell(made)
    evaluate(made.run, made.config, made.settings)
    squashed = override_config(made.config, ["model.detokenizer.transform=squash"])
    manifest = evaluate(made.run, squashed, made.settings)
    assert not manifest.reused
    assert manifest.metrics["frechet_random_features"] > 1
