"""A vision-language network in a folder: real code of a real family, at toy size, in its own process."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from test_sidecar import LOOKS, SHOT
from toy_vision_language import save_toy

from story_model.config import PROJECT_DIR
from storystream_builder.captioning.local_captioner import LocalCaptioner, LocalJob, LocalProcess
from storystream_builder.captioning.local_model import load_model
from storystream_builder.episodes import EpisodeOutcome
from storystream_builder.frames import Episode, Frame
from storystream_builder.listening.transcripts import Line, Transcript
from storystream_builder.records import EpisodeRecord
from storystream_builder.sources import Source

COLOURS = ("red", "blue", "green")
JOB = LocalJob(device="cpu", max_tokens=6)


def picture(colour: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (64, 36), colour).save(data, "JPEG")
    return data.getvalue()


class DrawnEpisode(Episode):
    """Its pictures are plain colours."""

    def images(self, *, dropped: bool = False) -> dict[str, bytes]:
        return {frame.frame_id: picture(frame.frame_id) for frame in self.frames}


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    return save_toy(tmp_path_factory.mktemp("network") / "toy")


@pytest.fixture
def episode(tmp_path) -> Episode:
    place = {"pts": 0, "time_base": "1/1000", "pts_ms": 500, "stretch": 0, "phash": 0, "width": 64, "height": 36}
    frames = tuple(Frame(colour, "e0", SHOT, **place, **LOOKS) for colour in COLOURS)
    outcome = EpisodeOutcome(Source(Path("one.mp4"), "one.mp4"), "e0")
    return DrawnEpisode(outcome, EpisodeRecord(episode_id="e0", source_sha256="0", shots=[SHOT]), tmp_path, frames)


def captioner(network: Path, ledger_dir: Path, batch_size: int = 2) -> LocalCaptioner:
    return LocalCaptioner(network, ledger_dir, max_tokens=6, batch_size=batch_size, device="cpu")


def ask(model, *asked: tuple[str, str]):
    pictures = [Image.open(io.BytesIO(picture(colour))) for colour, _ in asked]
    return model.answer(pictures, [text for _, text in asked])


def test_each_frame_gets_a_caption_with_its_tokens(network, episode, tmp_path):
    (result,) = captioner(network, tmp_path).caption([episode])
    assert {frame.status for frame in result.episode.frames} == {"kept"}
    assert {frame.caption_status for frame in result.episode.frames} <= {"local", "truncated"}
    assert all(frame.caption and frame.prompt_tokens and frame.completion_tokens for frame in result.episode.frames)
    assert result.micro_dollars == 0


def test_the_network_sees_the_picture(network):
    answers = ask(load_model(network, JOB), *((colour, "What is it?") for colour in COLOURS))
    assert len({answer.text for answer in answers}) == len(COLOURS)


def test_the_network_hears_the_line(network, episode, tmp_path):
    lines = Transcript((Line(0, 1000, "Pip sleeps."),))
    spoken = replace(episode, outcome=replace(episode.outcome, transcript=lines))
    results = list(captioner(network, tmp_path).caption([episode, spoken]))
    silent, heard = (result.episode.frames[0].prompt_tokens or 0 for result in results)
    assert heard - silent == len("Spoken line: Pip sleeps.") - len("No line is spoken.")


def test_pictures_asked_together_are_answered_as_if_alone(network):
    model = load_model(network, JOB)
    asked = [("red", "What?"), ("blue", "What is it, and what is it doing there?")]
    assert ask(model, *asked) == [ask(model, one)[0] for one in asked]


def test_an_answer_that_reaches_its_limit_is_cut_off_and_one_that_ends_is_not(network, monkeypatch):
    model = load_model(network, JOB)
    generate, said = model.model.generate, []

    def noted(**inputs):
        tokens = generate(**inputs)
        said.append(tokens[0, inputs["input_ids"].shape[1] :].tolist())
        return tokens

    monkeypatch.setattr(model.model, "generate", noted)
    (cut,) = ask(model, ("red", "What is it?"))
    assert (cut.finish_reason, cut.completion_tokens) == ("length", 6)
    model.model.generation_config.eos_token_id = [2, said[0][1]]
    (ended,) = ask(model, ("red", "What is it?"))
    assert (ended.finish_reason, ended.completion_tokens) == ("stop", said[0].index(said[0][1]) + 1)


def test_where_memory_is_short_fewer_pictures_are_looked_at_together(network, monkeypatch):
    import torch

    model = load_model(network, JOB)
    asked = [(colour, "What is it?") for colour in COLOURS]
    wanted = ask(model, *asked)
    generate, sizes = model.model.generate, []

    def short_of_memory(**inputs):
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError
        return generate(**inputs)

    monkeypatch.setattr(model.model, "generate", short_of_memory)
    assert [answer.text for answer in ask(model, *asked)] == [answer.text for answer in wanted]
    assert sizes == [3, 1, 2, 1, 1]


def test_a_second_run_does_not_start_the_network(network, episode, tmp_path, monkeypatch):
    (first,) = captioner(network, tmp_path).caption([episode])
    monkeypatch.setattr(LocalProcess, "_start", lambda self: pytest.fail("the network was started"))
    (second,) = captioner(network, tmp_path).caption([episode])
    assert second == first


def test_after_a_kill_only_what_is_missing_is_asked(network, episode, tmp_path, monkeypatch):
    class Killed(LocalProcess):
        def ask(self, asked):
            if self._process is not None:
                os.kill(self._process.pid, signal.SIGKILL)
            return super().ask(asked)

    class Counted(LocalProcess):
        def ask(self, asked):
            nonlocal num_asked
            num_asked += len(asked)
            return super().ask(asked)

    num_asked = 0
    monkeypatch.setattr("storystream_builder.captioning.local_captioner.LocalProcess", Killed)
    with pytest.raises(ValueError, match=r"ended with signal 9.*what it said so far is kept"):
        list(captioner(network, tmp_path).caption([episode]))
    monkeypatch.setattr("storystream_builder.captioning.local_captioner.LocalProcess", Counted)
    list(captioner(network, tmp_path).caption([episode]))
    assert num_asked == 1


def test_another_network_is_another_captioner(network, tmp_path):
    other = save_toy(tmp_path / "toy", seed=1)
    names = {captioner(folder, tmp_path).name for folder in (network, other)}
    assert len(names) == 2
    assert all(name.startswith("toy@") for name in names)


def damaged(network: Path, folder: Path, **config) -> Path:
    shutil.copytree(network, folder)
    known = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(known | config))
    return folder


def test_no_code_of_the_folder_is_run(network, tmp_path):
    folder = damaged(
        network,
        tmp_path / "sly",
        model_type="sly",
        auto_map={"AutoConfig": "sly.Sly", "AutoModelForImageTextToText": "sly.Sly"},
    )
    (folder / "sly.py").write_text(f"open({str(tmp_path / 'was_here')!r}, 'w')\nclass Sly: pass\n")
    with pytest.raises(ValueError, match="of the kind 'sly'"):
        load_model(folder, JOB)
    assert not (tmp_path / "was_here").exists()


def test_a_processor_s_code_is_not_run_either(network, tmp_path):
    folder = damaged(network, tmp_path / "sly")
    known = json.loads((folder / "processor_config.json").read_text())
    changed = known | {"auto_map": {"AutoProcessor": "sly.Sly"}, "processor_class": "Sly"}
    (folder / "processor_config.json").write_text(json.dumps(changed))
    (folder / "sly.py").write_text(f"open({str(tmp_path / 'was_here')!r}, 'w')\nclass Sly: pass\n")
    with LocalProcess(folder, JOB, tmp_path) as process, pytest.raises(ValueError, match="custom code"):
        process.ask([(picture("red"), "What is it?")])
    assert not (tmp_path / "was_here").exists()


def test_a_damaged_network_is_named(network, tmp_path):
    folder = damaged(network, tmp_path / "damaged")
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="holds no network that can be loaded"):
        load_model(folder, JOB)


def test_pickled_weights_are_not_read(network, tmp_path):
    import torch

    folder = damaged(network, tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="holds no network that can be loaded"):
        load_model(folder, JOB)


def test_a_network_without_a_template_is_named(tmp_path):
    with pytest.raises(ValueError, match="has no chat template"):
        load_model(save_toy(tmp_path / "toy", template=None), JOB)


def test_a_folder_without_a_network_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"set build\.captions\.model"):
        captioner(tmp_path, tmp_path)


def test_making_a_captioner_imports_no_torch():
    code = "import sys, storystream_builder.captioning.local_captioner; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, check=False).returncode == 0
