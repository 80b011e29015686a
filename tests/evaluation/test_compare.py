"""Two runs side by side: what is paired, what is found, and the verdict by the rule."""

import json
import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from compared_runs import evaluated_run, noise, settings_at
from paid_server import serving
from scripted_judge import scripted_answer

from evaluation.compare import compare, read_comparison
from evaluation.comparing.rows import OTHER_STORIES
from evaluation.comparing.sides import open_evaluated
from evaluation.measures.catalog import CATALOG

CATALOG_NAMES = [measure.name for measure in CATALOG]
AGREES, REP = "captions_given/character_agrees", "free/text_rep_4"


@pytest.fixture
def settings(tmp_path, mlflow_uri):
    return settings_at(tmp_path, mlflow_uri, tmp_path.name)


def found_between(left, right, settings):
    left, right = open_evaluated(left.root), open_evaluated(right.root)
    compare(left, right, settings)
    return read_comparison(right.run.comparison_dir(left.run.name))


def row_of(found, name):
    return next(row for row in found.rows if row.name == name)


def shifted(by):
    return {"character_agrees": lambda story, index: 0.5 + by + noise(story, index) / 8}


def test_a_run_whose_primary_measure_rose_in_every_story_improved(tmp_path, settings):
    old, new = evaluated_run(tmp_path / "old"), evaluated_run(tmp_path / "new", measures=shifted(0.4))
    found = found_between(old, new, settings)
    row = row_of(found, AGREES)
    assert (found.verdict, row.finding, row.wins, row.losses) == ("improved", "better", 10, 0)
    assert row.difference.low > 0


def test_a_run_whose_primary_measure_fell_in_every_story_regressed_and_the_reason_says_by_how_much(tmp_path, settings):
    old, new = evaluated_run(tmp_path / "old", measures=shifted(0.4)), evaluated_run(tmp_path / "new")
    found = found_between(old, new, settings)
    assert found.verdict == "regressed"
    assert f"{AGREES} 0.9" in found.reason


def test_equal_runs_are_undecided(tmp_path, settings):
    old, new = evaluated_run(tmp_path / "old"), evaluated_run(tmp_path / "new")
    found = found_between(old, new, settings)
    assert found.verdict == "undecided"
    assert row_of(found, AGREES).p_value == 1.0


def test_one_worse_primary_measure_outweighs_a_better_one(tmp_path, settings):
    old = evaluated_run(tmp_path / "old", measures=shifted(0) | {"place_agrees": lambda *at: 0.9 + noise(*at) / 90})
    new = evaluated_run(tmp_path / "new", measures=shifted(0.4) | {"place_agrees": lambda *at: 0.3 + noise(*at) / 9})
    found = found_between(old, new, settings)
    assert found.verdict == "regressed"
    assert "better: captions_given/character_agrees" in found.reason


def test_a_measure_that_is_not_primary_decides_nothing(tmp_path, settings):
    extra = "evaluate.champion.primary=[captions_given/place_agrees]"
    old = evaluated_run(tmp_path / "old", overrides=(extra,))
    new = evaluated_run(tmp_path / "new", measures=shifted(0.4), overrides=(extra,))
    found = found_between(old, new, settings)
    assert (found.verdict, row_of(found, AGREES).finding) == ("undecided", "better")


def test_one_shared_story_is_said_and_decides_nothing(tmp_path, settings):
    old = evaluated_run(tmp_path / "old", stories=3)
    new = evaluated_run(tmp_path / "new", stories=3, first_story=2, measures=shifted(0.4))
    found = found_between(old, new, settings)
    starts = found.starts["free"]
    assert (starts.shared, starts.only_left, starts.only_right) == (1, 2, 2)
    assert (found.verdict, row_of(found, AGREES).finding) == ("undecided", "not compared")
    assert "one story is shared" in found.reason


def test_so_few_stories_that_nothing_can_be_shown_are_named_as_the_reason(tmp_path, settings):
    old = evaluated_run(tmp_path / "old", stories=4)
    found = found_between(old, evaluated_run(tmp_path / "new", stories=4, measures=shifted(0.4)), settings)
    assert found.verdict == "undecided"
    assert "4 shared stories are too few to show any (p is 0.25 at best): tell more" in found.reason


def test_no_shared_story_is_said_and_decides_nothing(tmp_path, settings):
    old, new = evaluated_run(tmp_path / "old", stories=2), evaluated_run(tmp_path / "new", stories=2, first_story=5)
    found = found_between(old, new, settings)
    assert found.verdict == "undecided"
    assert "no story is shared" in found.reason


def test_a_story_of_the_same_id_with_another_opening_is_not_paired(tmp_path, settings):
    old = evaluated_run(tmp_path / "old", stories=3)
    new = evaluated_run(tmp_path / "new", stories=3, opening_text=" Once.")
    assert found_between(old, new, settings).starts["free"].model_dump() == {
        "shared": 0,
        "only_left": 0,
        "only_right": 0,
        "other_opening": 3,
        "other_captions": 0,
        "cut": 0,
    }


