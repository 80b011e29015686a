import re

import pytest
from fabricated_run import SEGMENTS
from fabricated_scores import HEADLINE, MEASURES, RATIONALE, STORIES, scores_by_hand

from evaluation.ballot import make_ballot, read_ballots
from evaluation.material import read_systems
from evaluation.showing.page import render_page
from evaluation.showing.system_tables import mode_tables
from evaluation.statistics import Estimate

FEW = ["character_agrees", "place_agrees", "similarity_reference", "copies_of_previous", "text_repeated", "text_words"]


@pytest.fixture(scope="module")
def made(make_run):
    return make_run(overrides=("tell.policies=[window,multimodal_sink]",))


@pytest.fixture(scope="module")
def render(made):
    """A function that renders the page of a run with scores made by hand."""
    systems = read_systems(made.run, made.config)

    def page(scores):
        return render_page(made.run, made.config, systems, {}, scores)

    return page


@pytest.fixture(scope="module")
def scores():
    return scores_by_hand(segments=8, measures=FEW)


@pytest.fixture(scope="module")
def page(render, scores):
    return render(scores)


def part(page, begin, end):
    return page[page.index(f'id="{begin}"') : page.index(f'id="{end}"')]


def cells_by_column(table, measure):
    """Take a measure's row apart, by the heads of the columns."""
    row = table[table.index(f"<td>{measure}") :]
    cells = re.findall(r'<td class="num[^>]*>(.*?)</td>', row[: row.index("</tr>")])
    return dict(zip(re.findall(r'<th class="num[^>]*>([^<]*)<', table), cells, strict=False))


def test_nothing_is_fetched_and_nothing_runs(page):
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert "default-src 'none'; img-src data:" in page
    assert not re.search(r"<script|<iframe|<link|javascript:|\son\w+=|url\((?!#)", page)


def test_every_place_that_the_page_points_at_is_there(page):
    targets = set(re.findall(r'href="#([^"]*)"', page))
    assert targets <= set(re.findall(r'id="([^"]*)"', page))


def test_what_a_judge_writes_is_text(page):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert RATIONALE not in page


def test_a_story_s_strip_has_what_judges_said_of_it(page):
    stories = part(page, "stories", "systems")
    assert stories.count("What the judge said of this story") == 2
    first = stories[: stories.index("What the judge said of this story", stories.index("What the judge said") + 1)]
    assert first.count(">gpt-x</td>") == first.count(">open-y</td>") == 4 * 3 + 2 * 3
    assert "refused: I will not judge this." in stories


def test_a_judge_that_sees_no_damage_is_named_at_the_top_and_where_its_scores_are(page):
    top = page[: page.index('id="learning"')]
    assert "open-y does not see all damage" in top
    assert "gpt-x does not see" not in top
    assert "open-y missed damage in it" in top
    assert "The judge&#39;s score, 1 to 10. open-y missed damage in the self-test." in part(page, "systems", "length")
    judge = part(page, "judge", "dataset")
    assert "gpt-x: sees damage." in judge
    assert "Its scores in coherence prove nothing." in judge


def test_a_judge_that_was_not_tested_is_said_to_be_untested(render, scores, page):
    untested = scores.judge.model_copy(update={"self_tests": {}})
    assert "No judge was tested" in render(scores.model_copy(update={"judge": untested}))
    assert "No judge was tested" not in page


def test_unanswered_questions_are_counted_and_warned_of(page):
    judge = part(page, "judge", "dataset")
    assert judge.count(">too few<") == 2 * 3
    assert judge.count(">1 refused<") == 2 * 3
    assert "questions unanswered" in page[: page.index('id="learning"')]


def test_a_judge_that_changed_is_named_at_the_top(page):
    top = page[: page.index('id="learning"')]
    assert "open-y is not the one that it was: style fell by 0.8 points since 2026-W40" in top
    assert "gpt-x is not the one" not in top
    assert "-1.50 to -0.10" in part(page, "judge", "dataset")


def test_pairs_show_what_did_not_survive_the_swap_and_the_first_slot(page):
    judge = part(page, "judge", "dataset")
    assert "inconsistent</span>" in judge
    assert "First slot" in judge


def test_the_pull_of_length_is_told_for_every_judge_and_system(page):
    judge = part(page, "judge", "dataset")
    table = judge[judge.index("Steadiness and length") :]
    assert table[: table.index("</table>")].count("stories</span>") == 2 * 4 * 3


def test_the_bill_and_the_notices_are_there(page):
    judge = part(page, "judge", "dataset")
    assert "3.21 USD newly paid, 0.0084 USD before" in judge
    assert "will be shut down on 2027-01-14" in judge


def test_a_flag_of_all_systems_is_said_once_a_network(page):
    distances = part(page, "distances", "judge")
    assert distances.count("biased: 157 told") == 2
    assert distances.count("the dataset itself, other episodes") == 2
    assert distances.rindex("external-rival") < distances.rindex("the dataset repainted")


def test_networks_are_called_as_the_documentation_calls_them(page):
    top = page[: page.index('id="learning"')]
    assert re.search(r"Fréchet distance, (random features|inception/clean)", top)
    named = re.findall(r"<summary>([^<]*)<", part(page, "distances", "judge"))
    assert {"random features", "inception/clean"} <= set(named)
    assert not any("random-conv" in name or "2015" in name for name in named)


