"""What a kill at any moment leaves goes on to the dataset of a run that was never killed, and nothing is paid twice.

A handful of kills; a hundred of each kind are `benchmarks/build_kills.py`'s.
"""

import shutil
from pathlib import Path

import pytest
from paid_server import endpoint_at, serving
from small_builds import small_config

from benchmarks.build_kills import Outcome, kill, works
from story_model.manifest import read_manifest
from story_model.workspace import RunFolder
from storystream_builder.build import build_dataset


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    return folder, works(folder, episodes=2, stories=20)


@pytest.fixture(scope="module", params=["build", "captions by batches", "import"])
def killed(request, places) -> Outcome:
    folder, known = places
    work, knows_keys = known[request.param]
    return kill(work, folder / request.param.replace(" ", "-"), kills=2, seed=7, knows_keys=knows_keys)


def test_what_was_killed_ends_as_what_was_not(killed):
    assert killed.kills == 2
    assert (killed.datasets_that_differ, killed.findings, killed.failed_runs) == (0, 0, [])


def test_nothing_is_paid_twice(killed):
    assert killed.paid_twice == 0


@pytest.mark.parametrize(("knows_keys", "paid"), [(True, 1), (False, 2)])
def test_an_answer_that_a_kill_kept_from_the_ledger_is_paid_once_where_the_server_knows_the_key(
    tmp_path, knows_keys, paid
):
    with serving() as server:
        server.knows_keys = knows_keys
        for ledger_dir in ("lost", "new"):
            answer = endpoint_at(server.url, tmp_path / ledger_dir).ask("e0", [{"role": "user", "content": "Who?"}])
            assert answer.text == "Seen: Who?"
        assert server.paid == {"Who?": paid}


def test_tables_of_a_killed_attempt_are_not_published(built, mixed_videos, settings, tmp_path):
    """An endpoint may answer now what it refused then: the tables are others, and may have other names."""
    folder = RunFolder(Path(shutil.copytree(built.root, tmp_path / "run")))
    manifest = read_manifest(folder.dataset_dir)
    (folder.dataset_dir / "manifest.json").unlink()
    (folder.dataset_dir / ".in_progress.json").write_text(manifest.key)
    (table,) = folder.dataset_dir.glob("data/*/train-*.parquet")
    table.rename(table.with_name("train-00000-of-00002.parquet"))
    config = small_config(license="CC BY 3.0", attribution="us")
    again = build_dataset(mixed_videos, folder, config=config, settings=settings)
    assert (again.key, again.files) == (manifest.key, manifest.files)


def test_other_questions_have_other_keys(tmp_path):
    with serving() as server:
        server.knows_keys = True
        endpoint = endpoint_at(server.url, tmp_path)
        asked = [endpoint.ask("e0", [{"role": "user", "content": text}]).text for text in ("Who?", "Where?")]
        asked += [endpoint.ask("e0", [{"role": "user", "content": "Who?"}], temperature=0).text]
        assert (asked, server.num_repeated) == (["Seen: Who?", "Seen: Where?", "Seen: Who?"], 0)
