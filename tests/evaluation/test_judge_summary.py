import pytest
from drawn_stories import chosen, scored

from evaluation.judging.asks import LeftOut
from evaluation.judging.summary import rank_correlation, summarise


def style_of(judgements, *, system="s", judge="j", left_out=(), resamples=200):
    summary = summarise(judgements, left_out=left_out, resamples=resamples, seed=0)
    return summary.judges[judge].systems[system]["style"]


def test_repeats_are_averaged_inside_a_story_before_stories_are():
    """Over single answers the mean would be 3."""
    found = style_of([scored(9), scored(1, "b"), scored(1, "b", repeat=1), scored(1, "b", repeat=2)])
    assert (found.score.value, found.score.n) == (5, 2)


def test_the_interval_is_over_stories():
    found = style_of([scored(score, story) for story, score in zip("abcdefgh", [2, 4] * 4, strict=True)])
    assert 2 < found.score.low < found.score.value == 3 < found.score.high < 4


def test_more_repeats_do_not_make_the_interval_narrower():
    once = [scored(score, story) for story, score in zip("abcd", (2, 4, 6, 8), strict=True)]
    often = [one.model_copy(update={"repeat": repeat}) for one in once for repeat in range(20)]
    assert style_of(often).score == style_of(once).score


@pytest.mark.parametrize("status", ["refused", "filtered", "truncated", "invalid", "error", "not_asked"])
def test_no_answer_is_no_score_and_stays_a_question(status):
    found = style_of([scored(8), scored(None, "b", status=status)])
    assert (found.score.value, found.score.n) == (8, 1)
    assert (found.coverage, found.is_covered, found.statuses) == (0.5, False, {"ok": 1, status: 1})


def test_where_nothing_was_answered_there_is_no_score():
    found = style_of([scored(None), scored(None, "b")])
    assert found.score is None
    assert (found.coverage, found.repeat_sd, found.words) == (0, None, None)


def test_a_dimension_that_was_not_asked_has_no_coverage():
    summary = summarise([scored(8)], resamples=0, seed=0)
    assert (summary.judges["j"].systems["s"]["coherence"].score, summary.pooled["s"]["coherence"]) == (None, None)
    assert not summary.judges["j"].systems["s"]["coherence"].is_covered


@pytest.mark.parametrize(("refused", "is_covered"), [(2, True), (3, False)])
def test_below_98_percent_of_the_questions_the_coverage_is_flagged(refused, is_covered):
    judgements = [scored(None if number < refused else 7, str(number)) for number in range(100)]
    assert style_of(judgements, resamples=0).is_covered is is_covered


def test_what_could_not_be_asked_counts_against_the_coverage_of_its_system():
    lost = LeftOut(purpose="score", systems=("s",), story_id="b", reason="no picture", questions=1)
    judgements = [scored(8), scored(7, system="other")]
    assert style_of(judgements, left_out=[lost]).coverage == 0.5
    assert style_of(judgements, left_out=[lost]).left_out == 1
    assert style_of(judgements, left_out=[lost], system="other").coverage == 1


def test_a_system_of_which_nothing_could_be_asked_is_there_without_a_score():
    lost = LeftOut(purpose="score", systems=("mute",), story_id="a", reason="no picture", questions=1)
    found = style_of([scored(8)], left_out=[lost], system="mute")
    assert (found.score, found.coverage, found.left_out) == (None, 0, 1)


def test_repeats_deviate_within_stories_not_between_them():
    """Variances 2 and 0 with one degree of freedom each; stories that were scored once say nothing."""
    judgements = [scored(1), scored(3, repeat=1), scored(9, "b"), scored(9, "b", repeat=1), scored(5, "c")]
    assert style_of(judgements).repeat_sd == pytest.approx(1)
    assert style_of([scored(1), scored(9, "b")]).repeat_sd is None


def test_a_judge_that_likes_length_correlates_with_words():
    judgements = [scored(score, story, words=score**3) for story, score in zip("abcd", (1, 3, 4, 9), strict=True)]
    found = style_of(judgements).words
    assert (found.rho, found.n) == (pytest.approx(1), 4)


def test_a_perfect_order_of_few_stories_may_be_chance():
    """Two of the 6 orders of three stories are perfect, two of the 24 orders of four."""
    assert rank_correlation([1, 2, 3], [1, 4, 9]).p == pytest.approx(1 / 3)
    assert rank_correlation([1, 2, 3, 4], [9, 4, 2, 1]).p == pytest.approx(1 / 12)
    many = list(range(30))
    assert rank_correlation(many, many).p < 0.001


@pytest.mark.parametrize("scores", [(5, 5, 5), (4, 5)])
def test_what_is_constant_or_too_little_correlates_with_nothing(scores):
    assert style_of([scored(score, str(n), words=n) for n, score in enumerate(scores)]).words is None


def test_the_mean_over_judges_is_over_stories_that_all_of_them_scored():
    judgements = [scored(4), scored(10, "b"), scored(6, judge="k"), scored(None, "b", judge="k")]
    summary = summarise(judgements, resamples=0, seed=0)
    assert (summary.pooled["s"]["style"].value, summary.pooled["s"]["style"].n) == (5, 1)
    assert summary.judges["j"].systems["s"]["style"].score.value == 7


def test_other_purposes_do_not_enter():
    judgements = [scored(4), scored(10, "b", purpose="anchor"), chosen("first", "s", "t")]
    assert style_of(judgements).score.value == 4
    assert set(summarise(judgements, resamples=0, seed=0).pooled) == {"s"}
