"""Small whole inputs of every kind, what can be done to their bytes, and the entry by which the builder reads them.

An entry gives one word for what came of an input. What it raises is judged by `build_mutations.py`: a `ValueError` is
documented and told to the user; anything else is a fault of ours.
"""

import io
import json
import random
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import pyarrow as pa
import pyarrow.parquet as pq

from story_model.asking.answers import Answer, Ledger
from story_model.asking.batch_journal import BatchJournal
from story_model.build_config import BuildConfig
from story_model.config import PROJECT_DIR
from story_model.manifest import MANIFEST
from storystream_builder.captioning.sidecar_rows import BadRows, read_rows
from storystream_builder.decoding.decode import decode_episode
from storystream_builder.importers.release_config import ReleaseConfig
from storystream_builder.importers.storystream_release import import_release
from storystream_builder.listening.embedded_subtitles import read_embedded
from storystream_builder.listening.transcripts import read_transcript
from storystream_builder.records import FRAMES, DecodeJob, DecodeKey
from storystream_builder.sources import find_sources
from storystream_builder.verify import verify_dataset

sys.path.insert(0, str(PROJECT_DIR / "tests" / "storystream_builder"))
import drawn_release as release
from drawn_videos import Scene, draw_video, write_srt

SIZE = (64, 48)
_WORDS = ["A fox comes home.", "Où est-il ?", "それから狐は眠る。", "“Wait!” it said.", "The river froze."]
_NUMBER = re.compile(rb"\d+")


@dataclass(frozen=True)
class Kind:
    """A kind of input: whole ones by name, and what reads one from a folder of its own."""

    samples: dict[str, bytes]
    enter: Callable[[Path, str], str]
    """Of the folder with the input and the input's name; writes below that folder only."""


