"""The ceiling: the dataset's own pictures through encoder and de-tokenizer, with no word of the language model."""

import shutil

import pytest
import torch
from fabricated_run import fabricate

from evaluation.long_stories import tell_stories
from evaluation.pictures import read_tellings
from evaluation.systems import RECONSTRUCTION, kind_of, systems_of
from evaluation.telling.reconstruction import load_rebuilder
from story_model.build import build_autoencoder, build_detokenizer, build_image_encoder
from story_model.checkpoint import save_weights
from story_model.config import RunConfig, override_config
from story_model.dataset import read_stories
from story_model.painting import Painter
from story_model.parts import weights_path
from story_model.pixels import decode_square, detokenizer_square, encoder_square, normalised
from story_model.workspace import RunFolder

SMALL = (
    "tell.modes=[captions_given]",
    "tell.policies=[multimodal_sink]",
    "tell.stories=2",
    "tell.segments=20",
    "tell.sampler={steps: 2, guidance: 1.0, batch_size: 4}",
    "train.threads=1",
    "train.baseline=null",
    "model.image_encoder={image_size: 32, width: 32, layers: 1, num_queries: 4, output_dim: 32}",
    "model.mllm.num_image_tokens=4",
    "model.detokenizer.picture_size=32",
    "model.detokenizer.unet_channels=[16, 32]",
    "model.detokenizer.unet_heads=[2, 2]",
    "model.detokenizer.unet_transformer_layers=[1, 1]",
)


@pytest.fixture(scope="module")
def unbuilt(tmp_path_factory) -> tuple[RunFolder, RunConfig]:
    """A run whose stories are told, with an encoder and a painter alone."""
    made = fabricate(tmp_path_factory.mktemp("workspace") / "demo", overrides=SMALL)
    run, model = made.run, made.config.model
    shutil.rmtree(run.told_dir("captions_given", RECONSTRUCTION))
    torch.manual_seed(0)
    for part in ("image_encoder", "autoencoder", "stage3"):
        run.part_dir(part).mkdir(parents=True, exist_ok=True)
    autoencoder = build_autoencoder(model.detokenizer)
    autoencoder.fit(torch.rand(8, 3, 32, 32) * 2 - 1)
    save_weights(autoencoder, weights_path(run, "autoencoder"))
    save_weights(build_image_encoder(model.image_encoder), weights_path(run, "image_encoder"))
    save_weights(build_detokenizer(model), weights_path(run, "stage3"))
    return run, made.config


@pytest.fixture
def run(unbuilt, tmp_path, monkeypatch) -> tuple[RunFolder, RunConfig]:
    shutil.copytree(unbuilt[0].root, tmp_path / "demo")
    monkeypatch.setattr("evaluation.long_stories._tell_by_policies", lambda run, config: [])
    return RunFolder(tmp_path / "demo"), unbuilt[1]


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def test_every_picture_after_the_opening_is_painted_and_read_as_a_system(run):
    folder, config = run
    (manifest,) = tell_stories(folder, config)
    stories = read_stories(folder.dataset_dir, "validation")
    square = detokenizer_square(config.model.detokenizer)
    tellings = read_tellings(folder.told_dir("captions_given", RECONSTRUCTION), stories, square)
    assert [len(one.told) for one in tellings] == [len(story.images) - 1 for story in stories[:2]]
    assert tuple(pair.text for pair in tellings[0].told) == tuple(stories[0].captions[1:])
    assert kind_of(tellings[0].policy) == "reconstruction"
    assert manifest.counts == {"stories": 2, "pictures": sum(len(one.told) for one in tellings)}
    assert tell_stories(folder, config)[0].reused


def test_a_picture_is_painted_from_its_own_features(run):
    folder, config = run
    rebuilder = load_rebuilder(folder, config)
    seen = []
    paint = rebuilder._painter.paint_batch
    rebuilder._painter.paint_batch = lambda features, seeds: seen.append(features) or paint(features, seeds)
    out_dir = folder.root / "out"
    for start in rebuilder._starts:
        (out_dir / start.folder).mkdir(parents=True)
    rebuilder.rebuild(out_dir)
    features = torch.cat(seen)
    assert len(torch.unique(features.flatten(1), dim=0)) > len(features) // 2
    square = encoder_square(config.model.image_encoder)
    first = decode_square(rebuilder._starts[0].story.images[1], square).pixels
    with torch.inference_mode():
        torch.testing.assert_close(features[:1], rebuilder._encoder(normalised(first)[None]))


def test_a_killed_one_goes_on_to_equal_pictures(run, monkeypatch):
    folder, config = run
    out_dir = folder.told_dir("captions_given", RECONSTRUCTION)
    paint, calls = Painter.paint_batch, []

    def killed(self, features, seeds):
        calls.append(len(seeds))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return paint(self, features, seeds)

    with monkeypatch.context() as patch:
        patch.setattr(Painter, "paint_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            tell_stories(folder, config)
    before = len(files_of(out_dir))
    assert before
    tell_stories(folder, config)
    resumed = files_of(out_dir)
    shutil.rmtree(out_dir)
    tell_stories(folder, config)
    assert files_of(out_dir) == resumed
    assert len(resumed) > before


def test_it_is_a_system_where_it_is_asked_for(run):
    config = run[1]
    assert ("captions_given", RECONSTRUCTION) in systems_of(config)
    without = override_config(config, ["evaluate.reconstruction=false"])
    assert ("captions_given", RECONSTRUCTION) not in systems_of(without)