def test_a_longer_telling_is_measured_only_as_far_as_the_shorter_one_went(tmp_path, settings):
    late = {"character_agrees": lambda story, index: 0.5 + noise(story, index) / 8 - (0.4 if index > 3 else 0)}
    old, new = evaluated_run(tmp_path / "old", segments=3, measures=shifted(0)), tmp_path / "new"
    new = evaluated_run(new, segments=6, measures=late)
    found = found_between(old, new, settings)
    assert found.starts["free"].other_opening == 0
    assert found.starts["free"].cut == 10
    assert row_of(found, "free/character_agrees").difference.value == 0


def test_spoiled_pictures_lie_farther_from_the_dataset_s(tmp_path, settings):
    old, new = evaluated_run(tmp_path / "old"), evaluated_run(tmp_path / "new", spoiled=True)
    row = row_of(found_between(old, new, settings), "captions_given/frechet_random_features")
    assert row.left.value < row.right.value
    assert row.p_value < 0.05


def test_measures_taken_with_other_weights_are_not_compared(tmp_path, settings):
    taken = {"clip_t": noise, "text_words": noise}
    old = evaluated_run(tmp_path / "old", stories=2, measures=taken, scores={"networks": {"clip": "aa"}})
    new = evaluated_run(tmp_path / "new", stories=2, measures=taken, scores={"networks": {"clip": "bb"}})
    found = found_between(old, new, settings)
    assert row_of(found, "free/clip_t").reason == "measured with other weights of clip"
    assert row_of(found, "free/text_words").p_value == 1.0


def test_texts_that_were_given_to_both_are_not_compared(tmp_path, settings):
    taken = {"character_agrees": noise, "text_words": noise, "entities_new": noise}
    old, new = (evaluated_run(tmp_path / name, stories=2, measures=taken) for name in ("old", "new"))
    names = {row.name for row in found_between(old, new, settings).rows}
    assert {"free/text_words", "free/entities_new", "captions_given/character_agrees"} <= names
    assert not names & {"captions_given/text_words", "captions_given/entities_new"}


def test_what_is_measured_beside_other_stories_needs_the_same_ones_on_both_sides(tmp_path, settings):
    dependent = ("similarity_opening", "style_within", "clip_i_across", "dino_i_same_index", "text_said_elsewhere_4")
    taken = dict.fromkeys((*dependent, "character_agrees", "clip_i_opening", "text_words"), noise)
    old = evaluated_run(tmp_path / "old", stories=3, measures=taken)
    new = evaluated_run(tmp_path / "new", stories=4, measures=taken)
    found = found_between(old, new, settings)
    reasons = {row.measure: row.reason for row in found.rows if row.mode == "free" and row.measure in taken}
    assert {name for name, reason in reasons.items() if reason} == set(dependent)
    assert {reasons[name] for name in dependent} == {OTHER_STORIES}
    same = found_between(old, evaluated_run(tmp_path / "third", stories=3, measures=taken), settings)
    assert row_of(same, "free/similarity_opening").p_value == 1.0


def test_settings_that_change_no_value_are_no_reason_for_doubt(tmp_path, settings):
    old = evaluated_run(tmp_path / "old", stories=2)
    shown = evaluated_run(tmp_path / "shown", stories=2, overrides=("evaluate.external=[/theirs]",))
    measured = evaluated_run(tmp_path / "measured", stories=2, overrides=("evaluate.distances.neighbours=7",))
    doubts = [
        any("different settings" in note for note in found_between(old, new, settings).notes)
        for new in (shown, measured)
    ]
    assert doubts == [False, True]


def test_a_second_comparison_computes_nothing(tmp_path, settings):
    old, new = evaluated_run(tmp_path / "old", stories=2), evaluated_run(tmp_path / "new", stories=2)
    sides = open_evaluated(old.root), open_evaluated(new.root)
    assert not compare(*sides, settings).reused
    assert compare(*sides, settings).reused


def test_judges_asked_anew_about_their_anchors_leave_a_comparison_as_it_is(tmp_path, settings):
    old, new = evaluated_run(tmp_path / "old", stories=2), evaluated_run(tmp_path / "new", stories=2)
    left, right = open_evaluated(old.root), open_evaluated(new.root)
    compare(left, right, settings)
    next_week = right.evaluation.model_copy(update={"digest": "of other anchors", "key": "next week"})
    assert compare(left, replace(right, evaluation=next_week), settings).reused


def test_the_page_holds_both_runs_and_nothing_from_elsewhere(tmp_path, settings):
    old = evaluated_run(tmp_path / "old", stories=2, overrides=("seed=3",))
    new = evaluated_run(tmp_path / "<b>new", stories=2)
    found_between(old, new, settings)
    page = (new.comparison_dir("old") / "comparison.html").read_text()
    assert "&lt;b&gt;new" in page
    assert "<b>new" not in page
    assert "data:image/webp;base64," in page
    assert "http" not in page.replace("http-equiv", "")
    assert "<code>seed</code>" in page


