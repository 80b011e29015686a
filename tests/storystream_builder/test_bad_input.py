"""Whatever is wrong with one input is told by its code, and everything else of the run is published.

Where each kind of bad input is proven; what has no file's name is here:

    empty, HTML as MP4, no index       here; test_videos.py
    truncated WebM and Matroska        here; test_decode.py (the last percents)
    bit flips, a hole                  here; test_decode.py (no damaged frame is a keyframe); test_mutations.py
    header counts no frames            here; test_decode.py (a real clip)
    sound alone, one shot, VFR         here; test_videos.py, test_shots.py
    delayed start, rotation, SAR       here; test_decode.py, test_pictures.py
    names of files                     here; test_episodes.py, test_safe_text.py
    decompression bombs                test_storystream_release.py (import), story_model/test_dataset.py (training)
    huge, too long                     here; test_videos.py, test_decode.py (while decoding)
    corrupt picture in training        story_model/test_dataset.py, training/
    path traversal                     test_storystream_release.py, test_archives.py,
                                       test_verify.py, test_remote_videos.py
    JSONL that lies                    test_storystream_release.py, test_sidecar.py; test_mutations.py
    duplicates, recurring credits      here; test_duplicates.py
    equal base names                   here; test_remote_videos.py
    more workers than videos           here
    nothing left after the filters     here; test_build_dataset.py (the error), test_parquet.py (an empty table)
    retried in the middle              test_kills.py, test_episodes.py
    a decoder that hangs or crashes    here; test_episodes.py
    an endpoint's wrong answers        here (they end one story); test_narratives.py, test_story_check.py
    no key, 429, 503                   here; test_endpoint.py; expired batches: test_batch_api.py
    disk full                          here; story_model/test_checkpoint.py
    kill -9                            test_kills.py
    unknown licence                    here
"""

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from drawn_videos import draw_video, scenes
from odd_videos import FAULTS, GOOD, LIMITS, LONG, NOTES, RIGHT_TO_LEFT, draw_odd_videos
from paid_server import PaidServer, said_in, serving
from small_builds import small_config

from story_model.config import PROJECT_DIR, Settings
from story_model.manifest import read_manifest
from story_model.workspace import RunFolder
from storystream_builder import children
from storystream_builder.build import build_dataset, find_sources, prepare_episode
from storystream_builder.verify import verify_dataset
from storystream_builder.videos import printable

ODD_CONFIG = {"workers": 2, "require_license": True, "decode": LIMITS}


def rows(folder: RunFolder, name: str) -> list[dict]:
    return pq.read_table(folder.dataset_dir / "meta" / f"{name}.parquet").to_pylist()


def sabotaged(module: str, *arguments: str, log_dir: Path | None = None, timeout_s: float | None = None) -> None:
    """Run the child that is asked for; for two videos one that waits for ever, or that the kernel ends."""
    if arguments[0].endswith("hangs.mp4"):
        children.run_child("asyncio", log_dir=log_dir, timeout_s=1)
    elif arguments[0].endswith("crashes.mp4"):
        children.run_child("this_module_is_missing", log_dir=log_dir, timeout_s=timeout_s)
    else:
        children.run_child(module, *arguments, log_dir=log_dir, timeout_s=timeout_s)


@pytest.fixture(scope="module")
def odd(tmp_path_factory, settings) -> RunFolder:
    """A run folder with the dataset that comes of all the odd videos."""
    videos = draw_odd_videos(tmp_path_factory.mktemp("odd") / "videos")
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "odd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("storystream_builder.episodes.run_child", sabotaged)
        build_dataset(videos, folder, config=small_config(**ODD_CONFIG), settings=settings)
    return folder


@pytest.fixture(scope="module")
def episodes(odd) -> dict[str, dict]:
    """The rows of the episodes table by the video's name."""
    return {row["source_name"]: row for row in rows(odd, "episodes")}


@pytest.mark.parametrize(("file", "code"), [*FAULTS.items(), *NOTES.items()])
def test_a_bad_video_is_told_by_its_code(odd, file, code):
    assert [row["code"] for row in rows(odd, "errors") if row["file"] == file] == [code]


def test_nothing_else_is_told(odd):
    assert {row["file"] for row in rows(odd, "errors")} == {*FAULTS, *NOTES}


def test_every_usable_video_is_an_episode(episodes):
    assert episodes.keys() == {*map(printable, GOOD), *NOTES, "other_encode.mkv"}


def test_what_is_published_is_sound(odd):
    assert verify_dataset(odd.dataset_dir) == []