def test_every_measure_is_explained(page):
    found = part(page, "measures", "provenance")
    assert "Share of texts told before in the story, word for word. Lower is better." in found


def test_texts_are_measured_only_where_a_system_wrote_them(page):
    given, free = part(page, "systems", "length").split("<h3>Free</h3>")
    assert "text repeated" not in given
    found = cells_by_column(free, "text repeated")
    assert "%" in found["window"]
    assert "%" in found["external-rival"]
    assert "%" not in found["captions alone"] + found["the dataset repainted"]  # they show others' texts


def test_other_people_s_systems_stand_beside_ours(page):
    given, free = part(page, "systems", "length").split("<h3>Free</h3>")
    assert "<h3>External</h3>" not in free
    assert "external-rival" not in given
    found = cells_by_column(free, "character agrees")
    assert {"multimodal sink", "external-rival", "the dataset itself"} <= found.keys()
    assert any(mark in found["external-rival"] for mark in ("≈", "mark"))


def test_a_distance_of_fewer_pictures_is_not_set_beside_others(scores):
    rival = scores.systems["external-rival"]
    near = {"value": 0.001, "low": 0.001, "high": 0.001, "n": 9}
    few = {key: one.model_copy(update={"told": 9, "frechet": Estimate(**near)}) for key, one in rival.distances.items()}
    systems = {**scores.systems, rival.name: rival.model_copy(update={"distances": few})}
    before, after = (
        mode_tables(one, "multimodal_sink")[1].first.rows
        for one in (scores, scores.model_copy(update={"systems": systems}))
    )
    rows = [next(row for row in found if row.title.startswith("Fréchet")) for found in (before, after)]
    assert ["only equal numbers may be compared" in row.meaning for row in rows] == [False, True]
    lowest = next(cell for cell in rows[1].cells if cell.value.value == 0.001)
    assert not lowest.is_best


def test_what_is_lost_over_the_length_is_a_number_beside_the_headline_s(page):
    table = part(page, "length", "distances")
    table = table[table.index("Change per ten segments") :]
    cells = cells_by_column(table, "character agrees")
    assert 'class="mark down"' in cells["window"]
    assert "&minus;0." in cells["window"]
    assert "≈" in cells["dense"]
    assert "Past the length of training" in table


def test_what_does_not_differ_is_not_called_worse(page, scores):
    given = part(page, "systems", "length").split("<h3>Free</h3>")[0]
    found = cells_by_column(given, "character agrees")
    assert 'class="mark down"' in found["window"]
    assert "≈" in found["attention sink"]
    assert "mark" not in found["multimodal sink"]
    assert "mark" not in found["the dataset itself"]


def test_too_few_stories_for_so_many_measures_are_said_to_be_too_few(render, page):
    many = render(scores_by_hand(segments=2, judged=False, measures=MEASURES))
    assert "<b>8 stories</b> can give no smaller p than 0.0078" in many
    assert "can give no smaller p" not in page  # four other measures: 4 x 0.0078 is significant


def test_people_are_on_the_page_once_they_were_asked(render, made, tmp_path, scores, page):
    assert 'id="people"' not in page
    ballot = make_ballot(made.run, made.config, tmp_path / "b.html", stories=1)
    (word,) = ballot.pairs
    key = (made.run.root / "ballot_key.json").read_text()
    name = re.search(r'"ballots": \{\s*"(\w+)"', key).group(1)
    answers = (
        f'{{"ballot": "{name}", "rater": "<b>Ada", "saved_at": "2026-01-01T10:00:00Z", '
        f'"answers": [{{"pair": "{word}", "dimension": "style", "choice": "left"}}]}}'
    )
    (tmp_path / "a.json").write_text(answers)
    read_ballots(made.run, made.config, [tmp_path / "a.json"])
    people = part(render(scores), "people", "dataset")
    assert "1 person compared stories" in people
    assert "1 : 0 : 0" in people or "0 : 0 : 1" in people
    (made.run.root / "human.json").unlink()


def test_without_a_judge_and_without_measures_the_page_still_stands(render):
    bare = scores_by_hand(segments=2, judged=False, measures=["similarity_within"])
    bare = bare.model_copy(update={"headline": None, "probe": None})
    page = render(bare)
    assert "<b>Skipped:</b> no endpoint is configured" in page
    assert "No system has values at three segments or more." in page
    assert "<b>not measured</b>" in page


def test_the_page_stays_small_however_much_is_measured(render):
    page = render(scores_by_hand(segments=30, measures=MEASURES))
    drawings = part(page, "length", "distances")
    assert drawings.count("<figure>") <= 2 * 18
    assert len(page) < 4_000_000


def test_pictures_are_those_of_the_stories_shown_alone(page):
    stories = part(page, "stories", "systems")
    assert stories.count('class="card opening"') == 2
    assert page.count("<img") == stories.count("<img") <= 2 * (1 + SEGMENTS * 6)
    assert HEADLINE not in page
    assert STORIES[0] in stories
