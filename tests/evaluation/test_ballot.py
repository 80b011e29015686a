import json
import re
import shutil

import pyarrow.parquet as pq
import pytest
from fabricated_run import SEGMENTS

from evaluation.ballot import make_ballot, read_ballots
from evaluation.judging.questions import DIMENSIONS, Judgement
from evaluation.people.preferences import read_human
from story_model.config import override_config

SYSTEMS = ("captions_given-multimodal_sink", "captions_given-window", "dataset")
SHORT = ("tell.policies=[window,multimodal_sink]", "train.baseline=null")


@pytest.fixture
def made(make_run, tmp_path):
    """A run with one ballot: three systems on three stories."""
    fabricated = make_run(with_truth=False, overrides=SHORT)
    page = tmp_path / "ballot.html"
    make_ballot(fabricated.run, fabricated.config, page, systems=SYSTEMS, seed=1)
    return fabricated, page


@pytest.fixture
def read(made, tmp_path):
    """A function that reads raters' files back, each given as name, changes to its fields, and choices by system."""
    fabricated, _ = made

    def read_back(*files):
        paths = []
        for number, filled in enumerate(files):
            paths.append(tmp_path / f"answers-{number}.json")
            paths[-1].write_text(filled if isinstance(filled, str) else json.dumps(filled))
        return read_ballots(fabricated.run, fabricated.config, paths)

    return read_back


def ballot_of(made):
    ((word, ballot),) = json.loads(made[0].run.ballot_key_path.read_text())["ballots"].items()
    return word, ballot["pairs"]


def filled(made, rater, prefers, *, minute=0):
    """Answer everything with the system that stands first in `prefers`, by its name."""
    word, pairs = ballot_of(made)
    answers = [
        {"pair": one, "dimension": dimension, "choice": min(("left", "right"), key=lambda side: prefers(pair[side]))}
        for one, pair in pairs.items()
        for dimension in DIMENSIONS
    ]
    return {"ballot": word, "rater": rater, "saved_at": f"2026-01-01T10:{minute:02d}:00Z", "answers": answers}


def test_the_page_names_no_system_and_needs_nothing_beside_it(made):
    page = made[1].read_text()
    assert not re.search(r"multimodal|window|dataset-|captions_given|sink|\be4\b|e4/0", page.replace("dataset.", ""))
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(addresses) == 9 * (1 + 2 * 6)
    assert all(address.startswith("data:image/webp") for address in addresses)


def test_words_and_sides_do_not_follow_from_the_seed_and_the_names(made, tmp_path):
    fabricated, _ = made
    first = ballot_of(made)[1]
    second = make_ballot(fabricated.run, fabricated.config, tmp_path / "b.html", systems=SYSTEMS, seed=1).pairs
    assert not first.keys() & second.keys()
    assert list(first.values()) == [pair.model_dump() for pair in second.values()]
    other = make_ballot(fabricated.run, fabricated.config, tmp_path / "c.html", systems=SYSTEMS).pairs
    assert list(first.values()) != [pair.model_dump() for pair in other.values()]


def test_told_text_is_text_on_the_ballot(make_run, tmp_path):
    made = make_run(with_truth=False, overrides=SHORT)
    make_ballot(made.run, made.config, tmp_path / "b.html", systems=("free-window", "free-multimodal_sink"))
    page = (tmp_path / "b.html").read_text()
    assert "likes &lt;b&gt;the&lt;/b&gt;" in page
    assert "<b>the</b>" not in page


def test_the_key_does_not_go_out_with_the_page(made):
    fabricated, _ = made
    with pytest.raises(ValueError, match="elsewhere"):
        make_ballot(fabricated.run, fabricated.config, fabricated.run.root / "b.html", systems=SYSTEMS)


@pytest.mark.parametrize("systems", [("dataset",), ("captions_given-window",) * 2, ("captions_given-dense", "dataset")])
def test_systems_that_cannot_be_compared_are_named(made, systems, tmp_path):
    fabricated, _ = made
    with pytest.raises(ValueError, match="two different systems"):
        make_ballot(fabricated.run, fabricated.config, tmp_path / "b.html", systems=systems)


def make_alike(run, stories):
    """Let the window tell these stories as the multimodal sink does."""
    for story in stories:
        told, other = (run.told_dir("captions_given", policy) / story for policy in ("multimodal_sink", "window"))
        shutil.rmtree(other)
        shutil.copytree(told, other)


def test_stories_that_two_systems_tell_alike_are_left_out(make_run, tmp_path):
    made = make_run(with_truth=False, overrides=SHORT)
    stories = sorted(path.parent.name for path in made.run.told_dir("captions_given", "window").glob("*/story.json"))
    make_alike(made.run, stories[:1])
    key = make_ballot(made.run, made.config, tmp_path / "b.html", systems=SYSTEMS[:2])
    assert len({pair.story_id for pair in key.pairs.values()}) == len(stories) - 1
    make_alike(made.run, stories[1:])
    with pytest.raises(ValueError, match=r"tell the same in the first 6 segments .*--segments"):
        make_ballot(made.run, made.config, tmp_path / "c.html", systems=SYSTEMS[:2])


def test_unless_told_otherwise_people_compare_with_the_baseline(make_run, tmp_path):
    with_baseline = make_run(with_truth=False, overrides=("tell.policies=[window,multimodal_sink]",))
    key = make_ballot(with_baseline.run, with_baseline.config, tmp_path / "b.html")
    assert {name for pair in key.pairs.values() for name in (pair.left, pair.right)} == {
        "captions_given-multimodal_sink",
        "captions_given-captions_alone",
    }


