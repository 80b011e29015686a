"""Who is compared with whom, and in what."""

import pytest

from evaluation.measures.summary import summarise
from evaluation.rivals import compare, compare_slopes
from evaluation.scores import SystemScores

STORIES = [f"s{number}" for number in range(8)]
MEASURES = ("character_agrees", "similarity_reference", "text_overlap", "entities_named")


def values_of(level, slope=0.0):
    return {
        story: [(index, level + slope * index + number / 100) for index in range(1, 13)]
        for number, story in enumerate(STORIES)
    }


def system(mode, policy, kind="policy", *, level=0.5, slope=0.0):
    measures = {name: summarise(values_of(level, slope), resamples=0, seed=0) for name in MEASURES}
    name = f"{mode}-{policy}"
    return SystemScores(
        name=name, mode=mode, policy=policy, kind=kind, stories=8, segments=96, pictures=96, empty_texts=0,
        distances={}, measures=measures, accuracy={},
    )  # fmt: skip


@pytest.fixture
def systems():
    told = [
        system("captions_given", "sink", level=0.9),
        system("captions_given", "window"),
        system("captions_given", "captions_alone", "baseline"),
        system("captions_given", "reconstruction", "reconstruction"),
        system("free", "sink", level=0.9),
        system("free", "window", slope=-0.02),
        system("free", "captions_alone", "baseline"),
        system("external", "theirs", "external"),
    ]
    return {one.name: one for one in told}


def compared(systems, **more):
    primary = more.pop("primary", ())
    return compare(systems, "sink", primary=primary, resamples=50, seed=0)


def test_the_headline_policy_stands_against_its_mode_and_other_people_s_systems_against_what_it_tells_freely(systems):
    pairs = {(one.system, one.against) for one in compared(systems)}
    assert pairs == {
        ("captions_given-sink", "captions_given-window"),
        ("captions_given-sink", "captions_given-captions_alone"),
        ("free-sink", "free-window"),
        ("free-sink", "free-captions_alone"),
        ("free-sink", "external-theirs"),
    }


def test_texts_are_compared_where_both_wrote_them(systems):
    texts = {one.against for one in compared(systems) if one.measure.startswith(("text_", "entities_"))}
    assert texts == {"free-window", "external-theirs"}


def test_measures_named_beforehand_are_adjusted_apart_from_the_others(systems):
    rows = {
        one.measure: one
        for one in compared(systems, primary=("free/character_agrees",))
        if one.against == "free-window"
    }
    assert rows["character_agrees"].is_primary
    assert rows["character_agrees"].p_holm == rows["character_agrees"].p_value == pytest.approx(2 / 2**8)
    assert rows["similarity_reference"].p_holm == pytest.approx(3 * rows["similarity_reference"].p_value)


def test_a_policy_that_was_not_told_is_compared_with_nobody(systems):
    assert compare(systems, "dense", primary=(), resamples=0, seed=0) == []


def test_what_a_policy_loses_over_the_length_is_held_against_other_policies(systems):
    measured = {name: {measure: values_of(0.5) for measure in MEASURES} for name in systems}
    measured["free-window"] = {measure: values_of(0.5, -0.02) for measure in MEASURES}
    found = compare_slopes(measured, systems, "sink", resamples=50, seed=0)
    assert {one.against for one in found} == {"captions_given-window", "free-window"}
    differences = {(one.against, one.measure): one.difference.value for one in found}
    assert differences["free-window", "similarity_reference"] == pytest.approx(0.2)
    assert differences["captions_given-window", "similarity_reference"] == pytest.approx(0)