def test_the_page_says_where_so_few_stories_can_show_nothing_among_so_many_measures(tmp_path, settings):
    few = {f"text_rep_{n}": noise for n in (2, 3)}
    many = {name: noise for name in CATALOG_NAMES if not name.startswith(("clip", "dino"))}
    pages = []
    for name, taken in (("few", few), ("many", many)):
        old, new = (evaluated_run(tmp_path / name / side, stories=8, measures=taken) for side in ("old", "new"))
        found_between(old, new, settings)
        pages.append((new.comparison_dir("old") / "comparison.html").read_text())
    assert "can give no smaller p than" not in pages[0]
    assert "<b>8 stories</b> can give no smaller p than 0.0078" in pages[1]
    assert "Fréchet distance, random features" in pages[1]
    assert "frechet random" not in pages[1]


def test_the_table_holds_every_row(tmp_path, settings):
    old, new = evaluated_run(tmp_path / "old", stories=2), evaluated_run(tmp_path / "new", stories=2)
    found = found_between(old, new, settings)
    table = pq.read_table(new.comparison_dir("old") / "comparison.parquet").to_pylist()
    assert [(row["mode"], row["measure"], row["difference"]) for row in table] == [
        (row.mode, row.measure, row.difference.value if row.difference else None) for row in found.rows
    ]


def test_a_run_is_not_compared_with_itself(tmp_path, settings):
    one = open_evaluated(evaluated_run(tmp_path / "one", stories=2).root)
    with pytest.raises(ValueError, match="with itself; name two runs"):
        compare(one, one, settings)


def test_an_evaluation_of_stories_that_changed_since_is_refused(tmp_path):
    run = evaluated_run(tmp_path / "one", stories=2)
    manifest = run.dataset_dir / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"digest": "', '"digest": "0'))
    with pytest.raises(ValueError, match=r"dataset of .* changed since it was evaluated; run"):
        open_evaluated(run.root)


@pytest.mark.parametrize(("lost", "says"), [("manifest.json", "not finished"), ("values.parquet", "missing or cut")])
def test_an_unfinished_evaluation_is_refused_with_what_to_do(tmp_path, lost, says):
    run = evaluated_run(tmp_path / "one", stories=2)
    (run.evaluation_dir / lost).unlink()
    with pytest.raises(ValueError, match=rf"{says}.*; run `python -m evaluation.report"):
        open_evaluated(run.root)


JUDGED = ("evaluate.judge.model=seer", "evaluate.judge.stories=8", "evaluate.judge.segments=2")


@pytest.fixture
def judge(settings):
    """A server whose answers look at the pictures; settings lead to it."""
    with serving() as server:
        server.words, server.name = scripted_answer, json.dumps
        yield server, settings.model_copy(update={"judge_base_url": server.url})


def test_judges_prefer_the_run_whose_pictures_keep_the_opening_s_style(tmp_path, judge):
    old = evaluated_run(tmp_path / "old", spoiled=True)
    found = found_between(old, evaluated_run(tmp_path / "new", overrides=JUDGED), judge[1])
    row = row_of(found, "judge/style")
    assert (row.wins, row.losses, row.finding, row.primary) == (8, 0, "better", True)
    assert found.judge.asked == 8 * 3 * 2
    assert found.verdict == "improved"


def test_a_judge_who_misses_damage_is_shown_and_decides_nothing(tmp_path, judge):
    tests = {"seer": {"dimensions": {"style": False, "engaging": True, "coherence": True}}}
    old = evaluated_run(tmp_path / "old", spoiled=True)
    new = evaluated_run(tmp_path / "new", overrides=JUDGED, scores={"judge": {"self_tests": tests}})
    found = found_between(old, new, judge[1])
    assert found.judge.tables["seer"]["style"].wins == 8
    assert row_of(found, "judge/style").reason == "seer missed damage in the self-test of this dimension"
    assert row_of(found, "judge/coherence").finding == "better"
    assert "not trusted here" in (new.comparison_dir("old") / "comparison.html").read_text()


def test_a_comparison_that_is_made_again_pays_for_no_answer_twice(tmp_path, judge):
    old, new = evaluated_run(tmp_path / "old", spoiled=True), evaluated_run(tmp_path / "new", overrides=JUDGED)
    first = found_between(old, new, judge[1])
    paid = judge[0].paid.total()
    shutil.rmtree(new.comparison_dir("old"))
    again = found_between(old, new, judge[1])
    assert judge[0].paid.total() == paid > 0
    assert again.judge.tables == first.judge.tables


def test_without_a_judge_the_page_says_that_nobody_was_asked(tmp_path, settings):
    old, new = evaluated_run(tmp_path / "old", stories=2), evaluated_run(tmp_path / "new", stories=2)
    found = found_between(old, new, settings)
    assert found.judge.skipped == "no model is configured (evaluate.judge.model)"
    assert found.judge.skipped in (new.comparison_dir("old") / "comparison.html").read_text()