def test_names_are_put_back_whatever_the_side(made, read):
    report = read(filled(made, "Ada", SYSTEMS[::-1].index))
    assert {(one.first, one.second, one.wins, one.losses) for one in report.preferences} == {
        (SYSTEMS[0], SYSTEMS[1], 0, 3),
        (SYSTEMS[0], SYSTEMS[2], 0, 3),
        (SYSTEMS[1], SYSTEMS[2], 0, 3),
    }
    assert report.preferences[0].p_value == pytest.approx(0.25)
    assert report.preferences[0].p_holm == pytest.approx(0.75)
    rows = pq.read_table(made[0].run.root / "human.parquet").to_pylist()
    assert len(rows) == 27
    assert {row["winner"] for row in rows} == {"dataset", "captions_given-window"}
    assert read_human(made[0].run) == report


def test_raters_who_agree_and_who_do_not(made, read):
    order = (SYSTEMS[1], SYSTEMS[0], SYSTEMS[2])
    one, same = filled(made, "Ada", order.index), filled(made, "Bo", order.index)
    assert {found.alpha for found in read(one, same).agreement.values()} == {1.0}
    opposite = filled(made, "Cy", order[::-1].index)
    report = read(one, opposite)
    assert all(found.alpha < 0 for found in report.agreement.values())
    assert [rater.name for rater in report.raters] == ["Ada", "Cy"]
    assert {preference.p_value for preference in report.preferences} == {1.0}  # every story is tied
    assert {found.alpha for found in read(one).agreement.values()} == {None}


def test_what_is_wrong_in_files_is_counted(made, read):
    whole = filled(made, "Ada", SYSTEMS.index)
    first, second, third, *rest = whole["answers"]
    odd = whole | {
        "answers": [
            first,
            first,
            second,
            second | {"choice": "tie"},
            third,
            first | {"pair": "../../etc"},
        ]
    }
    later = whole | {"saved_at": "2026-01-01T11:00:00Z", "answers": [third | {"choice": "tie"}]}
    report = read(later, odd)
    assert report.problems == {"doubled": 1, "contradicted": 1, "unknown": 1, "changed": 1, "missing": 25}
    assert report.answers == 2
    assert sum(one.ties for one in report.preferences) == 1
    assert len(rest) == 24


def test_a_file_handed_in_twice_counts_once(made, read):
    whole = filled(made, "Ada", SYSTEMS.index)
    report = read(whole, whole)
    assert (report.answers, report.problems["doubled"]) == (27, 27)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: json.dumps(whole | {"ballot": "0" * 16}),
        lambda whole: json.dumps(whole | {"rater": " "}),
        lambda whole: json.dumps(whole | {"extra": 1}),
        lambda whole: json.dumps(whole | {"answers": [whole["answers"][0] | {"choice": "both"}]}),
        lambda whole: json.dumps(whole | {"saved_at": "yesterday"}),
        lambda whole: json.dumps(whole)[:-1] + ', "rater": "Bo"}',
        lambda whole: "[" * 100_000,
        lambda whole: " " * (9 << 20),
    ],
)
def test_files_that_are_no_answers_are_refused(made, read, spoil):
    with pytest.raises(ValueError, match=r"answers-0\.json"):
        read(spoil(filled(made, "Ada", SYSTEMS.index)))


def test_people_are_held_against_what_a_judge_said_in_both_orders(made, read):
    path = made[0].run.evaluation_dir / "judgements.parquet"
    path.parent.mkdir()
    ours, theirs = SYSTEMS[:2]
    rows = [
        judged("e4/0", (ours, theirs), "first"),
        judged("e4/0", (theirs, ours), "second"),
        judged("e5/0", (ours, theirs), "second"),
        judged("e5/0", (theirs, ours), "first"),
        judged("e6/0", (ours, theirs), "first"),
        judged("e6/0", (theirs, ours), "first"),
    ]
    pq.write_table(table_of(rows), path)
    (found,) = (one for one in read(filled(made, "Ada", SYSTEMS.index)).with_judge if one.dimension == "style")
    assert (found.judge, found.agreed, found.compared, found.not_compared) == ("m", 1, 2, 7)


def test_a_run_without_a_ballot_says_what_to_do(make_run, tmp_path):
    made = make_run(with_truth=False, overrides=SHORT)
    with pytest.raises(ValueError, match="make one first"):
        read_ballots(made.run, made.config, [tmp_path / "x.json"])
    assert read_human(made.run) is None


def test_no_more_segments_are_shown_than_were_told(make_run, tmp_path):
    made = make_run(with_truth=False, overrides=SHORT)
    make_ballot(made.run, made.config, tmp_path / "b.html", segments=50, stories=1)
    assert (tmp_path / "b.html").read_text().count("<img") == 1 + 2 * SEGMENTS


def judged(story_id, systems, choice):
    return Judgement(
        judge="m", purpose="pair", dimension="style", story_id=story_id, systems=systems, status="ok", choice=choice
    )


def table_of(rows):
    import pyarrow as pa

    return pa.Table.from_pylist([row.model_dump() for row in rows])


def test_another_system_s_stories_can_be_compared_with_ours(make_run, tmp_path):
    first = make_run(with_truth=False, overrides=SHORT)
    folder = tmp_path / "rival"
    shutil.copytree(first.run.told_dir("captions_given", "window"), folder)
    (folder / "manifest.json").unlink()
    config = override_config(first.config, [f"evaluate.external=[{folder}]"])
    systems = ("captions_given-multimodal_sink", "external-rival")
    key = make_ballot(first.run, config, tmp_path / "b.html", systems=systems, stories=2)
    assert {frozenset((pair.left, pair.right)) for pair in key.pairs.values()} == {frozenset(systems)}
    assert "rival" not in (tmp_path / "b.html").read_text()
