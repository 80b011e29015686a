"""The baseline's stories: another system's texts, pictures of their own, made again in no case."""

import shutil

import pytest
import torch
from fabricated_run import fabricate
from PIL import Image

from evaluation.long_stories import tell_stories
from evaluation.pictures import read_tellings
from evaluation.systems import CAPTIONS_ALONE, systems_of, texts_policy
from evaluation.telling.captions_alone import load_illustrator
from story_model.build import build_autoencoder, build_captions_diffusion, build_llama
from story_model.checkpoint import save_weights
from story_model.config import RunConfig, load_config, override_config
from story_model.dataset import read_stories
from story_model.manifest import MANIFEST
from story_model.painting import Painter
from story_model.parts import load_tokenizer, tokenizer_path, weights_path
from story_model.pixels import detokenizer_square
from story_model.schema import ToldStory
from story_model.tokens import train_tokenizer
from story_model.workspace import RunFolder

SMALL = (
    "tell.policies=[dense,multimodal_sink]",
    "tell.sampler={steps: 2, guidance: 2.0, batch_size: 4}",
    "train.threads=1",
    "evaluate.reconstruction=false",
    "model.mllm.language_model={vocab_size: 300, hidden_size: 32, intermediate_size: 48, layers: 2}",
    "model.image_encoder.output_dim=32",
    "model.mllm.num_image_tokens=4",
    "model.detokenizer.unet_channels=[16, 32]",
    "model.detokenizer.unet_heads=[2, 2]",
    "train.baseline={steps: 1, batch_size: 1, rank: 2, max_words: 12}",
)


@pytest.fixture(scope="module")
def untold(tmp_path_factory) -> tuple[RunFolder, RunConfig]:
    """A run with told stories, and a baseline that was never trained."""
    made = fabricate(tmp_path_factory.mktemp("workspace") / "demo", overrides=SMALL)
    run, model = made.run, made.config.model
    for mode in made.config.tell.modes:
        shutil.rmtree(run.told_dir(mode, CAPTIONS_ALONE))
    torch.manual_seed(0)
    for part in ("tokenizer", "autoencoder", "language_model", "baseline"):
        run.part_dir(part).mkdir(parents=True, exist_ok=True)
    captions = [caption for story in read_stories(run.dataset_dir, "train") for caption in story.captions]
    train_tokenizer(captions, vocab_size=300, num_image_tokens=4).save(str(tokenizer_path(run)))
    autoencoder = build_autoencoder(model.detokenizer)
    autoencoder.fit(torch.rand(8, 3, 32, 32) * 2 - 1)
    save_weights(autoencoder, weights_path(run, "autoencoder"))
    save_weights(build_llama(model, load_tokenizer(run, model)), weights_path(run, "language_model"))
    save_weights(build_captions_diffusion(model, made.config.train.baseline), weights_path(run, "baseline"))
    return run, made.config


@pytest.fixture
def run(untold, tmp_path) -> tuple[RunFolder, RunConfig]:
    shutil.copytree(untold[0].root, tmp_path / "demo")
    return RunFolder(tmp_path / "demo"), untold[1]


def illustrate(run: RunFolder, config: RunConfig, mode: str = "free") -> dict[str, bytes]:
    out_dir = run.told_dir(mode, CAPTIONS_ALONE)
    out_dir.mkdir(exist_ok=True)
    load_illustrator(run, config).illustrate(run.told_dir(mode, texts_policy(config)), out_dir)
    return {path.relative_to(out_dir).as_posix(): path.read_bytes() for path in sorted(out_dir.glob("*/*"))}


def told(run: RunFolder, mode: str, policy: str) -> list[ToldStory]:
    return [
        ToldStory.model_validate_json(path.read_bytes())
        for path in sorted(run.told_dir(mode, policy).glob("*/story.json"))
    ]