def test_every_video_is_an_episode_or_a_row(odd, episodes):
    counts = read_manifest(odd.dataset_dir).counts
    assert counts["videos"] == len(GOOD) + len(NOTES) + len(FAULTS)
    lost = [name for name, code in FAULTS.items() if name != "other_encode.mkv"]
    assert counts["videos"] == len(episodes) + len(lost)


@pytest.mark.parametrize(
    ("file", "column", "value"),
    [
        ("uncounted.webm", "num_shots", 4),
        ("one_shot.mp4", "num_shots", 1),
        ("uneven.mp4", "num_shots", 3),
        ("late.mkv", "duration_ms", 3000),
        ("oblong.mp4", "pixel_aspect", "4/3"),
        ("turned.mp4", "rotation", 270),
    ],
)
def test_an_unusual_video_is_read_as_it_is_meant(episodes, file, column, value):
    assert episodes[file][column] == value


def test_a_turned_picture_is_stored_upright(odd, episodes):
    frames = pq.read_table(odd.dataset_dir / "frames", columns=["episode_id", "width", "height"]).to_pylist()
    sizes = {
        (row["width"], row["height"]) for row in frames if row["episode_id"] == episodes["turned.mp4"]["episode_id"]
    }
    assert sizes == {(96, 160)}


def test_equal_base_names_are_two_episodes(episodes):
    assert episodes["a/01.mp4"]["source_sha256"] != episodes["b/01.mp4"]["source_sha256"]


@pytest.mark.parametrize("name", [RIGHT_TO_LEFT, LONG, "-rf.mp4", "two\nlines.mp4"])
def test_no_name_from_a_user_is_a_file_s_name_in_the_dataset(odd, name):
    assert not [path for path in odd.dataset_dir.rglob("*") if Path(name).stem in path.name]


def test_credits_that_episodes_share_are_in_no_story(odd, episodes):
    credits = {row["episode_id"] for name, row in episodes.items() if name.startswith("credits")}
    frames = pq.read_table(odd.dataset_dir / "frames", columns=["episode_id", "status"]).to_pylist()
    dropped = {row["episode_id"] for row in frames if row["status"] == "recurring"}
    assert dropped == credits


def test_a_decoder_that_hung_or_crashed_is_tried_again(odd, tmp_path_factory, settings):
    """What was no fault of the file is not remembered."""
    videos = tmp_path_factory.mktemp("again")
    for number, name in enumerate(("hangs.mp4", "crashes.mp4")):
        draw_video(videos / name, scenes(*range(4000 + 10 * number, 4002 + 10 * number)))
    manifest = build_dataset(videos, odd, config=small_config(decode=LIMITS), settings=settings)
    assert (manifest.counts["episodes"], manifest.counts["problems"]) == (2, 0)


@pytest.fixture(scope="module")
def two_videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    draw_video(folder / "a.mp4", scenes(5001, 5002, 5003, 5004))
    draw_video(folder / "b.mp4", scenes(5011, 5012, 5013, 5014))
    return folder


def test_more_workers_than_videos_lose_nothing(two_videos, tmp_path, settings):
    manifest = build_dataset(
        two_videos, RunFolder(tmp_path / "run"), config=small_config(workers=16), settings=settings
    )
    assert manifest.counts["episodes"] == 2


def test_filters_that_leave_nothing_end_with_where_the_frames_went_and_publish_nothing(two_videos, tmp_path, settings):
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(ValueError, match=r"of their candidates: .*blurred"):
        build_dataset(two_videos, folder, config=small_config(filters={"min_sharpness": 1e9}), settings=settings)
    assert read_manifest(folder.dataset_dir) is None


# ------------------------------------------------------------------------------------------------------- the endpoint

TOLD = {
    "a count that is wrong": lambda frames: json.dumps({"passages": passages(frames)[:-1]}),
    "frames that are not there": lambda frames: json.dumps(
        {"passages": [*passages(frames), {"frame": 99, "text": "x"}]}
    ),
    "names nobody bears": lambda frames: json.dumps(
        {
            "passages": [
                {"frame": n, "text": f"Then old Gandalf walked down road number {n} with Frodo."} for n in frames
            ]
        }
    ),
    "a refusal": lambda frames: "I'm sorry, but I can't help with that.",
    "JSON cut short": lambda frames: json.dumps({"passages": passages(frames)})[:-9],
}


def passages(frames: list[int]) -> list[dict[str, object]]:
    words = ["red", "green", "blue", "brown", "grey", "white", "black", "pink"]
    return [{"frame": n, "text": f"The small square went over the {words[n]} blocks once more."} for n in frames]


