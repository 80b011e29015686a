import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from drawn_videos import draw_sound, draw_video, scenes

from storystream_builder.listening import embedded_subtitles
from storystream_builder.listening.embedded_subtitles import read_embedded
from storystream_builder.listening.transcripts import Line, Transcript

MS = Fraction(1, 1000)
NOTHING = Disposition(0)
HEADER = b"[Script Info]\n[V4+ Styles]\nFormat: Name, Fontname\nStyle: Default,Arial\n[Events]\nFormat: Layer, Text\n"
SOURCES = {"srt": b"1\n00:00:00,000 --> 00:00:01,000\nx\n", "webvtt": b"WEBVTT\n\n00:00.000 --> 00:01.000\nx\n"}
TWO = [(200, 500, "Hällo <i>Pip</i>"), (700, 900, "Bye")]
TWO_LINES = (Line(200, 500, "Hällo Pip"), Line(700, 900, "Bye"))


@dataclass(frozen=True)
class Track:
    codec: str = "srt"
    lines: Sequence[tuple[int, int, str | bytes]] = tuple(TWO)
    language: str | None = None
    disposition: Disposition = NOTHING


def mux(path, *tracks, container=None, first_picture_ms=0):
    """Write a second of film and subtitle streams; packets are put in as they stand."""
    container = container or {".mp4": "mp4", ".mkv": "matroska", ".webm": "webm"}[path.suffix]
    with path.open("wb") as file, av.open(file, "w", format=container) as out:
        film = out.add_stream("libvpx" if container == "webm" else "libx264", rate=10)
        film.width = film.height = 64
        film.pix_fmt = "yuv420p"
        streams = [add_track(out, track) for track in tracks]
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * number, np.uint8), "rgb24")
            frame.pts, frame.time_base = number + first_picture_ms // 100, Fraction(1, 10)
            out.mux(film.encode(frame))
        out.mux(film.encode())
        for track, stream in zip(tracks, streams, strict=True):
            for start, end, words in track.lines:
                packet = av.Packet(as_packet(track.codec, words))
                packet.pts = packet.dts = start
                packet.duration, packet.time_base, packet.stream = end - start, MS, stream
                out.mux(packet)
    return path


def add_track(out, track):
    if track.codec in SOURCES:
        with av.open(io.BytesIO(SOURCES[track.codec]), format=track.codec) as source:
            stream = out.add_stream_from_template(source.streams.subtitles[0])
    else:
        stream = out.add_stream(track.codec)
        stream.codec_context.subtitle_header = HEADER
    stream.time_base = MS
    stream.disposition = track.disposition
    if track.language:
        stream.metadata["language"] = track.language
    return stream


def as_packet(codec, words):
    data = words.encode() if isinstance(words, str) else words
    if codec == "mov_text":
        return len(data).to_bytes(2, "big") + data
    return b"0,0,Default,,0,0,0,," + data if codec == "ass" else data


@pytest.mark.parametrize(
    ("name", "codec"),
    [("x.mkv", "srt"), ("x.mkv", "webvtt"), ("x.mkv", "ass"), ("x.webm", "webvtt"), ("x.mp4", "mov_text")],
)
def test_text_inside_a_video_becomes_timed_lines(tmp_path, name, codec):
    video = mux(tmp_path / name, Track(codec, language="ger"))
    assert read_embedded(video) == Transcript(TWO_LINES, (), "embedded", "de")


def test_an_open_file_is_read_from_its_start_wherever_it_stands(tmp_path):
    with mux(tmp_path / "x.mkv", Track()).open("rb") as file:
        file.seek(100)
        assert read_embedded(file).lines == TWO_LINES


def test_substation_markup_drawings_and_effects_are_no_text(tmp_path):
    events = [r"{\k5}Ha{\k5}llo\Nyou, Pip", r"{\p1}m 0 0 l 1 1", "Bye"]
    track = Track("ass", [(100 * i, 100 * i + 50, text) for i, text in enumerate(events, 1)])
    transcript = read_embedded(mux(tmp_path / "x.mkv", track))
    assert [line.text for line in transcript.lines] == ["Hallo you, Pip", "Bye"]
    assert transcript.notes == ("1 lines without text or with an end before their start were left out",)


def test_the_clock_starts_with_the_first_picture(tmp_path):
    lines = [(0, 500, "before the film"), (1200, 1500, "Hello")]
    transcript = read_embedded(mux(tmp_path / "x.mkv", Track(lines=lines), first_picture_ms=1000))
    assert transcript.lines == (Line(200, 500, "Hello"),)
    assert transcript.notes == ("1 lines with times that cannot be were left out",)


def said(text, **kwargs):
    return Track(lines=[(100, 200, text)], **kwargs)


DEFAULT = Disposition.default
FORCED = Disposition.forced


