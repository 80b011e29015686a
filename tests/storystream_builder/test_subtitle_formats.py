import pytest

from storystream_builder.listening.subtitle_formats import MAX_CUES, Cue, plain, read_cues

ONE = [Cue(1000, 2000, "Hello")]
HEAD = "[Script Info]\nTitle: x\n\n[V4+ Styles]\nFormat: Name, Fontname\nStyle: Default,Arial\n\n[Events]\n"
FORMAT = "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"


def dialogue(text, *, kind="Dialogue", effect="", start="0:00:01.00", end="0:00:02.00"):
    return f"{kind}: 0,{start},{end},Default,,0,0,0,{effect},{text}\n"


def ass(*lines):
    return HEAD + FORMAT + "".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        "1\n00:00:01,000 --> 00:00:02,000\nHello\n",
        "1\r\n00:00:01,000 --> 00:00:02,000\r\nHello\r\n",
        "1\r00:00:01,000 --> 00:00:02,000\rHello\r",
        "1\r\r\n00:00:01,000 --> 00:00:02,000\r\r\nHello\r\r\n",  # line ends converted twice
        "00:00:01,000 --> 00:00:02,000\nHello",  # no number, no line end
        "00:00:01.000 --> 00:00:02.000\nHello\n",
        "0:0:1,0 --> 0:0:2,0\nHello\n",
        "00:01,000-->00:02,000\nHello\n",
        "00:00:01 --> 00:00:02\nHello\n",
        "00:00:01:000 --> 00:00:02:000\nHello\n",
        "00:00:01,000 -> 00:00:02,000\nHello\n",
        "00:00:01,000 -- > 00:00:02,000\nHello\n",
        "1 00:00:01,000 --> 00:00:02,000\nHello\n",
        "1\n00:00:01,000 --> 00:00:02,000  X1:100 X2:200 Y1:1 Y2:2\nHello\n",
        "\ufeff1\n\t00:00:01,000\t-->\t00:00:02,000\n  Hello  \n\n\n\n",
        "1\n00:00:01,000 --> 00:00:02,000\n\nHello\n",
        "Dialogue: a film\n\n00:00:01,000 --> 00:00:02,000\nHello\n",
        "WEBVTT\n\n00:01.000 --> 00:02.000\nHello\n",
        "WEBVTT - a title\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:900000\n\n00:01.000 --> 00:02.000\nHello\n",
        "WEBVTT\n\nSTYLE\n::cue { color: red }\n\nREGION\nid:a\n\nid 1\n00:01.000 --> 00:02.000 line:0\nHello",
        "WEBVTT\n\n00:01.000 --> 00:02.000\nHello\n\nNOTE nobody says this\n",
        ass(dialogue("Hello")),
        ass(dialogue("Hello")).upper().replace("HELLO", "Hello"),
        ass(dialogue("Hello", start=" 0:00:01.00 ", end="0:00:02.00 ")),
        dialogue("Hello"),
    ],
)
def test_one_line_is_read_however_it_is_written(text):
    assert list(read_cues(text)) == ONE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("00:01,000 --> 00:02,000\nOne\n\nTwo\n\n2\n00:03,000 --> 00:04,000\nThree\n", ["One Two", "Three"]),
        ("00:01,000 --> 00:02,000\nOne\n2\n00:03,000 --> 00:04,000\nTwo\n", ["One", "Two"]),
        ("00:01,000 --> 00:02,000\n\n2\n00:03,000 --> 00:04,000\nTwo\n", ["", "Two"]),
        ("00:01,000 --> 00:02,000\n2\n00:03,000 --> 00:04,000\nTwo\n", ["", "Two"]),
        ("00:01,000 --> 00:02,000\n7\n\n00:03,000 --> 00:04,000\nTwo\n", ["7", "Two"]),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\n\nNOTE x\n\nb\n00:03.000 --> 00:04.000\nTwo\n", ["", "Two"]),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\n7\n\n00:03.000 --> 00:04.000\nTwo\n", ["7", "Two"]),
        (ass(dialogue("One, two, three")), ["One, two, three"]),
        (ass(dialogue("no", kind="Comment"), dialogue("yes")), ["yes"]),
        (ass(dialogue("he", effect="fx"), dialogue("hello", effect="Banner;10")), ["", "hello"]),
        (ass("Dialogue: 0,0:00:01.00\n", dialogue("whole")), ["", "whole"]),
        (ass("; a remark\nPicture: 0,0:00:01.00,0:00:02.00,D,,0,0,0,,x.png\n", dialogue("yes")), ["yes"]),
        (ass(dialogue("yes"), "[Fonts]\nfontname: a.ttf\nDialogue: 0,1,2\n"), ["yes"]),
    ],
)
def test_what_is_said_is_told_from_what_is_not(text, said):
    assert [cue.text for cue in read_cues(text)] == said


def test_the_fields_of_a_substation_event_stand_where_its_format_says():
    text = "[Script Info]\n[Events]\nFormat: End, Start, Text\nDialogue: 0:00:02.00,0:00:01.00,Hello\n"
    assert list(read_cues(text)) == ONE


