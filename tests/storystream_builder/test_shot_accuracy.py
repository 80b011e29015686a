"""Shots of drawn films with known cuts, and the evaluation itself."""

import pytest

from benchmarks.build_accuracy import known, measure
from benchmarks.build_films import Film, Shot, Transition, encode, make_film
from benchmarks.build_shots import evaluate

CUTS = [Transition("cut", 1000, 1000), Transition("fade through black", 2000, 2400), Transition("dissolve", 4000, 4400)]
SIZE = (160, 96)


def score_of(found: list[float]):
    return evaluate(found, CUTS, kind_at=lambda at: "pan" if at > 3000 else "still", tolerance_ms=40)


def test_what_is_found_within_a_frame_is_right():
    score = score_of([960, 2440])
    assert (score.precision, score.recall, score.f1) == (1, 1, 1)


def test_what_is_missed_lowers_the_recall_alone():
    score = score_of([1000])
    assert (score.precision, score.recall, score.f1) == (1, 0.5, pytest.approx(2 / 3))
    assert score.missed == {"fade through black": 1, "dissolve": 1}


def test_what_is_found_beside_lowers_the_precision_and_is_named():
    score = score_of([900, 1000, 2200, 3500])
    assert (score.precision, score.recall) == (0.5, 1)
    assert score.false == {"still": 1, "pan": 1}


def test_a_transition_is_found_once():
    assert score_of([990, 1010, 2200]).false == {"still": 1}


def test_dissolves_count_neither_way():
    assert score_of([1000, 2200, 4200, 4300]).f1 == 1
    assert score_of([1000, 2200]).f1 == 1


def test_nothing_found_is_no_division_by_zero():
    assert score_of([]).f1 == 0


def test_transitions_lie_where_they_are_drawn():
    film = Film((Shot("still", "cut", 1, 24), Shot("still", "cut", 2, 24), Shot("still", "fade through black", 3, 24)))
    first, second = film.transitions()
    assert (first.first_ms, first.last_ms) == (1000, 1000)
    assert second.first_ms < 2000 < second.last_ms
    frames = list(film.frames(*SIZE))
    assert abs(frames[24].astype(int) - frames[23]).mean() > 20
    assert frames[47].max() == frames[48].max() == 0


@pytest.mark.parametrize(("seed", "codec", "suffix"), [(0, "libx264", ".mp4"), (3, "libvpx", ".webm")])
def test_the_shots_of_deceiving_films_are_found(tmp_path, decode, seed, codec, suffix):
    film = make_film(seed, 16)
    video = encode(tmp_path / f"x{suffix}", film.frames(*SIZE), codec=codec)

    def find(path):
        return [float(shot.start_ms) for shot in decode(path)[0].shots[1:]]

    score = measure([known(video, film)], find)
    assert score.f1 >= 0.95, "\n".join(score.lines())


@pytest.mark.parametrize("kind", ["held on threes", "jump", "fast pan", "flash", "lightning", "lamp", "shake"])
def test_what_happens_within_a_shot_is_no_cut(tmp_path, decode, kind):
    film = Film((Shot(kind, "cut", 5, 60),))
    record, _ = decode(encode(tmp_path / "x.mp4", film.frames(*SIZE)))
    assert len(record.shots) == 1
