"""A row for every measure that both runs have: each story's mean on both sides, their difference, how sure it is."""

from collections.abc import Iterable, Mapping, Sequence

from evaluation.comparing.comparison import Row
from evaluation.comparing.sides import Evaluated, RunValues, StoryValues, networks_that_differ
from evaluation.comparing.starts import GIVEN, Pairing, Starts
from evaluation.measures.catalog import CATALOG, OF_TEXTS, beside_other_stories
from evaluation.measures.measure import Measure
from evaluation.statistics import Estimate, holm, mean_over_stories, paired

ONE_STORY = "one story is shared: nothing can be said of how sure a difference is"
_PREFIXES = {"clip": "clip_", "dinov2": "dino_"}
"""How names of measures begin that are taken with a user's network."""
NO_STORY = "no story is shared that both runs have a value for"
OTHER_STORIES = "measured beside all stories that a run told, and the runs did not tell the same ones"


def measure_rows(
    left: Evaluated,
    right: Evaluated,
    values: tuple[RunValues, RunValues],
    pairings: Mapping[str, Pairing],
) -> list[Row]:
    """Compare every measure of both headline policies in each mode of the pairings.

    Where captions are given, texts are the dataset's: nothing of them is compared, for each row makes those of pictures
    harder to show.

    Args:
        left: the older run.
        right: the newer one.
        values: of both.
        pairings: by mode.
    """
    rows = []
    other_weights = networks_that_differ(left, right)
    for mode, pairing in pairings.items():
        ours = values[0].get((mode, left.headline_policy), {})
        theirs = values[1].get((mode, right.headline_policy), {})
        for measure in _in_order(ours.keys() | theirs.keys()):
            name = measure.name
            if mode == GIVEN and name.startswith(OF_TEXTS):
                continue
            row = Row(mode=mode, measure=name, better=measure.better, meaning=measure.meaning)
            reason = _why_not(name, (ours, theirs), (left, right), other_weights)
            if reason is None and beside_other_stories(name) and not _same_stories(pairing.starts):
                reason = OTHER_STORIES
            if reason:
                rows.append(row.model_copy(update={"reason": reason}))
                continue
            sides = by_story(ours[name], pairing), by_story(theirs[name], pairing)
            rows.append(compared(row, *sides, resamples=right.config.evaluate.bootstrap, seed=right.config.seed))
    return rows


def _in_order(names: Iterable[str]) -> list[Measure]:
    """Bring measures into reading order; what an older or newer version measured and this one does not know is last."""
    known = [measure for measure in CATALOG if measure.name in names]
    unknown = sorted(set(names) - {measure.name for measure in known})
    return [*known, *(Measure(name, None, "Not in this version's catalogue.") for name in unknown)]


def _why_not(
    name: str, values: Sequence[Mapping[str, StoryValues]], sides: Sequence[Evaluated], other_weights: Sequence[str]
) -> str | None:
    for own, side in zip(values, sides, strict=True):
        if name not in own:
            return f"{side.run.name} was not measured so"
    network = next((one for one in other_weights if name.startswith(_PREFIXES.get(one, one))), None)
    return f"measured with other weights of {network}" if network else None


def _same_stories(starts: Starts) -> bool:
    """Tell whether both runs told the same stories to the same lengths."""
    return not any((starts.only_left, starts.only_right, starts.other_opening, starts.other_captions, starts.cut))


def by_story(values: StoryValues, pairing: Pairing) -> dict[str, float]:
    """Average a measure within each paired story, as far as both runs told it.

    A value of the story as a whole counts where both runs told it to the same length.
    """
    found = {}
    for story, length in pairing.lengths.items():
        own = values.get(story, {})
        kept = [
            value for index, value in own.items() if (story in pairing.whole if index == 0 else 0 < index <= length)
        ]
        if kept:
            found[story] = sum(kept) / len(kept)
    return found


def compared(row: Row, left: Mapping[str, float], right: Mapping[str, float], *, resamples: int, seed: int) -> Row:
    """Fill a row from both runs' values by story."""
    found = paired(right, left, better=row.better, resamples=resamples, seed=seed)
    if found.n < 2 or found.difference is None:
        return row.model_copy(update={"stories": found.n, "reason": ONE_STORY if found.n else NO_STORY})
    shared = sorted(left.keys() & right.keys())

    def mean(side: Mapping[str, float]) -> Estimate | None:
        return mean_over_stories([[side[story]] for story in shared], resamples=resamples, seed=seed)

    return row.model_copy(
        update={
            "left": mean(left),
            "right": mean(right),
            "difference": found.difference,
            "detectable": found.detectable,
            "stories": found.n,
            "wins": found.wins,
            "losses": found.losses,
            "ties": found.ties,
            "p_value": 1.0 if found.wilcoxon_p is None else found.wilcoxon_p,
        }
    )


def adjusted(rows: Sequence[Row], primary: Sequence[str], *, level: float) -> list[Row]:
    """Adjust the p-values of the primary rows together, and of all others together, and say what each row shows.

    A row shows a difference where its adjusted p-value is below the level and its interval, if there is one, lies on
    one side of zero.
    """
    marked = [row.model_copy(update={"primary": row.name in primary}) for row in rows]
    p_values: dict[str, float] = {}
    for group in (True, False):
        p_values |= holm({row.name: row.p_value for row in marked if row.primary is group and row.p_value is not None})
    return [
        row.model_copy(update={"p_adjusted": p_values[row.name], "finding": _finding(row, p_values[row.name], level)})
        if row.p_value is not None
        else row
        for row in marked
    ]


def _finding(row: Row, p_adjusted: float, level: float) -> str:
    difference = row.difference
    if difference is None:  # the judge's choices have a direction, no amount
        sign = float(row.wins - row.losses)
    else:
        ends = [end for end in (difference.low, difference.high) if end is not None]
        one_sided = all(end > 0 for end in ends) or all(end < 0 for end in ends)
        sign = difference.value if one_sided else 0.0
    if p_adjusted >= level or sign == 0:
        return "no significant difference"
    if row.better is None:
        return "differs"
    return "better" if (sign > 0) == (row.better == "higher") else "worse"
