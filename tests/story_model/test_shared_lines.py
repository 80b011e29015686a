"""Lines that several machines add to: none is lost, none is overwritten, and they keep their order."""

import logging

import fsspec
import pytest

from story_model.shared_lines import SharedLines
from story_model.store import Store


def test_a_line_paid_for_on_one_machine_is_known_on_another(here: Store, there: Store) -> None:
    ours, theirs = here.root / "demo" / "answers" / "e1.jsonl", there.root / "demo" / "answers" / "e1.jsonl"
    for line in (b'{"key": 1}', b'{"key": 2}'):
        SharedLines(here, ours).add([line])
    SharedLines(there, theirs).gather()
    assert set(theirs.read_bytes().split()) == {b'{"key":', b"1}", b"2}"}


def test_lines_of_two_machines_are_united_and_none_is_lost(here: Store, there: Store) -> None:
    ours, theirs = here.root / "demo" / "answers" / "e1.jsonl", there.root / "demo" / "answers" / "e1.jsonl"
    for path, lines in ((ours, b"\none\ntwo"), (theirs, b"\ntwo\nthree")):
        path.parent.mkdir(parents=True)
        path.write_bytes(lines)
    SharedLines(here, ours).gather()
    SharedLines(there, theirs).gather()
    SharedLines(here, ours).gather()
    assert sorted(ours.read_bytes().split()) == sorted(theirs.read_bytes().split()) == [b"one", b"three", b"two"]


def test_lines_come_in_the_order_in_which_they_were_added(here: Store, there: Store) -> None:
    ours, theirs = here.root / "demo" / "answers" / "e1.jsonl", there.root / "demo" / "answers" / "e1.jsonl"
    lines = [b"intended", b"created", b"done", b"another"]
    for line in lines:
        SharedLines(here, ours).add([line])
    SharedLines(there, theirs).gather()
    assert theirs.read_bytes().split() == lines
    SharedLines(here, ours).gather()
    assert ours.read_bytes().split() == lines


def test_gathered_lines_are_one_object_and_stay_so(here: Store, there: Store) -> None:
    path = here.root / "demo" / "answers" / "e1.jsonl"
    lines = SharedLines(here, path)
    for number in range(5):
        lines.add([b"line %d" % number])
    fs, base = fsspec.url_to_fs(f"{here.url}/demo/answers/e1")
    assert len(fs.find(base)) == 5
    lines.gather()
    fs.invalidate_cache()
    [kept] = fs.find(base)
    assert len(fs.cat_file(kept).splitlines()) == 5
    lines.gather()
    fs.invalidate_cache()
    assert fs.find(base) == [kept]


def test_a_line_that_another_machine_gathers_meanwhile_is_read_where_it_went(
    here: Store, there: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = here.root / "demo" / "answers" / "e1.jsonl"
    for line in (b"one", b"two"):
        SharedLines(here, path).add([line])
    fs, _ = fsspec.url_to_fs(here.url)
    find = fs.find

    def then_gathered(place: str) -> list[str]:
        """List, and have the other machine make one object of many before anything is read."""
        names = find(place)
        monkeypatch.setattr(fs, "find", find)
        SharedLines(there, there.root / "demo" / "answers" / "e1.jsonl").gather()
        return list(names)

    monkeypatch.setattr(fs, "find", then_gathered)
    SharedLines(here, path).gather()
    assert sorted(path.read_bytes().split()) == [b"one", b"two"]


def test_a_half_uploaded_line_is_left_out(here: Store, caplog: pytest.LogCaptureFixture) -> None:
    path = here.root / "demo" / "answers" / "e1.jsonl"
    SharedLines(here, path).add([b"whole"])
    fs, base = fsspec.url_to_fs(f"{here.url}/demo/answers/e1")
    fs.pipe_file(f"{base}/{'0' * 64}.jsonl", b"ha")
    with caplog.at_level(logging.WARNING):
        SharedLines(here, path).gather()
    assert path.read_bytes().split() == [b"whole"]
    assert "is not what was put there" in caplog.text
