"""Ledgers: what was paid is found again, whatever else lies in the file."""

import json
import os
import signal
import subprocess
import sys

import pytest

from story_model.asking.answers import Answer, Ledger, read_lines
from story_model.config import PROJECT_DIR

FOX = Answer("A fox.", "stop", 100, 10)
OWL = Answer("An owl.", "stop", 100, 10)


def test_an_answer_is_found_by_another_process(tmp_path):
    Ledger(tmp_path / "e.jsonl").put("k", FOX)
    assert Ledger(tmp_path / "e.jsonl").get("k") == FOX


def test_the_first_answer_stays(tmp_path):
    ledger = Ledger(tmp_path / "e.jsonl")
    ledger.put("k", FOX)
    ledger.put("k", OWL)
    assert ledger.get("k") == Ledger(tmp_path / "e.jsonl").get("k") == FOX


def line(**changes) -> bytes:
    known = {"key": "k", "text": "A lie.", "finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 1}
    return json.dumps(known | changes).encode()


@pytest.mark.parametrize(
    "lie",
    [
        b"\xff\xfe\x00\x01",
        b"[]",
        b"7",
        b"[" * 100_000,
        b'{"key": "k", "key": "k", "text": "", "finish_reason": "", "prompt_tokens": 1, "completion_tokens": 1}',
        line(prompt_tokens=float("nan")),
        line(prompt_tokens=1.5),
        line(prompt_tokens="1"),
        line(prompt_tokens=True),
        line(prompt_tokens=-1),
        line(prompt_tokens=2**31),
        line(text=None),
        line(text="\ud800"),
        line(key=["k"]),
        line(key=""),
        line()[:-9],
    ],
)
def test_a_line_that_lies_is_left_out_and_counted(tmp_path, lie, caplog):
    path = tmp_path / "e.jsonl"
    Ledger(path).put("before", FOX)
    with path.open("ab") as file:
        file.write(b"\n" + lie)
    Ledger(path).put("after", OWL)
    ledger = Ledger(path)
    assert (ledger.get("before"), ledger.get("k"), ledger.get("after")) == (FOX, None, OWL)
    assert ledger.num_unreadable == 1
    assert "1 lines are no answers" in caplog.text


def test_a_line_from_before_refusals_were_kept_is_read(tmp_path):
    (tmp_path / "e.jsonl").write_bytes(line())
    assert Ledger(tmp_path / "e.jsonl").get("k") == Answer("A lie.", "stop", 1, 1)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"\n\nab\r\n\ncd", [b"ab", b"cd"]),
        (b"x" * 9 + b"\nab", [None, b"ab"]),
        (b"ab\n" + b"x" * 90, [b"ab", None]),
        (b"1234567\nab", [b"1234567", b"ab"]),
        (b"12345678\nab", [None, b"ab"]),
        (b"12345678", [None]),
    ],
)
def test_of_lines_that_are_too_long_nothing_is_kept(tmp_path, data, lines):
    (tmp_path / "x").write_bytes(data)
    assert list(read_lines(tmp_path / "x", 8)) == lines


CHILD = """
import sys
from pathlib import Path
from story_model.asking.answers import Answer, Ledger
ledger = Ledger(Path(sys.argv[1]))
for number in range(10**9):
    ledger.put(str(number), Answer("A fox.", "stop", 100, 10))
    print(number, flush=True)
"""


def test_what_was_said_to_be_stored_survives_a_kill(tmp_path):
    path = tmp_path / "e.jsonl"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], cwd=PROJECT_DIR, stdout=subprocess.PIPE)
    assert child.stdout
    said = [int(child.stdout.readline()) for _ in range(20)]
    os.kill(child.pid, signal.SIGKILL)
    said += [int(number) for number in child.stdout.read().split()]
    child.wait()
    child.stdout.close()
    ledger = Ledger(path)
    assert [ledger.get(str(number)) for number in said] == [FOX] * len(said)
    assert ledger.num_unreadable <= 1
