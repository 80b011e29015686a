"""What is said of decoding while it goes on is what was decoded."""

from dataclasses import replace

from test_duplicates import episode

from storystream_builder.progress import follow

OUTCOME = episode("e0", []).outcome


def test_rates_are_of_what_was_decoded_now():
    fresh = replace(OUTCOME, frames=300, seconds=2.0, decoder_seconds=1.5)
    outcomes = [fresh, replace(OUTCOME, reused=True), replace(OUTCOME, episode_id=None)]
    taken, decoding = follow(iter(outcomes), 3)
    assert taken == outcomes
    numbers = decoding.numbers
    assert (numbers["videos"], numbers["already decoded"], numbers["set aside"]) == (3, 1, 1)
    assert (numbers["frames decoded"], numbers["share of pure decoding"]) == (300, 0.75)


def test_a_run_that_decodes_nothing_says_so():
    assert str(follow([replace(OUTCOME, reused=True)], 1)[1]) == "nothing decoded anew"
