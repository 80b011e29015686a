import random

import pytest
from drawn_videos import write_srt

from storystream_builder.listening import transcripts
from storystream_builder.listening.subtitle_formats import Cue
from storystream_builder.listening.transcripts import (
    Line,
    Transcript,
    gather,
    line_for,
    load_transcript,
    read_transcript,
    short_code,
    write_transcript,
)


def test_an_srt_becomes_timed_lines(tmp_path):
    path = write_srt(tmp_path / "x.srt", [(1.5, 4.0, "One day,\nPip sleeps."), (3600, 3601.25, "The end.")])
    assert read_transcript(path).lines == (
        Line(1500, 4000, "One day, Pip sleeps."),
        Line(3_600_000, 3_601_250, "The end."),
    )


def test_a_vtt_without_hours_and_with_notes_is_read(tmp_path):
    path = tmp_path / "x.vtt"
    path.write_text("WEBVTT\n\nNOTE a note\n\nfirst\n01:02.500 --> 01:04.000 align:start\n<v Pip>Hello &amp; bye\n\n")
    assert read_transcript(path).lines == (Line(62_500, 64_000, "Hello & bye"),)


def test_markup_is_stripped(tmp_path):
    path = write_srt(tmp_path / "x.srt", [(0, 1, r"{\an8}<i>Hello</i> <font color='red'>you</font>")])
    assert read_transcript(path).lines[0].text == "Hello you"


def test_lines_are_put_in_the_order_of_time(tmp_path):
    path = write_srt(tmp_path / "x.srt", [(5, 6, "later"), (1, 7, "sooner")])
    assert [line.text for line in read_transcript(path).lines] == ["sooner", "later"]


def test_lines_without_text_or_length_are_counted(tmp_path):
    path = write_srt(tmp_path / "x.srt", [(0, 1, "good"), (1, 2, "<b></b>"), (3, 2, "backwards")])
    transcript = read_transcript(path)
    assert len(transcript.lines) == 1
    assert transcript.notes[0].startswith("2 lines")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_encodings_are_read_without_a_note(tmp_path, encoding):
    transcript = read_transcript(write_srt(tmp_path / "x.srt", [(0, 1, "Käse 猫")], encoding))
    assert (transcript.lines[0].text, transcript.notes) == ("Käse 猫", ())


def test_an_old_western_encoding_is_read_with_a_note(tmp_path):
    transcript = read_transcript(write_srt(tmp_path / "x.srt", [(0, 1, "Käse für 2 €!")], "cp1252"))
    assert transcript.lines[0].text == "Käse für 2 €!"
    assert "Windows-1252" in transcript.notes[0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("1\n00:00:00,000 --> 00:00:01,000\nHi\n".encode("utf-16-le"), "encoding is unknown"),
        (bytes(range(256)) * 20, "encoding is unknown"),
        (b"", "no timed line"),
        (b"just some words", "no timed line"),
    ],
)
def test_what_is_no_subtitle_file_is_refused(tmp_path, data, reason):
    (tmp_path / "x.srt").write_bytes(data)
    with pytest.raises(ValueError, match=reason):
        read_transcript(tmp_path / "x.srt")


LINES = (Line(0, 1000, "first"), Line(1000, 4000, "second"), Line(3000, 5000, "third"))


@pytest.mark.parametrize(
    ("at", "shot", "said"),
    [
        (500, (0, 1200), "first"),
        (1000, (0, 1200), "second"),
        (3500, (3000, 4000), "second third"),
        (5500, (4000, 6000), "third"),
        (5500, (5000, 6000), None),
    ],
)
def test_the_line_over_a_frame_is_the_one_spoken_then_or_longest_in_its_shot(at, shot, said):
    assert line_for(LINES, at_ms=at, start_ms=shot[0], end_ms=shot[1]) == said


def test_a_transcript_says_where_its_lines_come_from(tmp_path):
    transcript = read_transcript(write_srt(tmp_path / "x.de.srt", [(0, 1, "Hallo")]))
    assert (transcript.source, transcript.language) == ("file", "de")


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("x.srt", None),
        ("x.en.srt", "en"),
        ("x.ger.srt", "de"),
        ("x.pt-BR.srt", "pt-BR"),
        ("x.zh_TW.forced.ass", "zh-TW"),
        ("x.en.sdh.vtt", "en"),
        ("x.en.hi.srt", "en"),  # hearing impaired
        ("x.hi.srt", "hi"),  # Hindi
        ("Dr.No.srt", None),
        ("A.Story.The.srt", None),
        ("Show.S01.E02.srt", None),
        ("Show.720p.und.srt", None),
    ],
)
def test_the_language_is_taken_from_the_name(tmp_path, name, language):
    assert read_transcript(write_srt(tmp_path / name, [(0, 1, "x")])).language == language


def test_a_language_that_is_told_goes_before_the_name(tmp_path):
    assert read_transcript(write_srt(tmp_path / "x.en.srt", [(0, 1, "x")]), language="deu").language == "de"


@pytest.mark.parametrize(
    ("code", "short"), [("ger", "de"), ("JPN", "ja"), ("en_US", "en-US"), ("und", None), ("", None), ("?", None)]
)
def test_language_codes_are_written_alike(code, short):
    assert short_code(code) == short


def test_the_language_in_the_name_helps_to_guess_the_encoding(tmp_path):
    words = "שלום, מה שלומך"
    transcript = read_transcript(write_srt(tmp_path / "x.he.srt", [(0, 1, words)], "cp1255"))
    assert transcript.lines[0].text == words


