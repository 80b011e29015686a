from dataclasses import replace
from pathlib import Path

import pytest
from test_stories import frame

from story_model.build_config import BuildConfig, FiltersConfig
from storystream_builder.assemble import filtered
from storystream_builder.duplicates import drop_recurring, find_duplicates
from storystream_builder.episodes import EpisodeOutcome, prepare_episode
from storystream_builder.frames import Episode
from storystream_builder.listening.transcripts import Line, Transcript
from storystream_builder.records import EpisodeRecord
from storystream_builder.sources import Source

NOTHING_IS_UNFIT = {"min_sharpness": 0.0, "min_luma": 0.0, "min_contrast": 0.0, "across_episodes_distance": None}
FAR_APART = [(0x9E3779B97F4A7C15 * (number + 1)) % 2**64 for number in range(400)]


def episode(name: str, hashes: list[int], *, width: int = 100, length_ms: int | None = None) -> Episode:
    frames = tuple(replace(frame(number, name), phash=value) for number, value in enumerate(hashes))
    record = EpisodeRecord(episode_id=name, source_sha256=name, width=width, height=100)
    record.duration_ms = length_ms or 1000 * len(hashes)
    return Episode(EpisodeOutcome(Source(Path(f"{name}.mp4"), f"{name}.mp4"), name, name), record, Path(), frames)


def test_the_same_film_in_another_encode_is_a_duplicate_of_the_better_picture():
    small = episode("ea", [value ^ 0b111 for value in FAR_APART[:10]], width=50)
    large = episode("eb", FAR_APART[:10], width=100)
    assert find_duplicates([small, large]) == {"ea": "eb"}


def test_different_films_are_no_duplicates():
    assert find_duplicates([episode("ea", FAR_APART[:10]), episode("eb", FAR_APART[10:20])]) == {}


def test_the_same_pictures_at_other_times_are_no_duplicate():
    assert find_duplicates([episode("ea", FAR_APART[:10]), episode("eb", FAR_APART[:10][::-1])]) == {}


def test_a_film_much_longer_is_no_duplicate():
    assert find_duplicates([episode("ea", FAR_APART[:10]), episode("eb", FAR_APART[:10], length_ms=20_000)]) == {}


def test_two_films_that_share_a_title_card_are_no_duplicates():
    assert find_duplicates([episode("ea", FAR_APART[:10]), episode("eb", FAR_APART[:1] + FAR_APART[20:29])]) == {}


def test_an_opening_that_three_episodes_share_is_dropped():
    title = FAR_APART[399]
    films = [episode(f"e{n}", [title, *FAR_APART[20 * n : 20 * n + 19]]) for n in range(3)]
    dropped = [
        [one.pts_ms for one in film.frames if one.status == "recurring"]
        for film in drop_recurring(films, FiltersConfig())
    ]
    assert dropped == [[0], [0], [0]]


def test_what_two_episodes_share_stays():
    films = [episode(f"e{n}", [FAR_APART[399], *FAR_APART[20 * n : 20 * n + 19]]) for n in range(2)]
    assert drop_recurring(films, FiltersConfig()) == films


def test_what_recurs_in_the_middle_stays():
    films = []
    for n in range(3):
        own = FAR_APART[20 * n : 20 * n + 20]
        films.append(episode(f"e{n}", [*own[:10], FAR_APART[399], *own[10:]]))
    assert drop_recurring(films, FiltersConfig()) == films


@pytest.mark.parametrize(("silent_shots", "kept"), [("drop", {1}), ("describe", {19})])
def test_where_lines_tell_openings_from_pictures_nothing_recurs(silent_shots, kept):
    films = [episode(f"e{n}", [FAR_APART[399], *FAR_APART[20 * n : 20 * n + 19]]) for n in range(3)]
    told = [replace(f, outcome=replace(f.outcome, transcript=Transcript((Line(0, 999, "x"),)))) for f in films]
    config = BuildConfig.model_validate({"captions": {"silent_shots": silent_shots}})
    unscored = config.model_copy(update={"filters": config.filters.model_copy(update=NOTHING_IS_UNFIT)})
    assert {len(film.kept) for film in filtered(told, unscored)[0]} == kept


def test_two_encodes_of_a_real_film_are_one(clips, tmp_path):
    from small_builds import chosen, small_config, source_of

    from story_model.workspace import RunFolder

    folder = RunFolder(tmp_path / "run")
    films = []
    for name in ("bbb_480p_30s.mp4", "bbb_moviepy_30s.webm"):
        outcome = prepare_episode(source_of(clips / name), folder, config=small_config())
        films.append(chosen(outcome, folder.episodes_dir / str(outcome.episode_id)))
    assert find_duplicates(films) == {films[0].episode_id: films[1].episode_id}


def test_of_two_encodes_the_one_with_lines_is_used():
    told = Transcript((Line(0, 1, "x"),))
    small = episode("ea", FAR_APART[:10], width=50)
    small = replace(small, outcome=replace(small.outcome, transcript=told))
    assert find_duplicates([small, episode("eb", FAR_APART[:10])]) == {"eb": "ea"}
