"""The step that tells: each system once, readable by what judges it, equal after a kill."""

import errno
import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fabricated_run import fabricate
from PIL import Image

from evaluation import long_stories
from evaluation.long_stories import tell_stories
from evaluation.pictures import read_tellings
from evaluation.telling import journal, storyteller
from evaluation.telling.journal import Journal
from evaluation.telling.openings import start_of
from story_model.build import build_autoencoder, build_detokenizer, build_image_encoder, build_llama, build_mllm
from story_model.checkpoint import save_weights
from story_model.config import RunConfig, load_config, override_config, save_config
from story_model.dataset import read_stories
from story_model.generate import Teller
from story_model.kv_cache import StoryCache
from story_model.manifest import read_manifest
from story_model.painting import Painter
from story_model.parts import load_image_encoder, load_tokenizer, tokenizer_path, weights_path
from story_model.pixels import Square, decode_square, detokenizer_square, normalised, to_image
from story_model.schema import ToldStory
from story_model.tokens import train_tokenizer
from story_model.workspace import RunFolder

SMALL = (
    "tell.modes=[captions_given,free]",
    "tell.policies=[dense,multimodal_sink]",
    "tell.stories=2",
    "tell.segments=5",
    "tell.max_text_tokens=6",
    "tell.temperature=1.0",
    "tell.cache={window_segments: 2, image_edge_tokens: 1}",
    "tell.sampler={steps: 2, guidance: 2.0, batch_size: 4}",
    "train.threads=1",
    "evaluate.reconstruction=false",
    "train.baseline=null",
    "model.image_encoder={image_size: 32, width: 32, layers: 1, num_queries: 4, output_dim: 32}",
    "model.mllm.language_model={vocab_size: 300, hidden_size: 32, intermediate_size: 48, layers: 2}",
    "model.mllm.num_image_tokens=4",
    "model.detokenizer.picture_size=32",
    "model.detokenizer.unet_channels=[16, 32]",
    "model.detokenizer.unet_heads=[2, 2]",
    "model.detokenizer.unet_transformer_layers=[1, 1]",
)
SYSTEMS = ["captions_given-dense", "captions_given-multimodal_sink", "free-dense", "free-multimodal_sink"]


class Killed(BaseException):
    """What a signal would raise."""


@pytest.fixture(scope="module")
def untold(tmp_path_factory) -> tuple[RunFolder, RunConfig]:
    """A run with a dataset and untrained networks."""
    made = fabricate(tmp_path_factory.mktemp("workspace") / "demo", overrides=SMALL)
    shutil.rmtree(made.run.root / "stories")
    torch.manual_seed(0)
    captions = [caption for story in read_stories(made.run.dataset_dir, "train") for caption in story.captions]
    model = made.config.model
    for part in ("tokenizer", "image_encoder", "autoencoder", "stage2", "stage3"):
        made.run.part_dir(part).mkdir(parents=True, exist_ok=True)
    train_tokenizer(captions, vocab_size=300, num_image_tokens=4).save(str(tokenizer_path(made.run)))
    autoencoder = build_autoencoder(model.detokenizer)
    autoencoder.fit(torch.rand(8, 3, 32, 32) * 2 - 1)
    mllm = build_mllm(model, build_llama(model, load_tokenizer(made.run, model)))
    save_weights(build_image_encoder(model.image_encoder), weights_path(made.run, "image_encoder"))
    save_weights(autoencoder, weights_path(made.run, "autoencoder"))
    save_weights(mllm, weights_path(made.run, "stage2"))
    save_weights(build_detokenizer(model), weights_path(made.run, "stage3"))
    return made.run, made.config


@pytest.fixture(scope="module")
def told(untold) -> tuple[RunFolder, RunConfig]:
    """The same run, told."""
    tell_stories(*untold)
    return untold