@pytest.mark.parametrize(
    "cue",
    [
        Cue(-1, 1000, "before the start"),
        Cue(0, 100 * 3_600_000 + 1, "for days"),
        Cue(None, 1000, "whenever"),
    ],
)
def test_times_that_cannot_be_are_counted(cue):
    transcript = gather([cue, Cue(0, 1000, "good")], source="file")
    assert transcript.lines == (Line(0, 1000, "good"),)
    assert transcript.notes == ("1 lines with times that cannot be were left out",)


def test_lines_that_are_equal_become_one():
    cues = [Cue(0, 1000, "twice"), Cue(0, 1000, "twice"), Cue(0, 1000, "other"), Cue(0, 1001, "twice")]
    transcript = gather(cues, source="file")
    assert [line.text for line in transcript.lines] == ["twice", "other", "twice"]
    assert transcript.notes == ("1 lines that repeat another were left out",)


def test_a_file_that_is_too_large_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(transcripts, "_MAX_BYTES", 10)
    with pytest.raises(ValueError, match="larger than"):
        read_transcript(write_srt(tmp_path / "x.srt", [(0, 1, "Hello")]))


@pytest.mark.parametrize("name", ["missing.srt", "folder.srt"])
def test_what_cannot_be_opened_is_refused(tmp_path, name):
    (tmp_path / "folder.srt").mkdir()
    with pytest.raises(ValueError, match="cannot be read"):
        read_transcript(tmp_path / name)


SRT = "1\n00:00:01,000 --> 00:00:02,000\n{\\an8}<i>Käse</i> &amp; Brot\n\n2\n00:00:03,000 --> 00:00:04,000\nJa\n"
VTT = "WEBVTT\n\nNOTE x\n\n00:01.000 --> 00:02.000 align:start\n<v Pip>Käse\n\n00:03.000 --> 00:04.000\nJa\n"
ASS = (
    "[Script Info]\n[Events]\nFormat: Layer, Start, End, Style, Text\n"
    "Dialogue: 0,0:00:01.00,0:00:02.00,Default,{\\k20}Kä{\\p1}m 0 0{\\p0}se\nDialogue: 0,0:00:03.00,0:00:04.00,D,Ja\n"
)


@pytest.mark.parametrize("text", [SRT, VTT, ASS], ids=["srt", "vtt", "ass"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_a_mutated_file_is_read_or_refused_and_nothing_else(tmp_path, text, encoding):
    rng = random.Random(0)
    path = tmp_path / "x.srt"
    for _ in range(150):
        data = bytearray(text.encode(encoding))
        for _ in range(rng.randint(1, 12)):
            at = rng.randrange(len(data))
            data[at : at + rng.randint(0, 9)] = rng.randbytes(rng.randint(0, 6))
        path.write_bytes(data)
        try:
            lines = read_transcript(path).lines
        except ValueError:
            continue
        assert lines
        assert all(line.text and 0 <= line.start_ms < line.end_ms for line in lines)


def plainly(lines, at_ms, start_ms, end_ms):
    """What `line_for` says, by looking at every line."""
    at_once = [line.text for line in lines if line.start_ms <= at_ms < line.end_ms]
    if at_once:
        return " ".join(dict.fromkeys(at_once))
    longest = max(lines, key=lambda line: line.overlap_ms(start_ms, end_ms), default=None)
    return longest.text if longest and longest.overlap_ms(start_ms, end_ms) else None


@pytest.mark.parametrize("num_lines", [0, 1, 3, 30])
@pytest.mark.parametrize("kind", [tuple, list])
def test_the_line_over_a_frame_is_what_looking_at_every_line_finds(num_lines, kind):
    rng = random.Random(num_lines)
    for _ in range(100):
        starts = [rng.randrange(60) for _ in range(num_lines)]
        spans = sorted((start, start + rng.choice([1, 2, 5, 40])) for start in starts)
        lines = kind(Line(*span, text=f"line {rng.randrange(9)}") for span in spans)
        for at in range(-2, 70, 3):
            start, end = at - rng.randrange(6), at + rng.randrange(6)
            assert line_for(lines, at_ms=at, start_ms=start, end_ms=end) == plainly(lines, at, start, end)


def test_the_line_over_a_frame_is_found_without_looking_at_every_line(monkeypatch):
    lines = tuple(Line(1000 * i, 1000 * i + 900, str(i)) for i in range(5000))
    line_for(lines, at_ms=0, start_ms=0, end_ms=1)
    looked_at = []
    overlap = Line.overlap_ms
    monkeypatch.setattr(Line, "overlap_ms", lambda line, *span: looked_at.append(line) or overlap(line, *span))
    assert line_for(lines, at_ms=4_000_950, start_ms=4_000_500, end_ms=4_001_000) == "4000"
    assert len(looked_at) < 10


def test_a_transcript_is_handed_over_whole(tmp_path):
    transcript = Transcript((Line(0, 1, "Käse \u2028 猫"),), ("a note",), "speech", "de")
    write_transcript(tmp_path / "x.json", transcript)
    assert load_transcript(tmp_path / "x.json") == transcript


@pytest.mark.parametrize("data", [b"", b"[]", b'{"lines": [{"start_ms": "soon"}]}', b'{"source": "hearsay"}', b"\xff"])
def test_what_is_no_transcript_is_refused(tmp_path, data):
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(ValueError, match="is no transcript"):
        load_transcript(tmp_path / "x.json")


def test_a_missing_transcript_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        load_transcript(tmp_path / "x.json")