def frames_in(body: dict) -> list[int]:
    return [frame["frame"] for frame in json.loads(body["messages"][1]["content"])["frames"]]


def is_caption(body: dict) -> bool:
    return not isinstance(body["messages"][1]["content"], str)


def asking(server: PaidServer) -> tuple[dict, Settings]:
    sections = {
        "captions": {"captioner": "openai", "model": "seer"},
        "narratives": {"narrator": "text", "model": "seer", "attempts": 2},
    }
    return sections, Settings(_env_file=None, api_base_url=server.url)


@pytest.mark.parametrize("answer", TOLD.values(), ids=TOLD)
def test_a_story_that_is_told_wrong_is_a_row_and_the_other_is_published(two_videos, tmp_path, answer):
    with serving() as server:
        first: list[str] = []

        def words(body: dict) -> str:
            if is_caption(body):
                return f"A small square moves over blocks, {len(said_in(body).strip('A'))} {said_in(body)[-9:-2]}."
            told = body["messages"][1]["content"]
            first[:] = first or [told]
            return answer(frames_in(body)) if told == first[0] else json.dumps({"passages": passages(frames_in(body))})

        server.words = words
        sections, settings = asking(server)
        config = small_config(**sections | {"captions": sections["captions"] | {"concurrency": 1}})
        folder = RunFolder(tmp_path / "run")
        manifest = build_dataset(two_videos, folder, config=config, settings=settings)
    assert [row["code"] for row in rows(folder, "errors")] == ["story failed"]
    assert (manifest.counts["pairs"], manifest.counts["stories failed"]) == (4, 1)


@pytest.mark.parametrize("status", [401, 429, 503])
def test_an_endpoint_that_stops_answering_ends_the_run_and_nothing_is_paid_again(
    two_videos, tmp_path, status, monkeypatch
):
    monkeypatch.setattr("story_model.asking.endpoint._RETRIES", 0)
    folder = RunFolder(tmp_path / "run")
    with serving() as server:
        sections, settings = asking(server)
        config = small_config(captions=sections["captions"] | {"concurrency": 1})
        server.refuse_after = 2, status
        with pytest.raises(ValueError, match="STORY_API_KEY" if status == 401 else "run again later"):
            build_dataset(two_videos, folder, config=config, settings=settings)
        assert read_manifest(folder.dataset_dir) is None
        server.refuse_after = None
        build_dataset(two_videos, folder, config=config, settings=settings)
        assert set(server.paid.values()) == {1}
        assert len(server.paid) == read_manifest(folder.dataset_dir).counts["captions seen"]


# ------------------------------------------------------------------------------------------------------- a full disk


def build_on_a_disk_of(num_bytes: int | None, videos: Path, run_dir: Path) -> subprocess.CompletedProcess:
    """Build by hand where no file may grow beyond some bytes, in children's processes too."""

    def limit() -> None:
        if num_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))

    command = [sys.executable, "-m", "storystream_builder", "build", str(run_dir), str(videos)]
    stories = ["build.stories.length=4", "build.stories.min_length=2", "build.stories.chunk_length=2"]
    return subprocess.run(
        [*command, *stories], cwd=PROJECT_DIR, capture_output=True, text=True, check=False, preexec_fn=limit
    )


@pytest.mark.parametrize(
    ("is_decoded", "num_bytes"),
    [(False, 100), (False, 4_000), (True, 8_000)],
    ids=["at once", "while decoding", "while publishing"],
)
def test_a_full_disk_is_one_line_and_nothing_half_and_the_run_goes_on_when_there_is_room(
    two_videos, tmp_path, settings, is_decoded, num_bytes
):
    folder = RunFolder(tmp_path / "run")
    for source in find_sources(two_videos, small_config()) if is_decoded else ():
        prepare_episode(source, folder, config=small_config())
    full = build_on_a_disk_of(num_bytes, two_videos, folder.root)
    assert full.returncode == 1
    (line,) = [one for one in full.stderr.splitlines() if one.startswith("error:")]
    assert os.strerror(errno.EFBIG) in line
    assert "Traceback" not in full.stderr
    assert read_manifest(folder.dataset_dir) is None
    assert build_on_a_disk_of(None, two_videos, folder.root).returncode == 0
    whole = build_dataset(two_videos, RunFolder(tmp_path / "whole"), config=small_config(), settings=settings)
    assert read_manifest(folder.dataset_dir).files == whole.files
    assert verify_dataset(folder.dataset_dir) == []
