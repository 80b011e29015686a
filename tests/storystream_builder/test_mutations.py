"""Spoiled inputs are used or told of, and nothing worse; ten thousand of them are `benchmarks/build_mutations.py`'s."""

from itertools import pairwise

import pytest

from benchmarks.build_mutations import LONGEST_S, Tally, run_all
from benchmarks.mutated_inputs import KINDS
from storystream_builder.sources import read_entries


@pytest.fixture(scope="module")
def tallies(tmp_path_factory) -> dict[str, Tally]:
    return run_all(400, seed=20261121, processes=2, place=tmp_path_factory.mktemp("mutations").resolve())


@pytest.mark.parametrize("kind", KINDS)
def test_a_spoiled_input_is_used_or_told_of_in_time_and_writes_nowhere_else(tallies, kind):
    assert tallies[kind].failures == []
    assert tallies[kind].slowest_s < LONGEST_S
    assert tallies[kind].outcomes.total() >= 15


@pytest.mark.parametrize("kind", KINDS)
def test_spoiling_does_some_harm(tallies, kind):
    assert len(tallies[kind].outcomes) >= 2


_MERGES = "".join(f"- &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in pairwise("abcdefghijk"))


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 20_000,
        b"- " * 20_000,
        b"!!timestamp x",
        b"- files: !!bool x",
        b"- files: !!python/object:os.system x",
        b"- files: 2020-99-99",
        b"- files: " + b"9" * 5000,
        b'- files: "*"\n  license: "\\ud800"',
        f"- &a {{files: x}}\n{_MERGES}".encode(),
    ],
    ids=["lists", "entries", "timestamp", "tag", "python", "no date", "digits", "half a pair", "merges"],
)
def test_sources_that_only_yaml_can_think_of_are_told_by_their_file(text):
    with pytest.raises(ValueError, match=r"^sources\.yaml"):
        read_entries(text, "sources.yaml")
