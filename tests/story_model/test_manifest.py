import json
from pathlib import Path

import pytest
from filelock import FileLock
from pydantic import BaseModel

from story_model.manifest import StepResult, digest_of, intact, read_manifest, run_step, write_atomically


class Config(BaseModel):
    word: str = "a"


class Work:
    """Writes a file and counts how often it was asked to."""

    def __init__(self, content: str = "made") -> None:
        self.content = content
        self.calls = 0

    def __call__(self, out_dir: Path) -> StepResult:
        self.calls += 1
        (out_dir / "result.txt").write_text(self.content)
        return StepResult(counts={"files": 1}, metrics={"score": 0.5})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    (path / "data.txt").write_text("one")
    return path


def make(tmp_path: Path, work: Work, source: Path, *, config: Config | None = None, version: int = 1):
    return run_step(
        tmp_path / "out", work, step="test", version=version, config=config or Config(), inputs={"source": source}
    )


def test_a_second_run_computes_nothing(tmp_path: Path, source: Path) -> None:
    work = Work()
    first, second = make(tmp_path, work, source), make(tmp_path, work, source)
    assert (work.calls, first.reused, second.reused) == (1, False, True)
    assert second.metrics == {"score": 0.5}


@pytest.mark.parametrize("change", ["config", "version", "input"])
def test_what_decides_the_result_makes_the_step_run_again(tmp_path: Path, source: Path, change: str) -> None:
    work = Work()
    make(tmp_path, work, source)
    if change == "input":
        (source / "data.txt").write_text("two")
    config = Config(word="b") if change == "config" else None
    make(tmp_path, work, source, config=config, version=2 if change == "version" else 1)
    assert work.calls == 2


def test_a_missing_or_cut_file_makes_the_step_run_again(tmp_path: Path, source: Path) -> None:
    work = Work()
    make(tmp_path, work, source)
    (tmp_path / "out" / "result.txt").write_text("ma")
    make(tmp_path, work, source)
    assert work.calls == 2


def test_a_changed_byte_is_found_by_a_thorough_look(tmp_path: Path, source: Path) -> None:
    manifest = make(tmp_path, Work(), source)
    (tmp_path / "out" / "result.txt").write_text("mare")
    assert intact(tmp_path / "out", manifest)
    assert not intact(tmp_path / "out", manifest, thorough=True)


def test_a_failed_attempt_leaves_its_files_to_the_next_one(tmp_path: Path, source: Path) -> None:
    def fails(out_dir: Path) -> StepResult:
        (out_dir / "half.txt").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run_step(tmp_path / "out", fails, step="test", version=1, config=Config(), inputs={"source": source})
    assert read_manifest(tmp_path / "out") is None
    manifest = make(tmp_path, Work(), source)
    assert set(manifest.files) == {"half.txt", "result.txt"}


def test_an_attempt_under_another_configuration_starts_in_an_empty_folder(tmp_path: Path, source: Path) -> None:
    make(tmp_path, Work(), source)
    (tmp_path / "out" / "stray.txt").write_text("old")
    manifest = make(tmp_path, Work(), source, config=Config(word="b"))
    assert set(manifest.files) == {"result.txt"}


def test_equal_results_have_equal_identities_whatever_made_them(tmp_path: Path, source: Path) -> None:
    first = make(tmp_path, Work(), source)
    second = make(tmp_path, Work(), source, config=Config(word="b"))
    assert first.digest == second.digest == digest_of(tmp_path / "out")


def test_a_folder_in_use_is_refused(tmp_path: Path, source: Path) -> None:
    with FileLock(tmp_path / ".out.lock"), pytest.raises(ValueError, match="another process is working on"):
        make(tmp_path, Work(), source)


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere does not exist"):
        make(tmp_path, Work(), tmp_path / "nowhere")


def test_a_manifest_that_is_none_makes_the_step_run_again(tmp_path: Path, source: Path) -> None:
    work = Work()
    make(tmp_path, work, source)
    (tmp_path / "out" / "manifest.json").write_text(json.dumps({"step": "test"}))
    make(tmp_path, work, source)
    assert work.calls == 2


def test_an_interrupted_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("story_model.manifest.os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
