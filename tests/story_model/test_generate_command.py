"""The command that tells one story: from a picture and a sentence, through kills, into branches, or refused."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from torch import nn

from story_model import generate_command, single_story
from story_model.build import build_autoencoder, build_detokenizer, build_image_encoder, build_llama, build_mllm
from story_model.checkpoint import save_weights
from story_model.config import PROJECT_DIR, load_config, save_config
from story_model.generate import Teller
from story_model.generate_command import main, read_picture
from story_model.painting import Painter
from story_model.parts import load_tokenizer, tokenizer_path, weights_path
from story_model.schema import ToldStory
from story_model.tokens import train_tokenizer
from story_model.workspace import RunFolder

SMALL = (
    "tell.max_text_tokens=12",
    "tell.cache={window_segments: 2, image_edge_tokens: 1}",
    "tell.sampler={steps: 2, guidance: 2.0}",
    "train.threads=1",
    "model.image_encoder={image_size: 32, width: 32, layers: 1, num_queries: 4, output_dim: 32}",
    "model.mllm.language_model={vocab_size: 300, hidden_size: 32, intermediate_size: 48, layers: 2}",
    "model.mllm.num_image_tokens=4",
    "model.detokenizer.picture_size=32",
    "model.detokenizer.unet_channels=[16, 32]",
    "model.detokenizer.unet_heads=[2, 2]",
    "model.detokenizer.unet_transformer_layers=[1, 1]",
)
TEXTS = ["The fox waves.", "The fox sleeps at the sea.", "The owl sings.", "The owl and the fox read."]
SENTENCE = "The fox & the owl meet."
PARTS = ("tokenizer", "image_encoder", "autoencoder", "stage2", "stage3")


class Killed(BaseException):
    """What a signal would raise."""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    """A run with untrained networks, and nothing else."""
    run = RunFolder(tmp_path_factory.mktemp("workspace") / "demo")
    config = load_config("tiny", SMALL)
    save_config(config, run.config_path)
    model = config.model
    torch.manual_seed(0)
    for part in PARTS:
        run.part_dir(part).mkdir(parents=True)
    train_tokenizer([*TEXTS, SENTENCE], vocab_size=300, num_image_tokens=4).save(str(tokenizer_path(run)))
    autoencoder = build_autoencoder(model.detokenizer)
    autoencoder.fit(torch.rand(8, 3, 32, 32) * 2 - 1)
    mllm = build_mllm(model, build_llama(model, load_tokenizer(run, model)))
    for name, parameter in mllm.named_parameters():
        if "_proj." in name or "resampler" in name or "modules_to_save" in name:
            nn.init.normal_(parameter, std=0.2)  # fresh weights would say the same whatever they see
    save_weights(build_image_encoder(model.image_encoder), weights_path(run, "image_encoder"))
    save_weights(autoencoder, weights_path(run, "autoencoder"))
    save_weights(mllm, weights_path(run, "stage2"))
    save_weights(build_detokenizer(model), weights_path(run, "stage3"))
    return run


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    image = Image.new("RGB", (64, 36), "#90c8f0")
    ImageDraw.Draw(image).ellipse((20, 8, 44, 30), fill="#d02020")
    path = tmp_path_factory.mktemp("pictures") / "opening.png"
    image.save(path)
    return path


@pytest.fixture(scope="module")
def order(run, picture) -> Callable[..., list[str]]:
    """The command line for a story of four pairs in a folder, with further options."""

    def ordered(out_dir: Path, *options: str, text: str = SENTENCE) -> list[str]:
        drawn = ["--segments", "4", "--temperature", "1", "--seed", "3"]
        return [str(run.root), str(out_dir), "--image", str(picture), "--text", text, *drawn, *options]

    return ordered


@pytest.fixture(scope="module")
def told(order, tmp_path_factory) -> Path:
    out_dir = tmp_path_factory.mktemp("stories") / "told"
    assert main(order(out_dir)) == 0
    return out_dir


@pytest.fixture(scope="module")
def captioned(order, tmp_path_factory) -> Path:
    """A story whose texts were given."""
    folder = tmp_path_factory.mktemp("captioned")
    (folder / "captions.txt").write_text("\n".join(TEXTS))
    assert main(order(folder / "told", "--captions", str(folder / "captions.txt"))) == 0
    return folder / "told"


def story_of(folder: Path) -> ToldStory:
    return ToldStory.model_validate_json((folder / "story.json").read_bytes())


def texts_of(folder: Path) -> list[str]:
    return [segment.text for segment in story_of(folder).segments]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def refusal(caplog: pytest.LogCaptureFixture, arguments: list[str]) -> str:
    """What the command says when it refuses, which is one line."""
    caplog.clear()
    assert main(arguments) == 1
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "\n" not in record.getMessage()
    return record.getMessage()


def after(calls: int, function: Callable[..., object]) -> Callable[..., object]:
    """Let a function be called some times, then kill."""
    left = calls

    def counted(*args: object, **kwargs: object) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return function(*args, **kwargs)

    return counted


def test_a_story_is_told_from_a_picture_and_a_sentence(told) -> None:
    story = story_of(told)
    assert [segment.index for segment in story.segments] == [0, 1, 2, 3, 4]
    assert story.segments[0].text == SENTENCE
    assert (story.mode, story.policy) == ("free", "multimodal_sink")
    for segment in story.segments:
        with Image.open(told / segment.image) as image:
            assert image.size == (32, 32)
        assert load_file(told / f"{segment.index:02d}.safetensors")["features"].shape == (4, 32)


def test_a_told_story_leaves_no_memory_behind(told) -> None:
    hidden = {path.name for path in told.iterdir() if path.name.startswith(".")}
    assert hidden == {".lock"}


def test_the_page_shows_every_pair_and_needs_nothing_beside_it(told) -> None:
    page = (told / "strip.html").read_text()
    assert page.count('<img src="data:image/webp;base64,') == page.count("src=") == 5
    assert "The fox &amp; the owl meet." in page
    assert "aspect-ratio: 64 / 36" in page


def test_a_second_call_recomputes_nothing(told, order, monkeypatch) -> None:
    monkeypatch.setattr(generate_command, "load_networks", after(0, generate_command.load_networks))
    before = {path: path.stat().st_mtime_ns for path in told.iterdir() if path.name != ".lock"}
    assert main(order(told)) == 0
    assert {path: path.stat().st_mtime_ns for path in told.iterdir() if path.name != ".lock"} == before


@pytest.mark.parametrize(
    ("where", "name", "calls"),
    [
        (Teller, "_tell_pair", 2),
        (Painter, "paint_batch", 3),
        (single_story, "save_tensors", 0),
        (single_story, "save_tensors", 4),
        (single_story, "save_tensors", 7),
        (single_story, "write_model", 0),
        (single_story, "write_model", 3),
        (single_story, "write_atomically", 8),
    ],
)
def test_a_killed_story_goes_on_to_the_same_bytes(told, order, tmp_path, monkeypatch, where, name, calls) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(where, name, after(calls, getattr(where, name)))
        with pytest.raises(Killed):
            main(order(tmp_path / "story"))
    assert main(order(tmp_path / "story")) == 0
    assert files_of(tmp_path / "story") == files_of(told)


def test_a_resumed_story_tells_no_finished_pair_again(order, tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Teller, "_tell_pair", after(3, Teller._tell_pair))
        with pytest.raises(Killed):
            main(order(tmp_path / "story"))
    monkeypatch.setattr(Teller, "_tell_pair", after(1, Teller._tell_pair))
    monkeypatch.setattr(Painter, "paint_batch", after(1, Painter.paint_batch))
    assert main(order(tmp_path / "story")) == 0


def test_a_process_that_was_killed_goes_on_to_the_same_bytes(told, order, tmp_path) -> None:
    story = tmp_path / "story"
    command = [sys.executable, "-m", "story_model.generate", *order(story)]
    process = subprocess.Popen(command, cwd=PROJECT_DIR, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not (story / "01.safetensors").is_file() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (story / "01.safetensors").is_file()
    subprocess.run(command, cwd=PROJECT_DIR, check=True, stderr=subprocess.DEVNULL, timeout=120)
    assert files_of(story) == files_of(told)


def test_a_picture_that_was_deleted_is_painted_again(told, order, tmp_path) -> None:
    shutil.copytree(told, tmp_path / "story")
    (tmp_path / "story" / "00.png").unlink()
    (tmp_path / "story" / "02.png").unlink()
    assert main(order(tmp_path / "story")) == 0
    assert files_of(tmp_path / "story") == files_of(told)


@pytest.mark.parametrize(
    ("options", "differs"),
    [
        (["--seed", "4"], "seed"),
        (["--temperature", "0.5"], "temperature"),
        (["--segments", "5"], "texts"),
        (["--policy", "dense"], "policy"),
        (["--text", "The owl sings."], "text"),
    ],
)
def test_a_folder_of_another_story_is_refused(told, order, caplog, options, differs) -> None:
    before = files_of(told)
    assert f"differs in: {differs})" in refusal(caplog, order(told, *options))
    assert files_of(told) == before


@pytest.fixture(scope="module")
def half(run, order, tmp_path_factory) -> Callable[..., list[str]]:
    """Command lines for stories of the same networks, told in half precision."""
    root = tmp_path_factory.mktemp("half") / "run"
    shutil.copytree(run.root, root)
    save_config(load_config("tiny", [*SMALL, "tell.precision=bfloat16"]), RunFolder(root).config_path)
    return lambda out_dir, *options: [str(root), *order(out_dir, *options)[1:]]


def test_a_story_in_half_precision_keeps_float32_features_and_goes_on_after_a_kill(half, tmp_path, monkeypatch) -> None:
    assert main(half(tmp_path / "straight")) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Teller, "_tell_pair", after(2, Teller._tell_pair))
        with pytest.raises(Killed):
            main(half(tmp_path / "resumed"))
    memory = load_file(tmp_path / "resumed" / ".memory.safetensors")
    assert {memory[name].dtype for name in ("keys", "values", "waiting")} == {torch.bfloat16}
    assert main(half(tmp_path / "resumed")) == 0
    assert files_of(tmp_path / "resumed") == files_of(tmp_path / "straight")
    for index in range(5):
        features = load_file(tmp_path / "straight" / f"{index:02d}.safetensors")["features"]
        assert features.dtype == torch.float32
        assert torch.equal(features, features.bfloat16().float())  # no step of it was of another precision


def test_a_story_of_another_precision_is_another_story(told, half, caplog) -> None:
    assert "differs in: precision)" in refusal(caplog, half(told))


def test_a_story_of_before_there_were_precisions_is_one_of_float32(told, order, tmp_path) -> None:
    shutil.copytree(told, tmp_path / "story")
    settings = json.loads((tmp_path / "story" / "settings.json").read_text())
    del settings["precision"]
    (tmp_path / "story" / "settings.json").write_text(json.dumps(settings))
    assert main(order(tmp_path / "story")) == 0


def test_a_folder_of_something_else_is_refused_and_left_alone(order, tmp_path, caplog) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    assert "no story of this command" in refusal(caplog, order(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_another_sentence_to_the_same_picture_tells_another_story_from_equal_features(told, order, tmp_path) -> None:
    assert main(order(tmp_path / "other", text="The owl sings at the sea.")) == 0
    one, other = files_of(told), files_of(tmp_path / "other")
    assert (one["00.png"], one["00.safetensors"]) == (other["00.png"], other["00.safetensors"])
    assert all(one[f"{index:02d}.safetensors"] != other[f"{index:02d}.safetensors"] for index in (1, 2, 3, 4))


def test_given_captions_are_told_by(captioned) -> None:
    assert texts_of(captioned) == [SENTENCE, *TEXTS]
    assert story_of(captioned).mode == "captions_given"


def test_a_line_left_empty_is_written_by_the_model(order, tmp_path) -> None:
    (tmp_path / "captions.txt").write_text(f"{TEXTS[0]}\n\n{TEXTS[1]}\n\n\n")
    assert main(order(tmp_path / "story", "--captions", str(tmp_path / "captions.txt"))) == 0
    texts = texts_of(tmp_path / "story")
    assert (texts[1], texts[3]) == (TEXTS[0], TEXTS[1])
    assert texts[2] not in ("", *TEXTS)
    assert len(texts) == 5


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_branch_with_the_story_s_own_texts_is_that_story_to_the_byte(captioned, run, tmp_path, at) -> None:
    rest = [] if at == 4 else ["--captions", str(tmp_path / "rest.txt")]
    (tmp_path / "rest.txt").write_text("\n".join(TEXTS[at:]))
    branch = ["--continue", str(captioned), "--at", str(at), "--text", TEXTS[at - 1], *rest]
    drawn = ["--temperature", "1", "--seed", "3", "--segments", str(5 - at)]
    assert main([str(run.root), str(tmp_path / "story"), *branch, *drawn]) == 0
    one, other = files_of(captioned), files_of(tmp_path / "story")
    assert {name for name in one if one[name] != other.get(name)} == {"settings.json", "strip.html"}


def test_a_branch_keeps_what_was_told_and_goes_on_from_the_new_text(told, run, tmp_path) -> None:
    branch = ["--continue", str(told), "--at", "3", "--text", TEXTS[2], "--segments", "3"]
    assert main([str(run.root), str(tmp_path / "story"), *branch, "--temperature", "1", "--seed", "3"]) == 0
    one, other = files_of(told), files_of(tmp_path / "story")
    assert texts_of(tmp_path / "story")[:4] == [*texts_of(told)[:3], TEXTS[2]]
    assert len(texts_of(tmp_path / "story")) == 6
    assert all(one[f"{index:02d}.png"] == other[f"{index:02d}.png"] for index in range(3))
    assert all(one[f"{index:02d}.safetensors"] == other[f"{index:02d}.safetensors"] for index in range(3))
    assert one["03.safetensors"] != other["03.safetensors"]
    page = other["strip.html"].decode()
    assert page.count("· kept") == 2
    assert page.count("3 · text given") == 1


def test_a_killed_branch_goes_on_to_the_same_bytes(told, run, tmp_path, monkeypatch) -> None:
    branch = ["--continue", str(told), "--at", "3", "--text", TEXTS[2], "--segments", "4"]
    assert main([str(run.root), str(tmp_path / "whole"), *branch]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Teller, "_tell_pair", after(2, Teller._tell_pair))
        with pytest.raises(Killed):
            main([str(run.root), str(tmp_path / "story"), *branch])
    assert main([str(run.root), str(tmp_path / "story"), *branch]) == 0
    assert files_of(tmp_path / "story") == files_of(tmp_path / "whole")


@pytest.mark.parametrize("at", ["0", "-1", "6"])
def test_a_branch_off_no_pair_of_the_story_is_refused(told, run, tmp_path, caplog, at) -> None:
    branch = ["--continue", str(told), f"--at={at}", "--text", TEXTS[2]]
    assert "--at must be 1..5" in refusal(caplog, [str(run.root), str(tmp_path / "story"), *branch])


def test_a_branch_off_a_story_of_another_image_encoder_is_refused(told, run, tmp_path, caplog) -> None:
    shutil.copytree(run.root, tmp_path / "run")
    (tmp_path / "run" / "model" / "image_encoder" / "note.txt").write_text("retrained")
    branch = ["--continue", str(told), "--at", "2", "--text", TEXTS[2]]
    assert "another image encoder" in refusal(caplog, [str(tmp_path / "run"), str(tmp_path / "story"), *branch])


def test_a_branch_off_a_folder_without_a_story_is_refused(run, tmp_path, caplog) -> None:
    branch = ["--continue", str(tmp_path), "--at", "2", "--text", TEXTS[2]]
    assert "no story that was told" in refusal(caplog, [str(run.root), str(tmp_path / "story"), *branch])


def write_bomb(path: Path) -> None:
    """A small PNG that says that it has 30,000 x 30,000 pixels."""
    Image.new("L", (1, 1)).save(path)
    found = path.read_bytes()
    side = (30_000).to_bytes(4, "big")
    header = b"IHDR" + side + side + found[24:29]
    path.write_bytes(found[:12] + header + zlib.crc32(header).to_bytes(4, "big") + found[33:])


def write_truncated(path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:600])


BAD_PICTURES = {
    "absent": (lambda path: None, "no picture at"),
    "folder": (Path.mkdir, "no picture at"),
    "text": (lambda path: path.write_text("hello"), "no JPEG, PNG or WebP picture"),
    "empty": (lambda path: path.write_bytes(b""), "no JPEG, PNG or WebP picture"),
    "gif": (lambda path: Image.new("RGB", (64, 64)).save(path, format="GIF"), "no JPEG, PNG or WebP picture"),
    "truncated": (write_truncated, "no JPEG, PNG or WebP picture"),
    "one pixel": (lambda path: Image.new("RGB", (1, 1)).save(path), "it is 1 x 1 pixels"),
    "wide": (lambda path: Image.new("L", (20_000, 64)).save(path), "it is 20000 x 64 pixels"),
    "stripe": (lambda path: Image.new("L", (4000, 20)).save(path), "8 times"),
    "many pixels": (lambda path: Image.new("1", (9000, 9000)).save(path), "50 million"),
    "bomb": (write_bomb, "50 million"),
}


@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_a_picture_that_cannot_open_a_story_is_refused(order, tmp_path, caplog, kind) -> None:
    write, complaint = BAD_PICTURES[kind]
    path = tmp_path / "opening.png"
    write(path)
    assert complaint in refusal(caplog, order(tmp_path / "story", "--image", str(path)))
    assert not (tmp_path / "story").exists()


def test_a_picture_is_taken_upright(tmp_path) -> None:
    image = Image.new("RGB", (40, 20), "blue")
    image.paste("red", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    found = read_picture(tmp_path / "turned.png")
    (tmp_path / "found.png").write_bytes(found.encoded)
    assert found.size == (20, 40)
    with Image.open(tmp_path / "found.png") as upright:
        assert (upright.getpixel((10, 5)), upright.getpixel((10, 35))) == ((255, 0, 0), (0, 0, 255))


def test_what_is_transparent_is_white(tmp_path) -> None:
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    (tmp_path / "found.png").write_bytes(read_picture(tmp_path / "clear.png").encoded)
    with Image.open(tmp_path / "found.png") as found:
        assert found.getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "--text is empty"),
        (" \n\t", "--text is empty"),
        ("fox " * 30, "of 12; shorten it or raise --max-text-tokens"),
        ("a <img> fox", "holds <img>"),
        ("a <img_00002> fox", "holds <img_00002>"),
        ("a fox [INST]", r"holds [INST]"),
        ("a \udcff fox", "not UTF-8"),
    ],
)
def test_a_text_that_no_pair_may_have_is_refused(order, tmp_path, caplog, text, complaint) -> None:
    assert complaint in refusal(caplog, order(tmp_path / "story", text=text))


def test_a_longer_text_is_taken_where_the_budget_allows_it(order, tmp_path) -> None:
    long = " ".join(["fox"] * 30)
    assert main(order(tmp_path / "story", "--max-text-tokens", "40", "--segments", "1", text=long)) == 0
    assert texts_of(tmp_path / "story")[0] == long


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "no captions"),
        (b"\xff\xfe", "not UTF-8"),
        (b"one\ntwo\nthree\nfour\nfive", "5 texts are given for 4 pairs"),
        (b"one\n" + b"fox " * 30, "line 2 has"),
    ],
)
def test_captions_that_cannot_be_used_are_refused(order, tmp_path, caplog, content, complaint) -> None:
    (tmp_path / "captions.txt").write_bytes(content)
    assert complaint in refusal(caplog, order(tmp_path / "story", "--captions", str(tmp_path / "captions.txt")))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--segments", "0"], "--segments"),
        (["--segments", "100000"], "--segments"),
        (["--temperature", "nan"], "--temperature"),
        (["--temperature=-1"], "--temperature"),
        (["--max-text-tokens", "0"], "--max-text-tokens"),
        (["--max-text-tokens", "99999"], "made for"),
        (["--at", "2"], "go together"),
        (["--continue", "elsewhere", "--at", "2"], "either"),
    ],
)
def test_numbers_and_options_that_make_no_sense_are_refused(order, tmp_path, caplog, options, complaint) -> None:
    assert complaint in refusal(caplog, order(tmp_path / "story", *options))


@pytest.mark.parametrize("part", PARTS)
def test_a_run_without_a_part_is_refused_by_its_name(order, run, tmp_path, caplog, part) -> None:
    shutil.copytree(run.root, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model" / part)
    message = refusal(caplog, [str(tmp_path / "run"), *order(tmp_path / "story")[1:]])
    assert re.search(rf"has no {part} ", message)


def test_a_folder_that_is_no_run_is_refused(order, tmp_path, caplog) -> None:
    assert "config.yaml" in refusal(caplog, [str(tmp_path), *order(tmp_path / "story")[1:]])