@pytest.mark.parametrize(
    ("tracks", "wanted", "text"),
    [
        ([said("a"), said("b")], None, "a"),
        ([said("a"), said("b", disposition=DEFAULT)], None, "b"),
        ([said("a", language="fre"), said("b", language="ger")], "de", "b"),
        ([said("a", language="fre"), said("b", language="ger")], "deu", "b"),
        ([said("a", language="fre"), said("b", language="ger")], "de-AT", "b"),
        ([said("a", language="fre", disposition=DEFAULT), said("b", language="ger")], "de", "b"),
        ([said("a", disposition=DEFAULT | FORCED), said("b")], None, "b"),
        ([said("a", disposition=Disposition.comment), said("b")], None, "b"),
        ([said("a", language="eng", disposition=FORCED), said("b", language="eng")], "en", "b"),
        ([said("a", disposition=Disposition.hearing_impaired), said("b")], None, "b"),
        ([Track(lines=[], disposition=DEFAULT), said("b")], None, "b"),
        ([said("a", disposition=DEFAULT | FORCED)], None, "a"),
    ],
)
def test_the_stream_is_the_wanted_language_s_else_the_default_one_else_the_first(tmp_path, tracks, wanted, text):
    transcript = read_embedded(mux(tmp_path / "x.mkv", *tracks), language=wanted)
    assert [line.text for line in transcript.lines] == [text]
    assert transcript.notes == ()


def test_a_language_that_is_not_there_is_noted(tmp_path):
    transcript = read_embedded(mux(tmp_path / "x.mkv", Track(language="fre")), language="ja")
    assert (transcript.lines, transcript.language) == (TWO_LINES, "fr")
    assert transcript.notes == ("the video has no subtitles in 'ja'; those in 'fr' are read",)


def test_a_video_without_subtitles_has_none(tmp_path):
    assert read_embedded(draw_video(tmp_path / "x.mp4", scenes(1))) is None
    assert read_embedded(draw_sound(tmp_path / "y.mp4")) is None


def test_pictures_of_subtitles_are_noted(tmp_path):
    transcript = read_embedded(mux(tmp_path / "x.mkv", Track("dvdsub"), Track("dvdsub")))
    assert transcript == Transcript(
        (), ("2 subtitle streams of kind dvdsub are no text; they were not read",), "embedded"
    )


def test_text_beside_pictures_is_read(tmp_path):
    transcript = read_embedded(mux(tmp_path / "x.mkv", Track("dvdsub", disposition=DEFAULT), Track()))
    assert transcript.lines == TWO_LINES
    assert len(transcript.notes) == 1


def test_text_in_an_old_encoding_is_guessed_from_the_whole_stream(tmp_path):
    words = ["Куда ты идёшь?", "Я иду домой,", "потому что поздно.", "Да"]
    track = Track(lines=[(100 * i, 100 * i + 50, text.encode("cp1251")) for i, text in enumerate(words, 1)])
    transcript = read_embedded(mux(tmp_path / "x.mkv", track))
    assert [line.text for line in transcript.lines] == words
    assert "guess" in transcript.notes[0]


def test_mp4_text_may_be_in_sixteen_bits(tmp_path):
    track = Track("mov_text", [(100, 200, b"\xfe\xff" + "Käse\n猫".encode("utf-16-be")), (200, 300, "Ja")])
    assert [line.text for line in read_embedded(mux(tmp_path / "x.mp4", track)).lines] == ["Käse 猫", "Ja"]


def test_a_stream_that_is_no_text_is_a_note(tmp_path):
    track = Track(lines=[(100, 200, bytes(range(1, 200)))])
    transcript = read_embedded(mux(tmp_path / "x.mkv", track))
    assert transcript.lines == ()
    assert "encoding is unknown" in transcript.notes[0]


def test_a_stream_that_is_too_long_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded_subtitles, "_MAX_BYTES", 18)
    transcript = read_embedded(mux(tmp_path / "x.mkv", Track()))
    assert transcript.lines == TWO_LINES[:1]
    assert "left out" in transcript.notes[0]


@pytest.mark.parametrize(
    "data", [b"", b"no video", b"#EXTM3U\nfile:///etc/passwd\n", b"1\n00:00:00,000 --> 00:00:01,000\nx\n"]
)
def test_what_is_no_video_is_a_note(tmp_path, data):
    (tmp_path / "x.mkv").write_bytes(data)
    transcript = read_embedded(tmp_path / "x.mkv")
    assert transcript.lines == ()
    assert transcript.notes[0].startswith("the video's own subtitles: the video cannot be read")


def test_a_missing_video_is_a_note(tmp_path):
    assert "No such file" in read_embedded(tmp_path / "x.mkv").notes[0]


@pytest.mark.parametrize(("name", "codec"), [("x.mkv", "srt"), ("x.mp4", "mov_text")])
def test_a_broken_video_never_raises(tmp_path, name, codec):
    rng = random.Random(0)
    whole = mux(tmp_path / name, Track(codec)).read_bytes()
    for _ in range(60):
        data = bytearray(whole[: rng.choice([len(whole), rng.randrange(len(whole))])])
        for _ in range(rng.randint(0, 20) if data else 0):
            data[rng.randrange(len(data))] = rng.randrange(256)
        transcript = read_embedded(io.BytesIO(data))
        assert transcript is None or transcript.source == "embedded"


def test_the_subtitles_of_a_real_clip_are_read(clips):
    transcript = read_embedded(clips / "extra" / "nasa_13013.mp4")
    first = Line(210, 4260, "NAR: This is the optical and science segment of the Webb")
    assert (transcript.lines[0], len(transcript.lines)) == (first, 4)
    assert (transcript.notes, transcript.source, transcript.language) == ((), "embedded", "en")


def test_real_clips_without_subtitles_have_none(clips):
    videos = [clips / "bbb_480p_30s.mp4", clips / "bbb_moviepy_30s.webm", clips / "extra" / "decord_corrupted.mp4"]
    assert [read_embedded(video) for video in videos] == [None, None, None]