@pytest.fixture
def fresh(untold, tmp_path) -> tuple[RunFolder, RunConfig]:
    """A copy of the run that nothing was told in, with one system to tell."""
    run, config = untold
    shutil.copytree(run.root, tmp_path / "demo")
    shutil.rmtree(tmp_path / "demo" / "stories", ignore_errors=True)
    return RunFolder(tmp_path / "demo"), override_config(config, ["tell.modes=[free]", "tell.policies=[dense]"])


def stories_of(run: RunFolder, system: str) -> list[ToldStory]:
    paths = sorted(run.told_dir(*system.rsplit("-", 1)).glob("*/story.json"))
    return [ToldStory.model_validate_json(path.read_bytes()) for path in paths]


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_is_told_in_a_form_that_is_judged(told, system) -> None:
    run, config = told
    square = detokenizer_square(config.model.detokenizer)
    tellings = read_tellings(run.told_dir(*system.rsplit("-", 1)), read_stories(run.dataset_dir, "validation"), square)
    assert [one.system for one in tellings] == [system] * 2
    assert [len(one.pictured) for one in tellings] == [5, 5]


def test_stories_continue_the_first_validation_openings(told) -> None:
    run, _ = told
    openings = [(story.story_id, story.captions[0]) for story in read_stories(run.dataset_dir, "validation")[:2]]
    assert [(one.story_id, one.segments[0].text) for one in stories_of(run, "free-dense")] == openings


def test_an_opening_is_seen_by_the_encoder_s_square_and_shown_by_the_de_tokenizer_s(fresh) -> None:
    run, config = fresh
    config = override_config(config, ["model.detokenizer.transform=crop", "tell.stories=1", "tell.segments=1"])
    picture = read_stories(run.dataset_dir, "validation")[0].images[0]
    seen = decode_square(picture, Square(32, "squash")).pixels
    shown = decode_square(picture, Square(32, "crop", Image.Resampling.BICUBIC)).pixels
    encoder = load_image_encoder(run, config.model)
    (start,) = storyteller.load_storyteller(run, config).starts
    torch.testing.assert_close(start.opening.features, encoder(normalised(seen)[None])[0])
    tell_stories(run, config)
    (path,) = run.told_dir("free", "dense").glob("*/00.png")
    with Image.open(path) as opening:
        assert opening.tobytes() == to_image(shown).tobytes() != to_image(seen).tobytes()


def test_pictures_in_their_source_s_shape_are_written_beside_the_measured_squares(told, fresh) -> None:
    run, config = fresh
    tell_stories(run, override_config(config, ["tell.sampler.aspect=source"]))
    with Image.open(io.BytesIO(read_stories(run.dataset_dir, "validation")[0].images[0])) as source:
        shape = (int(32 * source.width / source.height), 32)
    squares = {path.relative_to(told[0].root): path for path in told[0].told_dir("free", "dense").glob("*/??.png")}
    assert len(squares) == 2 * 6
    for name, square in squares.items():
        assert (run.root / name).read_bytes() == square.read_bytes()
        with Image.open(run.root / name.with_name(f"{name.stem}-stretched.png")) as stretched:
            assert stretched.size == shape != (32, 32)


def test_given_captions_are_the_dataset_s(told) -> None:
    run, _ = told
    story = read_stories(run.dataset_dir, "validation")[0]
    texts = [segment.text for segment in stories_of(run, "captions_given-dense")[0].segments]
    assert tuple(texts) == story.captions[:6]


def test_a_captioned_story_ends_when_its_captions_do(fresh) -> None:
    run, config = fresh
    tell_stories(run, override_config(config, ["tell.modes=[captions_given]", "tell.segments=25"]))
    assert [len(one.segments) for one in stories_of(run, "captions_given-dense")] == [12, 12]