def test_the_first_field_of_old_substation_is_a_mark():
    assert list(read_cues("[Script Info]\n[Events]\n" + dialogue("Hello").replace(" 0,", " Marked=0,"))) == ONE


@pytest.mark.parametrize("when", ["now", "", "0:00:1x.00", "12"])
def test_a_time_that_cannot_be_read_is_none(when):
    assert list(read_cues(ass(dialogue("Hello", start=when)))) == [Cue(None, 2000, "Hello")]


@pytest.mark.parametrize(
    ("timing", "span"),
    [
        ("-00:00:01,500 --> 00:00:02,000", (-1500, 2000)),
        ("999:00:00,000 --> 1000:00:00,000", (3_596_400_000, 3_600_000_000)),
        ("00:00:01,5 --> 00:00:01,123456", (1500, 1123)),
    ],
)
def test_odd_times_are_read_as_they_stand(timing, span):
    assert list(read_cues(f"{timing}\nx\n")) == [Cue(*span, "x")]


@pytest.mark.parametrize(
    ("markup", "words"),
    [
        (r"{\an8}{\pos(1,2)}Hello{\r} you", "Hello you"),
        (r"One\Ntwo\nthree\hfour", "One two three four"),
        (r"{\k20}ka{\kf30}ra{\ko1}o{\K4}ke", "karaoke"),
        (r"{\p1}m 0 0 l 10 0 10 10{\p0}Hello", "Hello"),
        (r"{\an7\p4\bord0}m 0 0 s 1 1", ""),
        (r"{\pos(1,2)\pbo3}Hello", "Hello"),
        (r"{a translator's remark}Hello", "Hello"),
        (r"Hello {open", "Hello {open"),
        (r"{\t(0,500,\fs30)}<b>Hello</b>", "Hello"),
    ],
)
def test_substation_markup_is_stripped(markup, words):
    assert plain(markup, is_substation=True) == words


@pytest.mark.parametrize(
    ("markup", "words"),
    [
        ("<i>Hello</i> <font color='#fff'>you</font>", "Hello you"),
        ("<v Pip>Hello <c.loud>you</c><00:01.000> there", "Hello you there"),
        ("<ruby>\u732b<rt>neko</rt><rt.x>cat</rt></ruby>", "\u732b"),
        ("Fish &amp; chips &lt;3 &nbsp;&#x263a;", "Fish & chips <3 \u263a"),
        ("I <3 you", "I <3 you"),
        ("{laughs} {y:i}Hello {\\i1}you", "{laughs} Hello you"),
        ("- Who?\n- Me.", "- Who? - Me."),
        ("\u202bHel\u200blo\ufeff\x00\x85", "Hello"),
        ("e\u0301te\u0301", "\u00e9t\u00e9"),
        ("a&#99999999999;&#xd800;", "a"),
        ("x" * 4001, ""),
        ("&#" + "9" * 3990, ""),
    ],
)
def test_markup_and_what_cannot_be_seen_is_stripped(markup, words):
    assert plain(markup) == words


def test_no_more_cues_are_read_than_a_film_can_hold():
    cue = "00:01 --> 00:02\n\n"
    assert sum(1 for _ in read_cues(cue * (MAX_CUES + 5))) == MAX_CUES


AUTOMATIC = """WEBVTT
Kind: captions

00:00:00.000 --> 00:00:02.000 align:start position:0%
\x20
hello<00:00:00.500><c> there</c>

00:00:02.000 --> 00:00:02.010 align:start position:0%
hello there
\x20

00:00:02.010 --> 00:00:04.000 align:start position:0%
hello there
my<00:00:03.000><c> friend</c>

00:00:04.000 --> 00:00:04.010 align:start position:0%
my friend
\x20

00:00:04.010 --> 00:00:06.000 align:start position:0%
my friend
my friend
"""


def test_automatic_captions_say_each_line_once():
    hello, friend, again = Cue(0, 2000, "hello there"), Cue(2010, 4000, "my friend"), Cue(4010, 6000, "my friend")
    assert list(read_cues(AUTOMATIC)) == [hello, hello, friend, friend, again]


def test_captions_that_roll_by_three_lines_say_each_line_once():
    rows = ["a", "b", "c", "d", "e", "f"]
    text = "".join(f"00:0{i},0 --> 00:0{i + 1},0\n" + "\n".join(rows[i : i + 3]) + "\n\n" for i in range(4))
    assert [cue.text for cue in read_cues(text)] == ["a b c", "d", "e", "f"]


def test_a_word_that_is_spoken_twice_stays():
    text = "00:01,0 --> 00:02,0\nNo!\n\n00:02,0 --> 00:03,0\nNo!\nStop!\n\n00:03,0 --> 00:04,0\nWhy?\n\n"
    assert [cue.text for cue in read_cues(text + "00:04,0 --> 00:05,0\nSo.\n")] == ["No!", "No! Stop!", "Why?", "So."]
