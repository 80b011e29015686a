"""A CLIP-class network of toy size, of fresh weights: its scores are asked for once, kept, and used by a filter."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from drawn_videos import draw_video, scenes
from small_builds import chosen, decode_key, source_of
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast

from story_model.build_config import AppealConfig
from story_model.config import PROJECT_DIR
from storystream_builder.captioning.appeal import ClipAppeal, drop_unappealing
from storystream_builder.decoding.decode import decode_episode
from storystream_builder.episodes import EpisodeOutcome
from storystream_builder.records import DecodeJob


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    words = ["<pad>", "<s>", "</s>", "clear", "blurry", "a"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=8
    )
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    # Fresh weights say nearly the same of everything; a large logit scale tells pictures apart all the same.
    config = CLIPConfig(
        text_config={**small, "vocab_size": len(words), "max_position_embeddings": 8, "eos_token_id": 2},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    model = CLIPModel(config)
    torch.nn.init.constant_(model.logit_scale, 4.0)
    model.save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(images, fast).save_pretrained(folder)
    return folder


@pytest.fixture
def episode(tmp_path):
    video = draw_video(tmp_path / "x.mp4", scenes(1, 2, 3))
    decode_episode(video, tmp_path, DecodeJob(key=decode_key(), threads=1, max_memory_gb=4))
    return chosen(EpisodeOutcome(source_of(video), "e0", "0"), tmp_path)


def asked(network: Path, **texts) -> ClipAppeal:
    return ClipAppeal(AppealConfig(folder=str(network), **{"liked": "clear", "disliked": "blurry", **texts}))


def test_the_two_texts_share_what_a_picture_scores(network, episode):
    one = asked(network, liked="clear", disliked="blurry").scores([episode])
    other = asked(network, liked="blurry", disliked="clear").scores([episode])
    assert len(one) == 3
    assert all(one[name] + other[name] == pytest.approx(1, abs=1e-4) for name in one)


def test_a_picture_is_looked_at_once(network, episode, monkeypatch):
    first = asked(network).scores([episode])
    monkeypatch.setattr("storystream_builder.captioning.appeal.run_child", lambda *_: pytest.fail("looked again"))
    assert asked(network).scores([episode]) == first


def test_other_texts_are_other_scores(network, episode):
    assert asked(network).name != asked(network, liked="a").name


def test_frames_below_the_limit_are_dropped_with_their_score(network, episode):
    scores = asked(network).scores([episode])
    limit = sorted(scores.values())[1]
    assert min(scores.values()) < limit
    frames = drop_unappealing([episode], asked(network), limit)[0].frames
    dropped = [frame for frame in frames if frame.status == "unappealing"]
    assert [frame.appeal for frame in dropped] == [min(scores.values())]
    assert all(frame.appeal is not None for frame in frames if frame.is_kept)


def test_the_orchestrator_s_process_loads_no_torch(network, episode):
    code = (
        "import sys; from story_model.build_config import AppealConfig;"
        "from storystream_builder.captioning.appeal import ClipAppeal;"
        f"ClipAppeal(AppealConfig(folder={str(network)!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, check=False).returncode == 0


def test_a_network_that_cannot_be_loaded_ends_the_step_with_its_reason(tmp_path, episode):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"storystream_builder\.captioning\.clip ended with exit 1"):
        asked(tmp_path / "net").scores([episode])


def test_a_folder_without_a_network_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="holds no network"):
        asked(tmp_path)
