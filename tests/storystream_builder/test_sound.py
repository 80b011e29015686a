import io
import random
from itertools import pairwise

import av
import numpy as np
import pytest
from drawn_sounds import RATE, tone, write_sound
from drawn_videos import draw_sound, draw_video, scenes

from storystream_builder.listening.sound import SAMPLE_RATE, open_sound


def blocks(video, **kwargs):
    with open_sound(video, **kwargs) as sound:
        return (list(sound.blocks()), sound.notes) if sound else ([], [])


def heard(found):
    return np.concatenate([block.samples for block in found])


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_sound_comes_at_one_rate(tmp_path, rate):
    found, notes = blocks(write_sound(tmp_path / "x.mkv", {0: tone(2, rate=rate)}, rate=rate))
    samples = heard(found)
    assert notes == []
    assert samples.dtype == np.float32
    assert abs(len(samples) - 2 * SAMPLE_RATE) < SAMPLE_RATE // 100
    spectrum = np.abs(np.fft.rfft(samples[:SAMPLE_RATE]))
    assert np.argmax(spectrum) == 440
    assert abs(samples).max() == pytest.approx(0.5, abs=0.05)


def test_blocks_are_small_and_follow_one_another(tmp_path):
    found, _ = blocks(write_sound(tmp_path / "x.mkv", {0: tone(20)}))
    assert max(len(block.samples) for block in found) < SAMPLE_RATE
    assert all(after.start_s == before.end_s for before, after in pairwise(found))


def test_a_rate_that_no_recording_has_is_broken_and_does_not_fill_the_memory(tmp_path):
    found, notes = blocks(write_sound(tmp_path / "x.mkv", {0: np.zeros(100, np.float32)}, rate=20))
    assert (found, notes) == ([], ["50 broken packets of sound were left out"])


def test_where_sound_is_missing_time_goes_on(tmp_path):
    found, _ = blocks(write_sound(tmp_path / "x.mkv", {0: tone(1), 5: tone(1)}))
    gaps = [(before.end_s, after.start_s) for before, after in pairwise(found) if after.start_s != before.end_s]
    assert gaps == [(pytest.approx(1, abs=0.01), pytest.approx(5, abs=0.01))]


def test_the_clock_starts_with_the_first_picture(tmp_path):
    found, _ = blocks(write_sound(tmp_path / "x.mkv", {0: tone(3)}, film_from_s=2))
    assert found[0].start_s == pytest.approx(-2, abs=0.01)


def test_a_video_without_sound_has_none(tmp_path):
    with open_sound(draw_video(tmp_path / "x.mp4", scenes(1))) as sound:
        assert sound is None


def test_an_open_file_is_read_from_its_start_wherever_it_stands(tmp_path):
    with draw_sound(tmp_path / "x.mp4").open("rb") as file:
        file.seek(50)
        assert len(heard(blocks(file)[0])) == pytest.approx(SAMPLE_RATE, abs=2000)


def test_the_stream_is_the_wanted_language_s(tmp_path):
    path = tmp_path / "x.mkv"
    with path.open("wb") as file, av.open(file, "w", format="matroska") as out:
        streams = [out.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in range(2)]
        for stream, language in zip(streams, ["eng", "ger"], strict=True):
            stream.metadata["language"] = language
        for stream, value in zip(streams, [1000, 9000], strict=True):
            frame = av.AudioFrame.from_ndarray(np.full((1, RATE), value, np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = RATE, 0
            out.mux(stream.encode(frame))
    for language, loudness in (("de", 9000), ("eng", 1000), ("ja", 1000), (None, 1000)):
        assert np.median(heard(blocks(path, language=language)[0])) == pytest.approx(loudness / 32768, rel=0.01)


@pytest.mark.parametrize("data", [b"", b"no video", b"#EXTM3U\nfile:///etc/passwd\n"])
def test_what_is_no_video_is_refused(tmp_path, data):
    (tmp_path / "x.mkv").write_bytes(data)
    with pytest.raises(ValueError, match="video cannot be read"), open_sound(tmp_path / "x.mkv"):
        pass


def test_a_missing_video_is_refused(tmp_path):
    with pytest.raises(ValueError, match="No such file"), open_sound(tmp_path / "x.mkv"):
        pass


def test_broken_sound_is_counted_or_refused_and_nothing_else(tmp_path):
    rng = random.Random(0)
    whole = draw_sound(tmp_path / "x.mp4").read_bytes()
    counted = 0
    for _ in range(60):
        data = bytearray(whole[: rng.choice([len(whole), rng.randrange(len(whole))])])
        for _ in range(rng.randint(0, 30) if data else 0):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            found, notes = blocks(io.BytesIO(data))
        except ValueError:
            continue
        counted += bool(notes)
        assert all(np.isfinite(block.samples).all() for block in found)
    assert counted


@pytest.mark.parametrize(
    ("name", "seconds"), [("bbb_480p_30s.mp4", 30.0), ("bbb_moviepy_30s.webm", 30.0), ("extra/nasa_13013.mp4", 13.1)]
)
def test_the_sound_of_a_real_clip_is_heard_whole(clips, name, seconds):
    found, notes = blocks(clips / name)
    assert len(heard(found)) / SAMPLE_RATE == pytest.approx(seconds, abs=0.1)
    assert (notes, len(heard(found)) / SAMPLE_RATE) == ([], pytest.approx(found[-1].end_s - found[0].start_s))