def test_texts_and_openings_are_the_headline_policy_s_and_pictures_are_not(run) -> None:
    ours, config = illustrate(*run), run[1]
    stories = told(run[0], "free", CAPTIONS_ALONE)
    theirs = told(run[0], "free", config.evaluate.headline_policy)
    assert [[one.text for one in story.segments] for story in stories] == [
        [one.text for one in story.segments] for story in theirs
    ]
    folder = run[0].told_dir("free", config.evaluate.headline_policy)
    for name, content in ours.items():
        if name.endswith(".png"):
            assert (content == (folder / name).read_bytes()) == name.endswith("00.png")


def test_they_are_read_as_another_system_s_stories_are(run) -> None:
    illustrate(*run)
    folder, config = run
    square = detokenizer_square(config.model.detokenizer)
    tellings = read_tellings(
        folder.told_dir("free", CAPTIONS_ALONE), read_stories(folder.dataset_dir, "validation"), square
    )
    assert {one.system for one in tellings} == {f"free-{CAPTIONS_ALONE}"}
    # The fabricated stories' last segment has no picture: nothing is painted where there was none.
    assert [(len(one.told), len(one.pictured)) for one in tellings] == [(10, 9)] * 3


def test_a_killed_attempt_is_gone_on_from_with_equal_pictures(run, tmp_path, monkeypatch) -> None:
    whole = illustrate(*run)
    folder, config = run
    shutil.rmtree(folder.told_dir("free", CAPTIONS_ALONE))
    paint, calls = Painter.paint_batch, []

    def die_at_the_third(painter, states, seeds):
        calls.append(len(seeds))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return paint(painter, states, seeds)

    monkeypatch.setattr(Painter, "paint_batch", die_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        illustrate(folder, config)
    assert illustrate(folder, config) == whole
    assert len(calls) == 3 + -(-27 // 4) - 2


def test_each_picture_is_of_its_own_caption_alone(run) -> None:
    """Another text before it does not change a picture; its own does."""
    before = illustrate(*run)
    folder, config = run
    shutil.rmtree(folder.told_dir("free", CAPTIONS_ALONE))
    path = next(folder.told_dir("free", config.evaluate.headline_policy).glob("*/story.json"))
    story = ToldStory.model_validate_json(path.read_bytes())
    story.segments[3].text = "Cy waves at the sea."
    path.write_text(story.model_dump_json())
    after = illustrate(folder, config)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {f"{path.parent.name}/03.png", f"{path.parent.name}/story.json"}


def test_pictures_in_their_source_s_shape_come_with_stretched_openings(run) -> None:
    folder, config = run
    texts_dir = folder.told_dir("free", config.evaluate.headline_policy)
    for story in texts_dir.glob("e*"):
        Image.new("RGB", (113, 64)).save(story / "00-stretched.png")
    ours = illustrate(folder, config)
    stretched = [name for name in ours if name.endswith("-stretched.png")]
    assert len(stretched) == 3 * 10
    for name in stretched:
        with Image.open(folder.told_dir("free", CAPTIONS_ALONE) / name) as picture:
            assert picture.size == (113, 64)


def test_the_step_is_done_once_in_each_mode_and_anew_with_other_weights(run, monkeypatch) -> None:
    folder, config = run
    monkeypatch.setattr("evaluation.long_stories._tell_by_policies", lambda *_: [])
    assert [one.reused for one in tell_stories(folder, config)] == [False, False]
    assert [one.reused for one in tell_stories(folder, config)] == [True, True]
    assert all((folder.told_dir(mode, CAPTIONS_ALONE) / MANIFEST).is_file() for mode in config.tell.modes)
    torch.manual_seed(1)
    save_weights(build_captions_diffusion(config.model, config.train.baseline), weights_path(folder, "baseline"))
    assert [one.reused for one in tell_stories(folder, config)] == [False, False]


def test_without_a_baseline_there_is_no_such_system() -> None:
    config = load_config("tiny", ["tell.policies=[dense]", "evaluate.reconstruction=false"])
    assert systems_of(config) == [
        ("captions_given", "dense"),
        ("captions_given", CAPTIONS_ALONE),
        ("free", "dense"),
        ("free", CAPTIONS_ALONE),
    ]
    assert texts_policy(config) == "dense"
    assert systems_of(override_config(config, ["train.baseline=null"])) == [
        ("captions_given", "dense"),
        ("free", "dense"),
    ]