def test_the_manifest_counts_what_telling_cost(told) -> None:
    run, _ = told
    counts = read_manifest(run.told_dir("captions_given", "dense")).counts
    tokens = sum(segment.tokens for one in stories_of(run, "captions_given-dense") for segment in one.segments)
    assert counts == {
        "stories": 2,
        "segments": 10,
        "pictures": 10,
        "forward_passes": 10,
        "tokens_prefilled": tokens,
        "tokens_decoded": 0,
    }


def test_forgetting_keeps_the_cache_smaller(told) -> None:
    run, _ = told
    dense, sink = ([one.segments[-1].cache_tokens for one in stories_of(run, system)] for system in SYSTEMS[:2])
    assert all(small < large for small, large in zip(sink, dense, strict=True))


def test_a_second_run_recomputes_nothing(told) -> None:
    assert all(manifest.reused for manifest in tell_stories(*told))


def test_a_finished_step_imports_no_heavy_library(told) -> None:
    run, _ = told
    code = "import sys; from evaluation import long_stories; long_stories.main(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(run.root)], check=True, timeout=60, capture_output=True)


def test_a_further_policy_tells_its_own_stories_only(fresh) -> None:
    run, config = fresh
    tell_stories(run, config)
    more = tell_stories(run, override_config(config, ["tell.policies=[dense,window]"]))
    assert [manifest.reused for manifest in more] == [True, False]


def after(calls: int, function: Callable[..., object]) -> Callable[..., object]:
    """Let a function be called some times, then kill."""
    left = calls

    def counted(*args: object) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return function(*args)

    return counted


@pytest.mark.parametrize(
    ("where", "name", "calls"),
    [
        (Teller, "_tell_pair", 0),
        (Teller, "_tell_pair", 3),
        (Journal, "append", 3),
        (journal, "write_atomically", 3),
        (journal, "save_file", 3),
        (Painter, "paint_batch", 1),
        (storyteller, "save_png", 6),
        (storyteller, "_remove", 0),
    ],
    ids=[
        "before a segment",
        "inside a batch",
        "a segment told but not kept",
        "a segment's state kept but not its words",
        "before a state is kept",
        "between pictures",
        "inside a batch of pictures",
        "at the end",
    ],
)
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_killed_run_goes_on_to_the_same_stories(told, fresh, monkeypatch, where, name, calls, system) -> None:
    run, config = fresh
    mode, policy = system.rsplit("-", 1)
    config = override_config(config, [f"tell.modes=[{mode}]", f"tell.policies=[{policy}]"])
    with monkeypatch.context() as patch:
        patch.setattr(where, name, after(calls, getattr(where, name)))
        with pytest.raises(Killed):
            tell_stories(run, config)
    assert read_manifest(run.told_dir(mode, policy)) is None
    (resumed,) = tell_stories(run, config)
    straight = read_manifest(told[0].told_dir(mode, policy))
    assert (resumed.files, resumed.counts) == (straight.files, straight.counts)


def test_a_resumed_run_tells_no_segment_again(fresh, monkeypatch) -> None:
    run, config = fresh
    with monkeypatch.context() as patch:
        patch.setattr(Teller, "_tell_pair", after(3, Teller._tell_pair))
        with pytest.raises(Killed):
            tell_stories(run, config)
    monkeypatch.setattr(Teller, "_tell_pair", after(2, Teller._tell_pair))
    tell_stories(run, config)


def test_a_resumed_run_paints_no_picture_again(fresh, monkeypatch) -> None:
    run, config = fresh
    with monkeypatch.context() as patch:
        patch.setattr(Painter, "paint_batch", after(1, Painter.paint_batch))
        with pytest.raises(Killed):
            tell_stories(run, config)
    assert len(list(run.told_dir("free", "dense").glob("*/*.png"))) == 4
    monkeypatch.setattr(Painter, "paint_batch", after(2, Painter.paint_batch))
    tell_stories(run, config)


def test_stories_of_a_batch_share_their_passes(fresh, monkeypatch) -> None:
    run, config = fresh
    monkeypatch.setattr(Teller, "_tell_pair", after(5, Teller._tell_pair))
    tell_stories(run, override_config(config, ["tell.batch_size=2"]))
    with pytest.raises(Killed):
        tell_stories(run, override_config(config, ["tell.batch_size=1"]))


