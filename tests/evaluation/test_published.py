import json

import pytest

from evaluation.published import JUDGED, USERS, Shares, Study, counts_of, main, reanalyse, undone_by
from evaluation.statistics import sign_test


@pytest.fixture(scope="module")
def judged():
    return {row.dimension: row for row in reanalyse(JUDGED).rows}


@pytest.mark.parametrize(
    ("dimension", "wins", "losses", "p"),
    [("style", 29, 22, 0.40), ("engaging", 93, 64, 0.025), ("coherence", 86, 31, 4e-7)],
)
def test_the_published_percentages_are_counts_with_these_p_values(judged, dimension, wins, losses, p):
    row = judged[dimension]
    assert (row.table.wins, row.table.losses, row.table.wins + row.table.ties + row.table.losses) == (wins, losses, 180)
    assert row.table.sign_p == pytest.approx(p, rel=0.1)


def test_of_three_dimensions_one_is_left_after_holm(judged):
    assert [name for name, row in judged.items() if row.holm_p < 0.05] == ["coherence"]


def test_two_turned_verdicts_undo_the_more_engaging_story(judged):
    assert judged["engaging"].undone_by == 2
    assert sign_test(92, 65) < 0.05 <= sign_test(91, 66)
    assert judged["style"].undone_by == 0


def test_a_lead_of_the_other_side_is_undone_alike():
    assert undone_by(64, 93) == undone_by(93, 64)


def test_what_180_stories_can_show_at_best_is_said():
    found = reanalyse(JUDGED)
    assert sign_test(104, 76) < 0.05 <= sign_test(103, 77)
    assert found.least_significant == 104 / 180
    assert found.detectable == pytest.approx(0.606, abs=0.001)


def test_the_user_study_is_no_125_samples():
    """21.3 % of 125 is no number of votes; of 80 it is 17."""
    found = reanalyse(USERS)
    assert (found.named_n, found.counted_n) == (125, 80)
    assert "no whole counts of 125" in found.caveats[0]
    assert {row.dimension for row in found.rows if row.table.sign_p > 0.05} == {"engaging"}


def test_percentages_that_nothing_explains_are_refused():
    assert counts_of(Shares("x", 50.0, 0.0, 50.0), 3) is None
    study = Study("title", "source", 4, (Shares("x", 50.0, 25.0, 50.0),), ())
    with pytest.raises(ValueError, match="shares of no whole number"):
        reanalyse(study)


def test_the_page_names_the_fixed_slot_the_retired_judge_and_the_missing_code(capsys):
    main([])
    text = capsys.readouterr().out
    for said in ("always shown as A", "shut down on 2026-10-23", "FID 62.23 against 65.71", "29  129   22", "0.0503"):
        assert said in text
    assert max(map(len, text.splitlines())) <= 120


def test_json_holds_the_same_numbers(capsys):
    main(["--json"])
    studies = json.loads(capsys.readouterr().out)["studies"]
    assert [row["table"]["wins"] for row in studies[0]["rows"]] == [29, 93, 86]
    assert studies[1]["counted_n"] == 80
