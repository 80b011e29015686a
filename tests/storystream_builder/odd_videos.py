"""Videos with everything that is known to go wrong with them, drawn on the spot, and what must be told of each."""

import os
import shutil
from fractions import Fraction
from pathlib import Path

from drawn_videos import Scene, draw_sound, draw_video, scenes

RIGHT_TO_LEFT = "gpj\u202e4pm.mp4"
LONG = "x" * 251 + ".mp4"
NOT_UTF8 = os.fsdecode(b"caf\xe9.mp4")

FAULTS = {
    "empty.mp4": "empty",
    "moved_away.mp4": "unreadable",
    "page.mp4": "unreadable",
    "no_index.mp4": "truncated",
    "half.webm": "truncated",
    "half.mkv": "truncated",
    "holes.mp4": "corrupt",
    "sound.mp4": "no video stream",
    "huge.mp4": "too large",
    "endless.mp4": "too long",
    "hangs.mp4": "timed out",
    "crashes.mp4": "crashed",
    "playlist.mp4": "unreadable",
    "twin.mp4": "duplicate",
    "other_encode.mkv": "duplicate",
    "nobodys.mp4": "unknown licence",
}
"""The code in `meta/errors.parquet` of each video that is set aside."""
NOTES = {"flipped.mp4": "corrupt", "nearly_whole.mkv": "truncated"}
"""The code of what is told of videos that are used all the same."""
GOOD = (
    *("plain.mp4", "a/01.mp4", "b/01.mp4", "uncounted.webm", "uneven.mp4", "late.mkv", "turned.mp4", "oblong.mp4"),
    *(NOT_UTF8, RIGHT_TO_LEFT, LONG, "-rf.mp4", "two\nlines.mp4", "one_shot.mp4"),
    *("credits_1.mp4", "credits_2.mp4", "credits_3.mp4"),
)
LIMITS = {"max_pixels": 200_000, "max_duration_s": 20.0}


def draw_odd_videos(folder: Path) -> Path:
    """Draw all of them, and a `sources.yaml` that knows the licence of all but one."""
    for name in ("", "a", "b"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _draw_good(folder)
    _spoil(folder)
    (folder / "sources.yaml").write_text(
        '- files: "[!n]*"\n  license: CC0\n- files: "no_index.mp4"\n  license: CC0\n'
        '- files: "nearly_whole.mkv"\n  license: CC0\n'
    )
    return folder


def _draw_good(folder: Path) -> None:
    for number, name in enumerate(GOOD):
        seeds = range(100 * number, 100 * number + 4)
        if "." in name and not name.startswith(("late", "uneven", "turned", "oblong", "one_shot", "credits")):
            draw_video(folder / name, scenes(*seeds), **_coding(name))
    draw_video(folder / "uneven.mp4", scenes(3001, 3002, 3003), gap_after={4: 20})
    draw_video(folder / "late.mkv", scenes(3101, 3102, 3103), container_options={"output_ts_offset": "5"})
    draw_video(folder / "oblong.mp4", scenes(3201, 3202), sample_aspect=Fraction(4, 3))
    turn(draw_video(folder / ".upright.mp4", scenes(3301, 3302)), folder / "turned.mp4")
    draw_video(folder / "one_shot.mp4", [Scene(3401, 4.0)])
    for number in (1, 2, 3):
        draw_video(
            folder / f"credits_{number}.mp4", [Scene(3500), *scenes(*(3500 + 10 * number + i for i in range(8)))]
        )


def _spoil(folder: Path) -> None:
    (folder / "empty.mp4").touch()
    (folder / "moved_away.mp4").symlink_to(folder / "nowhere.mp4")
    (folder / "page.mp4").write_text("<!doctype html><html><body>404 Not Found</body></html>" * 99)
    (folder / "playlist.mp4").write_text("ffconcat version 1.0\nfile plain.mp4\n")
    draw_sound(folder / "sound.mp4")
    draw_video(folder / "huge.mp4", [Scene(1, 0.2)], size=(640, 360))
    draw_video(folder / "endless.mp4", [Scene(1, 21.0)])
    for number, name in enumerate(("hangs.mp4", "crashes.mp4", "nobodys.mp4")):
        draw_video(folder / name, scenes(*range(4000 + 10 * number, 4002 + 10 * number)))
    shutil.copy(folder / "plain.mp4", folder / "twin.mp4")
    draw_video(folder / "other_encode.mkv", scenes(0, 1, 2, 3), size=(128, 76), options={"crf": "30", "g": "25"})
    whole = draw_video(folder / ".whole.mp4", scenes(*range(50, 58))).read_bytes()
    (folder / "no_index.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "holes.mp4").write_bytes(_zeroed(whole, 0.1, 0.6))
    at = int(0.55 * len(whole))
    (folder / "flipped.mp4").write_bytes(whole[:at] + b"\xff" * 600 + whole[at + 600 :])
    for name, share in (("half.webm", 0.5), ("half.mkv", 0.5), ("nearly_whole.mkv", 0.93)):
        whole = draw_video(folder / f".whole{Path(name).suffix}", scenes(*range(60, 68)), **_coding(name)).read_bytes()
        (folder / name).write_bytes(whole[: int(share * len(whole))])


def _coding(name: str) -> dict[str, object]:
    return (
        {"codec": "libvpx", "options": {"b": "1M", "g": "10", "deadline": "realtime"}} if name.endswith("webm") else {}
    )


def _zeroed(data: bytes, start: float, share: float) -> bytes:
    at, size = int(start * len(data)), int(share * len(data))
    return data[:at] + bytes(size) + data[at + size :]


def turn(upright: Path, turned: Path) -> Path:
    """Write an MP4's quarter turn into its header: the matrix of the first track."""
    data = bytearray(upright.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 4 * 5 + 8 + 2 * 4  # version, times, track, reserved, layer, volume
    one = 1 << 16
    matrix = (0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    turned.write_bytes(data)
    return turned