def test_batches_of_stories_of_any_length_are_told_and_resumed(fresh, monkeypatch) -> None:
    run, config = fresh
    shorten(run, {0: 3, 1: 6})
    config = override_config(config, ["tell.modes=[captions_given]", "tell.stories=3", "tell.batch_size=2"])
    (straight,) = tell_stories(run, config)
    assert [len(one.segments) for one in stories_of(run, "captions_given-dense")] == [3, 6, 6]
    for calls in (1, 2, 4, 6, 9):
        shutil.rmtree(run.told_dir("captions_given", "dense"))
        with monkeypatch.context() as patch:
            patch.setattr(Teller, "_tell_pair", after(calls, Teller._tell_pair))
            with pytest.raises(Killed):
                tell_stories(run, config)
        (resumed,) = tell_stories(run, config)
        assert (resumed.files, resumed.counts) == (straight.files, straight.counts)


def shorten(run: RunFolder, lengths: dict[int, int]) -> None:
    """Let some validation stories have fewer pairs."""
    path = run.dataset_dir / "data" / "stories" / "validation-00000-of-00001.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    for number, length in lengths.items():
        rows[number] |= {name: value[:length] for name, value in rows[number].items() if isinstance(value, list)}
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path, write_page_checksum=True)
    (run.dataset_dir / "manifest.json").unlink()


def test_hidden_states_that_are_not_finite_are_told_of_and_gone_on_from(told, fresh, monkeypatch) -> None:
    run, config = fresh
    read = StoryCache.read
    calls = 0

    def broken(self: StoryCache, embeds_ASD: torch.Tensor, counts: list[int]) -> torch.Tensor:  # noqa: N803
        nonlocal calls
        calls += 1
        hidden = read(self, embeds_ASD, counts)
        return hidden.index_fill(0, torch.tensor([1]), torch.nan) if calls == 3 else hidden

    config = override_config(config, ["tell.modes=[captions_given]"])
    with monkeypatch.context() as patch:
        patch.setattr(StoryCache, "read", broken)
        with pytest.raises(ValueError, match=r"story e5/0, segment 3: .* not finite"):
            tell_stories(run, config)
    monkeypatch.setattr(Teller, "_tell_pair", after(3, Teller._tell_pair))
    (resumed,) = tell_stories(run, config)
    assert resumed.digest == read_manifest(told[0].told_dir("captions_given", "dense")).digest


def test_pictures_on_which_policies_agree_are_painted_once(fresh, monkeypatch) -> None:
    run, config = fresh
    monkeypatch.setattr(Painter, "paint_batch", after(5, Painter.paint_batch))
    # Three batches each, two of which differ.
    tell_stories(run, override_config(config, ["tell.policies=[dense,window]"]))


def test_a_story_s_name_cannot_leave_its_folder(untold) -> None:
    run, config = untold
    story = replace(read_stories(run.dataset_dir, "validation")[0], story_id="../../evil/..\\0")
    start = start_of(3, story, build_image_encoder(config.model.image_encoder), config)
    assert Path(start.folder).name == start.folder == "03-------evil----0"


def test_without_a_trained_part_it_says_which_is_missing(fresh) -> None:
    run, config = fresh
    shutil.rmtree(run.part_dir("stage3"))
    with pytest.raises(ValueError, match="stage3"):
        tell_stories(run, config)


def test_a_full_disk_is_told_in_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "00.png")

    save_config(load_config("tiny"), RunFolder(tmp_path).config_path)
    monkeypatch.setattr("evaluation.long_stories.tell_stories", full)
    monkeypatch.setattr("sys.argv", ["long_stories", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        long_stories.main()
    assert "No space left on device" in str(ended.value)
    assert "\n" not in str(ended.value)
