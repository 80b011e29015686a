import subprocess
import sys

import numpy as np
import pytest
from drawn_sounds import tone, write_sound
from drawn_videos import draw_video, scenes

from story_model.config import PROJECT_DIR
from storystream_builder.listening.sound import SAMPLE_RATE, Block
from storystream_builder.listening.speech import Heard, cues_of, load_recognizer
from storystream_builder.listening.subtitle_formats import Cue

SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>"]
SPECIAL += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory):
    """A Whisper of toy size that was taught nothing, with a tokenizer of single letters."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    letters = [*map(chr, range(33, 127)), "\u0120"]
    tokenizer = transformers.WhisperTokenizer(vocab={letter: i for i, letter in enumerate(letters)}, merges=[])
    tokenizer.add_tokens(SPECIAL, special_tokens=True)
    tokenizer.add_tokens([f"<|{0.02 * i:.2f}|>" for i in range(1501)])
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    ends = {
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "decoder_start_token_id": ids["<|startoftranscript|>"],
    }
    sizes = {f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in SIZES.items()}
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer), num_mel_bins=8, d_model=16, max_target_positions=64, **sizes, **ends
    )
    torch.manual_seed(0)
    model = transformers.WhisperForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(
        max_length=40,
        is_multilingual=True,
        lang_to_id={token: ids[token] for token in ("<|en|>", "<|de|>")},
        task_to_id={"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]},
        no_timestamps_token_id=ids["<|notimestamps|>"],
        prev_sot_token_id=ids["<|startofprev|>"],
        max_initial_timestamp_index=50,
        **ends,
    )
    folder = tmp_path_factory.mktemp("models") / "toy-whisper"
    model.save_pretrained(folder)
    features = transformers.WhisperFeatureExtractor(feature_size=8)
    transformers.WhisperProcessor(features, tokenizer).save_pretrained(folder)
    return folder


SIZES = {"layers": 1, "attention_heads": 2, "ffn_dim": 16}


@pytest.fixture(scope="module")
def recognizer(whisper_folder):
    return load_recognizer(whisper_folder)


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """Noise for 35 s, silence, and noise again from the hundredth second on."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.5, 0.5, 35 * 8000).astype(np.float32)
    path = tmp_path_factory.mktemp("sound") / "x.mkv"
    return write_sound(path, {0: noise, 40: np.zeros(8000, np.float32), 100: noise[: 25 * 8000]})


def test_a_model_in_a_folder_writes_down_what_it_hears_on_the_video_s_clock(recognizer, talk):
    transcript = recognizer.transcribe(talk)
    spans = [(line.start_ms, line.end_ms) for line in transcript.lines]
    assert transcript.source == "speech"
    assert any(end <= 30_000 for _, end in spans)
    assert any(100_000 <= start < end <= 125_000 for start, end in spans)
    assert not [span for span in spans if 35_000 <= span[0] < 100_000]


def test_torch_is_not_imported_before_a_model_is_loaded():
    module = "storystream_builder.listening.speech"
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, check=False).returncode == 0


def test_a_model_hears_the_same_twice(recognizer, talk):
    assert recognizer.transcribe(talk) == recognizer.transcribe(talk)


def test_the_language_is_told_or_taken_from_the_stream(recognizer, tmp_path):
    video = write_sound(tmp_path / "x.mkv", {0: tone(1)}, language="ger")
    assert recognizer.transcribe(video).language == "de"
    assert recognizer.transcribe(video, language="eng").language == "en"


def test_a_language_that_the_model_does_not_know_is_refused(recognizer, talk):
    with pytest.raises(ValueError, match=r"toy-whisper does not know the language 'fr'; it knows de, en"):
        recognizer.transcribe(talk, language="fra")


def test_a_video_without_sound_has_nothing_to_hear(recognizer, tmp_path):
    transcript = recognizer.transcribe(draw_video(tmp_path / "x.mp4", scenes(1)))
    assert (transcript.lines, transcript.notes) == ((), ("the video has no sound",))


def test_a_model_is_known_by_its_content(recognizer, whisper_folder, tmp_path):
    assert (recognizer.name, len(recognizer.digest)) == ("toy-whisper", 64)
    other = tmp_path / "toy-whisper"
    other.mkdir()
    for file in whisper_folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    assert load_recognizer(other).digest == recognizer.digest
    (other / "README.md").write_text("changed")
    assert load_recognizer(other).digest != recognizer.digest


