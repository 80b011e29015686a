"""Finished steps on other filesystems: S3 as moto's server speaks it, a mounted folder, memory."""

from pathlib import Path

import fsspec
import pytest
from pydantic import BaseModel

from story_model.manifest import FileEntry, Manifest, StepResult, read_manifest, run_step
from story_model.store import Store, have_results, open_store

PAGES = {"a.txt": b"first", "pages/b.txt": b"second", "pages/c[1].txt": b"third"}


class Config(BaseModel):
    word: str = "a"


class Work:
    """Writes files and counts how often it was asked to."""

    def __init__(self, files: dict[str, bytes] = PAGES) -> None:
        self.files = files
        self.calls = 0

    def __call__(self, out_dir: Path) -> StepResult:
        self.calls += 1
        for name, content in self.files.items():
            (out_dir / name).parent.mkdir(exist_ok=True)
            (out_dir / name).write_bytes(content)
        return StepResult(counts={"files": len(self.files)})


def step_dir(store: Store) -> Path:
    return store.root / "demo" / "dataset"


def make(store: Store, work: Work, word: str = "a", *, kept: bool = True) -> Manifest:
    config = Config(word=word)
    return run_step(
        step_dir(store), work, step="test", version=1, config=config, inputs={}, store=store if kept else None
    )


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def on_store(store: Store) -> set[str]:
    """Names of what the store holds of the step."""
    fs, base = fsspec.url_to_fs(f"{store.url}/demo/dataset")
    fs.invalidate_cache()
    return {path.removeprefix(f"{base}/") for path in fs.find(base)}


def overwrite(store: Store, name: str, data: bytes) -> None:
    fs, path = fsspec.url_to_fs(f"{store.url}/demo/dataset/{name}")
    fs.pipe_file(path, data)


def uploads(store: Store, monkeypatch: pytest.MonkeyPatch, *, kill_after: int | None = None) -> list[str]:
    """Note which files are sent; at one too many the machine dies."""
    fs, _ = fsspec.url_to_fs(store.url)
    sent: list[str] = []
    put = fs.put

    def counted(local: list[str], remote: list[str]) -> None:
        for one, path in zip(local, remote, strict=True):
            if len(sent) == kill_after:
                raise KeyboardInterrupt
            put([one], [path])
            sent.append(Path(path).name)

    monkeypatch.setattr(fs, "put", counted)
    return sent


def test_another_machine_computes_nothing_again(here: Store, there: Store) -> None:
    first = make(here, Work())
    work = Work()
    second = make(there, work)
    assert (work.calls, second.reused) == (0, True)
    assert contents(step_dir(there)) == PAGES
    assert read_manifest(step_dir(there)) == first


def test_what_was_made_without_the_store_reaches_it_with_the_next_run(here: Store, there: Store) -> None:
    make(here, Work(), kept=False)
    assert on_store(here) == set()
    make(here, Work())
    assert make(there, Work()).reused


def test_a_step_of_another_configuration_is_not_taken(here: Store, there: Store) -> None:
    make(here, Work())
    work = Work({"a.txt": b"other"})
    make(there, work, "b")
    assert work.calls == 1
    assert contents(step_dir(there)) == {"a.txt": b"other"}