def mutate(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Spoil bytes in one to three ways."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = rng.choice(_WAYS)(data, others, rng)
    return data


def _flip(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    spoiled = bytearray(data)
    for _ in range(rng.choice((1, 4, 16, 64)) if spoiled else 0):
        spoiled[rng.randrange(len(spoiled))] ^= 1 << rng.randrange(8)
    return bytes(spoiled)


def _cut(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] if rng.random() < 0.8 else data[at:]


def _stretch(data: bytes, rng: random.Random) -> tuple[int, int]:
    at = rng.randint(0, len(data))
    return at, min(len(data), at + rng.randint(1, max(1, len(data) // rng.choice((2, 8, 50)))))


def _double(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    start, end = _stretch(data, rng)
    return data[:end] + data[start:end] * rng.choice((1, 1, 20)) + data[end:]


def _blank(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    start, end = _stretch(data, rng)
    return data[:start] + rng.choice((b"\0", b"\xff", b" ", b"[")) * (end - start) + data[end:]


def _swap(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    a, b, c = sorted(rng.randint(0, len(data)) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _splice(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    start, end = _stretch(other, rng)
    at = rng.randint(0, len(data))
    return data[:at] + other[start:end] + data[at + rng.choice((0, end - start)) :]


def _swell(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Make a length lie: a number that is spelled, or four bytes that may be one."""
    numbers = list(_NUMBER.finditer(data))
    if numbers and rng.random() < 0.5:
        found = rng.choice(numbers)
        lie = rng.choice((b"0", b"-1", b"9" * 12, b"9" * 5000, b"1e999", b"2147483648"))
        return data[: found.start()] + lie + data[found.end() :]
    at = rng.randint(0, max(0, len(data) - 4))
    lie = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\0\0\xff\xff"))
    return data[:at] + lie + data[at + 4 :]


_WAYS = (_flip, _flip, _cut, _double, _blank, _swap, _splice, _swell, _swell)


# ------------------------------------------------------------------------------------------------- videos and subtitles


def videos(place: Path) -> Kind:
    """A second and a half each, in five containers."""
    parts = [Scene(1, 0.8), Scene(2, 0.7)]
    vp8 = {"codec": "libvpx", "options": {"b": "300k", "g": "5", "deadline": "realtime"}}
    for suffix, coding in ((".mp4", {}), (".mkv", {}), (".mov", {}), (".webm", vp8)):
        draw_video(place / f"x{suffix}", parts, size=SIZE, **coding)
    (place / "x.ts").write_bytes(_encoded(place / "x.mkv", "mpeg2video", "mpegts"))
    (place / "x.avi").write_bytes(_encoded(place / "x.mkv", "mpeg4", "avi"))
    return Kind(_samples(place), _decode)


def _encoded(path: Path, codec: str, form: str) -> bytes:
    """Encode a video anew for an older container."""
    out = io.BytesIO()
    with av.open(str(path)) as source, av.open(out, "w", format=form) as target:
        stream = target.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            frame.pict_type = 0
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    return out.getvalue()


def _decode(folder: Path, name: str) -> str:
    config = BuildConfig()
    key = DecodeKey(
        episode_id="e0",
        source_sha256="0",
        max_pixels=config.decode.max_pixels,
        max_duration_s=config.decode.max_duration_s,
        max_corrupt_ratio=config.decode.max_corrupt_ratio,
        shots=config.shots,
        candidates=config.candidates,
    )
    (folder / "out").mkdir()
    record = decode_episode(folder / name, folder / "out", DecodeJob(key=key, threads=1, max_memory_gb=1))
    rows = pq.read_table(folder / "out" / FRAMES, page_checksum_verification=True).to_pylist()
    assert len({row["frame_id"] for row in rows}) == len(rows), "a frame's id comes twice"
    assert not (record.fault and rows), "a video that is set aside has frames"
    assert all(0 <= row["shot_id"] < len(record.shots) for row in rows), "a frame is of no shot"
    read_embedded(folder / name)
    return f"recorded: {record.fault}" if record.fault else f"used, noted: {bool(record.note)}"


def subtitles(place: Path) -> Kind:
    """The same lines in five encodings and three formats."""
    lines = [(2 * n + 0.5, 2 * n + 2, text) for n, text in enumerate(_WORDS * 4)]
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        write_srt(place / f"{encoding}.srt", lines, encoding)
    write_srt(place / "latin.srt", [(s, e, t) for s, e, t in lines if t.isascii() or "Où" in t], "latin-1")
    srt = (place / "utf-8.srt").read_text("utf-8")
    (place / "x.vtt").write_text("WEBVTT\n\n" + srt.replace(",", "."), "utf-8")
    events = "".join(f"Dialogue: 0,0:00:{s:05.2f},0:00:{e:05.2f},Default,,0,0,0,,{t}\n" for s, e, t in lines)
    head = (
        "[Script Info]\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    )
    (place / "x.ass").write_text(head + events, "utf-8")
    return Kind(_samples(place), _read_subtitles)


def _read_subtitles(folder: Path, name: str) -> str:
    found = read_transcript(folder / name)
    assert all(line.text and 0 <= line.start_ms < line.end_ms for line in found.lines), "a line that cannot be"
    return f"used, noted: {bool(found.notes)}"


# ----------------------------------------------------------------------------------------------------------- a release


def _whole_release(place: Path) -> tuple[list[str], bytes, bytes]:
    names = release.names(258, *range(1, 7)) + release.names(300, 1, 2, 3)
    first = release.lines(release.story(names[:6]), release.story(names[6:], number=1))
    return names, first, release.lines(release.story(names[:3]))


def pictures(place: Path) -> Kind:
    """One picture of a sound archive is spoiled."""
    from PIL import Image

    for form in ("JPEG", "PNG", "WEBP"):
        data = io.BytesIO()
        Image.open(io.BytesIO(release.jpeg(1))).save(data, form)
        (place / f"x.{form.lower()}").write_bytes(data.getvalue())
    return Kind(_samples(place), _import_picture)


def _import_picture(folder: Path, name: str) -> str:
    names, first, _ = _whole_release(folder)
    members = [(one, (folder / name).read_bytes() if n == 2 else release.jpeg(n)) for n, one in enumerate(names)]
    pictures_at = release.write_tar(folder / "p.tar", members, "w")
    stories_at = release.write_zip(folder / "s.zip", {"train.jsonl": first})
    return _imported(pictures_at, stories_at, folder)


def archives(place: Path) -> Kind:
    """A tar archive of pictures, packed and not, and a zip archive of stories."""
    names, first, second = _whole_release(place)
    release.write_pictures(place / "x.tar.gz", names)
    release.write_tar(place / "x.tar", [(one, release.jpeg(n)) for n, one in enumerate(names)], "w")
    release.write_zip(place / "x.zip", {"train.jsonl": first, "val.jsonl": second})
    return Kind(_samples(place), _import_archive)


def _import_archive(folder: Path, name: str) -> str:
    names, first, second = _whole_release(folder)
    if name == "x.zip":
        return _imported(release.write_pictures(folder / "p.tar.gz", names), folder / name, folder)
    stories_at = release.write_zip(folder / "s.zip", {"train.jsonl": first, "val.jsonl": second})
    return _imported(folder / name, stories_at, folder)


def lines(place: Path) -> Kind:
    """JSONL files of stories."""
    names, first, second = _whole_release(place)
    (place / "train.jsonl").write_bytes(first)
    (place / "val.jsonl").write_bytes(first + second)
    chunks = [release.chunk(names[at : at + 3], number=0) for at in (0, 3)]
    (place / "train_3.jsonl").write_bytes(release.lines(*chunks, repr(release.story(names[6:])).encode()))
    return Kind(_samples(place), _import_lines)


def _import_lines(folder: Path, name: str) -> str:
    return _imported(release.write_pictures(folder / "p.tar.gz", _whole_release(folder)[0]), folder / name, folder)


def _imported(pictures_at: Path, stories_at: Path, folder: Path) -> str:
    manifest = import_release(pictures_at, stories_at, folder / "out", config=ReleaseConfig(shortest_part=2))
    counts = manifest.counts
    assert counts["release: pairs"] == counts["pairs"] + counts["pairs lost"], "a pair is neither told nor lost"
    assert _rows_of(folder / "out", "stories") == counts["stories"], "a story is not written, or twice"
    assert _rows_of(folder / "out", "errors") == counts["problems"], "a problem is not written"
    return f"used, told: {bool(counts['problems'])}"


def _rows_of(dataset: Path, table: str) -> int:
    return int(pq.read_metadata(dataset / "meta" / f"{table}.parquet").num_rows)


# ------------------------------------------------------------------------------------------------- files beside a build


def sources(place: Path) -> Kind:
    """`sources.yaml`."""
    said = (
        '- files: "*"\n  license: &free CC BY 3.0\n  attribution: "(c) Blender"\n- files: "x*.mp4"\n  license: *free\n'
    )
    (place / "sources.yaml").write_text(said)
    (place / "flow.yaml").write_text('[{files: "*", series: Fox, url: "https://example.org/1"}, {files: "x.mp4"}]\n')
    return Kind(_samples(place), _find_sources)


def _find_sources(folder: Path, name: str) -> str:
    (folder / "x.mp4").touch()
    (folder / name).rename(folder / "sources.yaml")
    (found,) = find_sources(folder, BuildConfig())
    assert all(isinstance(value, str) for value in (found.license, found.series, found.url)), "a field is no text"
    return "used"


def ledgers(place: Path) -> Kind:
    """Answers that were paid for, and the journal of batches."""
    said = {f"{n:064x}": Answer(f"{text} {n}", "stop", 100, 10) for n, text in enumerate(_WORDS * 3)}
    Ledger(place / "e0.jsonl").put_all(said)
    journal = BatchJournal(place / "batches.jsonl")
    for number in range(4):
        questions = {f"{number:064x}": "e0", f"{number + 9:064x}": "e1"}
        name = journal.name_of(questions)
        journal.intend(name, questions)
        journal.created(name, f"batch_{number}")
    journal.done(name)
    return Kind(_samples(place), _open_ledger)


def _open_ledger(folder: Path, name: str) -> str:
    if name == "batches.jsonl":
        return f"used: {'all' if len(BatchJournal(folder / name).open) == 3 else 'others'}"
    ledger = Ledger(folder / name)
    known = [ledger.get(f"{number:064x}") for number in range(15)]
    ledger.put("new", Answer("later", "stop", 1, 1))
    assert Ledger(folder / name).get("new"), "what is answered afterwards is lost"
    return f"used: {'all' if all(known) else 'others are asked again'}"


def sidecars(place: Path) -> Kind:
    """Captions that are given in a file."""
    rows = [{"frame_id": f"e0-{n:09d}", "caption": text} for n, text in enumerate(_WORDS * 4)]
    rows += [{"video": "x.mp4", "pts_ms": 100 * n, "caption": text} for n, text in enumerate(_WORDS)]
    (place / "x.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    cells = "".join(f'{row.get("frame_id", "")},{row.get("pts_ms", "")},"{row["caption"]}"\n' for row in rows[:20])
    (place / "x.csv").write_text("frame_id,pts_ms,caption\n" + cells, "utf-8")
    pq.write_table(pa.Table.from_pylist(rows), place / "x.parquet", write_page_checksum=True)
    return Kind(_samples(place), _read_sidecar)


def _read_sidecar(folder: Path, name: str) -> str:
    bad = BadRows()
    given = list(read_rows(folder / name, bad))
    if name == "x.jsonl":
        told = sum(1 for line in (folder / name).read_bytes().split(b"\n") if line.strip(b"\r\n"))
        assert told == len(given) + bad.counts.total(), "a row is neither taken nor told"
    return f"used, told: {bool(bad.counts)}"


def datasets(place: Path) -> Kind:
    """The files of a published dataset."""
    names, first, _ = _whole_release(place)
    (place / "train.jsonl").write_bytes(first)
    pictures_at = release.write_pictures(place / "p.tar", names)
    config = ReleaseConfig(shortest_part=2)
    import_release(pictures_at, place / "train.jsonl", place / "dataset", config=config)
    files = (path for path in (place / "dataset").rglob("*") if path.is_file())
    samples = {path.relative_to(place / "dataset").as_posix().replace("/", "%"): path.read_bytes() for path in files}
    return Kind(samples, partial(_verify, place / "dataset"))


def _verify(sound: Path, folder: Path, name: str) -> str:
    spoiled, inside = (folder / name).read_bytes(), name.replace("%", "/")
    (shutil.copytree(sound, folder / "dataset") / inside).write_bytes(spoiled)
    found = verify_dataset(folder / "dataset")
    is_same = spoiled == (sound / inside).read_bytes()
    assert found or is_same or name == MANIFEST, "a spoiled dataset is called sound"
    return "told: findings" if found else f"used: {'as it was' if is_same else 'its manifest says other things'}"


KINDS: dict[str, tuple[Callable[[Path], Kind], int]] = {
    "video": (videos, 2500),
    "subtitles": (subtitles, 1800),
    "picture": (pictures, 1000),
    "archive": (archives, 1500),
    "lines": (lines, 1000),
    "sources": (sources, 700),
    "ledger": (ledgers, 700),
    "sidecar": (sidecars, 800),
    "dataset": (datasets, 400),
}
"""Each kind, and how many mutations of 10,400 are its."""


def _samples(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(place.iterdir()) if path.is_file()}