def test_without_a_folder_it_is_said_what_to_name(tmp_path):
    for folder in (None, tmp_path, tmp_path / "missing"):
        with pytest.raises(ValueError, match="name a folder that holds one"):
            load_recognizer(folder)


def test_without_its_packages_it_is_said_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[speech\]'"):
        load_recognizer(tmp_path)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ('{"model_type": "bert"}', "its kind is 'bert'"),
        ("{}", "cannot|can be loaded"),
        ("not json", "can be loaded"),
        ('{"model_type": "whisper"}', "can be loaded"),
        ('{"model_type": "mine", "auto_map": {"AutoConfig": "evil.Config"}}', "can be loaded"),
    ],
)
def test_a_folder_with_another_model_or_a_part_of_one_is_refused(tmp_path, config, reason):
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "evil.py").write_text("raise SystemExit('ran code from the folder')")
    with pytest.raises(ValueError, match=reason):
        load_recognizer(tmp_path)


def blocks(seconds, *, start_s=0.0, loudness=0.5):
    """A tone in blocks of a second."""
    samples = np.full(SAMPLE_RATE, loudness, np.float32)
    return [Block(start_s + i, samples) for i in range(seconds)]


class Listener:
    """Answers as it is told, and remembers how long the windows were that it was given."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.seconds = []

    def __call__(self, samples):
        self.seconds.append(len(samples) / SAMPLE_RATE)
        return self.answers.pop(0) if self.answers else []


def test_a_window_begins_with_the_sentence_that_the_last_one_cut_off():
    listener = Listener([Heard(0, 12, "a"), Heard(12, 25, "b"), Heard(25, 30, "cut")], [Heard(0, 8, "cut whole")])
    cues = list(cues_of(blocks(40), listener))
    assert cues == [Cue(0, 12_000, "a"), Cue(12_000, 25_000, "b"), Cue(25_000, 33_000, "cut whole")]
    assert listener.seconds == [30, 15]


def test_a_sentence_without_an_end_is_heard_again():
    listener = Listener([Heard(0, 12, "a"), Heard(20, None, "cut")], [Heard(0, 3, "whole")])
    assert list(cues_of(blocks(35), listener))[-1] == Cue(20_000, 23_000, "whole")


def test_a_window_full_of_one_sentence_is_not_heard_for_ever():
    listener = Listener([Heard(0, None, "long")], [Heard(0.5, 30, "longer")], [])
    cues = list(cues_of(blocks(65), listener))
    assert cues == [Cue(0, 30_000, "long"), Cue(30_500, 60_000, "longer")]
    assert listener.seconds == [30, 30, 5]


def test_every_sample_is_heard_where_no_sentence_is_cut_off():
    listener = Listener(*[[Heard(1, 2, "x")]] * 4)
    assert [cue.start_ms for cue in cues_of(blocks(100), listener)] == [1000, 31_000, 61_000, 91_000]
    assert sum(listener.seconds) == 100


def test_silence_is_not_listened_to():
    listener = Listener()
    assert list(cues_of(blocks(40, loudness=0.0), listener)) == []
    assert listener.seconds == []


def test_where_sound_is_missing_a_new_window_begins():
    listener = Listener([Heard(0, 2, "a")], [Heard(0, 2, "b")])
    cues = list(cues_of([*blocks(5), *blocks(5, start_s=60.0)], listener))
    assert cues == [Cue(0, 2000, "a"), Cue(60_000, 62_000, "b")]
    assert listener.seconds == [5, 5]


def test_what_is_heard_after_the_end_or_before_the_first_picture_is_cut():
    listener = Listener([Heard(0, 4, "early"), Heard(4, 30, "late"), Heard(12, 13, "never")])
    assert list(cues_of(blocks(10, start_s=-2.0), listener)) == [Cue(0, 2000, "early"), Cue(2000, 8000, "late")]


def test_only_a_window_is_held_and_not_the_episode():
    taken = []

    def counted():
        for block in blocks(600):
            taken.append(block)
            yield block

    at_first = []
    list(cues_of(counted(), lambda _: at_first.append(len(taken)) or []))
    assert at_first[:3] == [30, 60, 90]