@pytest.mark.parametrize("damage", [b"sEcond", b"sec"], ids=["a changed byte", "a cut file"])
def test_a_damaged_step_is_made_anew_and_mended(
    here: Store, there: Store, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    make(here, Work())
    overwrite(here, "pages/b.txt", damage)
    work = Work()
    make(there, work)
    assert work.calls == 1
    assert "demo/dataset in the store is damaged: pages/b.txt" in caplog.text
    third = Store(here.url, here.root.parent / "third")
    assert make(third, Work()).reused


def test_a_missing_file_is_noticed_by_who_has_it_and_by_who_wants_it(here: Store, there: Store) -> None:
    make(here, Work())
    fs, path = fsspec.url_to_fs(f"{here.url}/demo/dataset/a.txt")
    fs.rm_file(path)
    assert there.fetch(step_dir(there)) is None
    assert here.push(step_dir(here))
    assert there.fetch(step_dir(there)) is not None


def test_a_push_that_is_killed_publishes_nothing(here: Store, there: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        uploads(here, patch, kill_after=2)
        with pytest.raises(KeyboardInterrupt):
            make(here, Work())
    assert len(on_store(here)) == 2
    assert there.fetch(step_dir(there)) is None
    assert make(here, Work()).reused, "what was computed is finished locally, whatever became of the store"
    assert there.fetch(step_dir(there)) is not None


def test_a_second_push_that_is_killed_leaves_no_mixture(
    here: Store, there: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(here, Work())
    with monkeypatch.context() as patch:
        uploads(here, patch, kill_after=1)
        with pytest.raises(KeyboardInterrupt):
            make(here, Work({name: b"new" for name in PAGES}), "b")
    assert "manifest.json" not in on_store(here)
    assert there.fetch(step_dir(there)) is None


def test_an_equal_step_is_not_sent_again(here: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    make(here, Work())
    sent = uploads(here, monkeypatch)
    assert not here.push(step_dir(here))
    assert sent == []


def test_only_files_that_changed_are_sent_and_old_ones_go(here: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    make(here, Work())
    sent = uploads(here, monkeypatch)
    make(here, Work({"a.txt": b"first", "d.txt": b"new"}), "b")
    assert sent == ["d.txt"]
    assert on_store(here) == {"a.txt", "d.txt", "manifest.json"}


def test_two_machines_that_push_the_same_at_once_do_not_disturb_one_another(
    here: Store, there: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(here, Work(), kept=False)
    make(there, Work(), kept=False)
    fs, _ = fsspec.url_to_fs(here.url)
    put = fs.put

    def slower(local: list[str], remote: list[str]) -> None:
        """Half of the files, then the other machine's whole push, then the rest."""
        monkeypatch.setattr(fs, "put", put)
        put(local[:1], remote[:1])
        there.push(step_dir(there))
        put(local[1:], remote[1:])

    monkeypatch.setattr(fs, "put", slower)
    here.push(step_dir(here))
    third = Store(here.url, here.root.parent / "third")
    assert third.fetch(step_dir(third)) is not None
    assert contents(step_dir(third)) == PAGES


def test_a_name_that_leaves_the_folder_is_not_followed(
    here: Store, there: Store, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = make(here, Work())
    manifest.files["../../outside.txt"] = FileEntry(sha256="0" * 64, bytes=1)
    overwrite(here, "manifest.json", manifest.model_dump_json().encode())
    assert there.fetch(step_dir(there)) is None
    assert "leaves" in caplog.text
    assert not [path for path in there.root.rglob("*") if path.is_file()]


def test_a_manifest_that_is_none_counts_as_absent(here: Store, there: Store) -> None:
    make(here, Work())
    overwrite(here, "manifest.json", b'{"step": ')
    assert there.fetch(step_dir(there)) is None


def test_a_damaged_step_leaves_the_local_one_alone(here: Store, there: Store) -> None:
    make(here, Work())
    overwrite(here, "a.txt", b"fIrst")
    make(there, Work({"mine.txt": b"mine"}), "b", kept=False)
    assert there.fetch(step_dir(there)) is None
    assert contents(step_dir(there)) == {"mine.txt": b"mine"}


def test_a_result_is_had_by_its_digest(here: Store, there: Store) -> None:
    digest = make(here, Work()).digest
    there.ensure(step_dir(there), digest)
    there.ensure(step_dir(there), digest)
    with pytest.raises(ValueError, match="demo/dataset is neither here nor whole in the store"):
        there.ensure(step_dir(there), "0" * 64)


def test_results_of_other_machines_are_brought_together(here: Store, there: Store) -> None:
    digests = {step_dir(there): make(here, Work()).digest}
    with pytest.raises(ValueError, match="demo/dataset was made on another machine"):
        have_results(digests, None)
    have_results(digests, there)
    have_results(digests, None)
    assert contents(step_dir(there)) == PAGES


def test_many_small_files_travel_together_and_large_ones_alone(
    here: Store, there: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("story_model.store._GROUP_BYTES", 10)
    monkeypatch.setattr("story_model.store._GROUP_FILES", 3)
    files = {f"{number}.txt": b"x" * size for number, size in enumerate([1, 1, 1, 1, 50, 9, 9])}
    make(here, Work(files))
    there.fetch(step_dir(there))
    assert contents(step_dir(there)) == files


@pytest.mark.parametrize("url", [None, ""])
def test_without_a_url_there_is_no_store(url: str | None, tmp_path: Path) -> None:
    assert open_store(url, tmp_path) is None


def test_a_filesystem_that_nobody_knows_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Protocol not known: nowhere; set STORY_STORE"):
        open_store("nowhere://x", tmp_path)


def test_a_bucket_that_is_not_there_is_not_made(s3: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bucket 'misspelt' does not exist"):
        open_store("s3://misspelt/x", tmp_path)
    assert open_store(s3, tmp_path) == Store(s3, tmp_path)


@pytest.mark.parametrize("url", ["memory://new/x", "file:///tmp/new/x", "/tmp/new/x"])
def test_a_folder_that_is_not_there_is_made_with_the_first_step(url: str, tmp_path: Path) -> None:
    assert open_store(url, tmp_path) == Store(url, tmp_path)


def test_a_filesystem_whose_package_is_missing_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("story_model.store.url_to_fs", missing)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[s3\]'"):
        open_store("s3://bucket/x", tmp_path)
