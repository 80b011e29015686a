import pytest
from drawn_videos import write_srt

from storystream_builder.transcripts import Line, line_for, read_transcript


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
    assert transcript.notes[0].startswith("2 subtitle lines")


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
