"""What a reader sees first: a few numbers of the headline system, and what must be known before any is believed."""

from dataclasses import dataclass

from markupsafe import Markup

from evaluation.judging.questions import REFERENCE
from evaluation.scores import Scores, SystemScores
from evaluation.showing.numbers import digits_of, measured, number, percent
from evaluation.showing.system_tables import full_label, label_of, weak_judges
from evaluation.statistics import Estimate


@dataclass(frozen=True)
class Tile:
    """One number, and what it is read against."""

    name: str
    value: Markup
    beside: Markup


def tiles_of(scores: Scores) -> list[Tile]:
    """Choose the headline's numbers: agreement with truth, a distance, the judge, and how much was told."""
    if scores.headline is None:
        return []
    system = scores.systems[scores.headline]
    return [*_agreement(scores, system), *_distance(scores, system), *_judge(scores, system), _told(system)]


def warnings_of(scores: Scores) -> list[str]:
    """Say what weakens the numbers as a whole."""
    found = []
    for judge, test in scores.judge.self_tests.items():
        if not test.trusted:
            weak = ", ".join(name for name, is_trusted in test.dimensions.items() if not is_trusted)
            found.append(
                f"The judge {judge} does not see all damage in spoiled stories: its scores in {weak} are weak."
            )
    found += [
        f"The judge {judge} is not the one that it was: {drift.reason}"
        for judge, drift in scores.judge.drift.items()
        if drift.changed
    ]
    judged = scores.judge.scores
    for judge, summary in (judged.judges if judged else {}).items():
        few = [name for name, own in summary.systems.items() if not all(one.is_covered for one in own.values())]
        if few:
            names = "; ".join(full_label(scores, name) for name in few)
            found.append(f"{judge} left questions unanswered, and what is missing may decide the means of: {names}.")
    for system in scores.systems.values():
        found += [f"{label_of(system)}: {note}" for note in system.notes]
        if system.empty_texts:
            found.append(f"{full_label(scores, system.name)}: {system.empty_texts} texts without a word.")
    return found


def _agreement(scores: Scores, system: SystemScores) -> list[Tile]:
    tiles = []
    for aspect, found in system.accuracy.items():
        own = scores.reference.accuracy[aspect].accuracy if aspect in scores.reference.accuracy else None
        beside = Markup("chance {} · the dataset's own pictures {}").format(
            percent(found.chance_majority), percent(own.value if own else None)
        )
        tiles.append(Tile(f"Picture shows the {aspect} that its text names", percent(found.accuracy), beside))
    return tiles


def _distance(scores: Scores, system: SystemScores) -> list[Tile]:
    """Show one distance: in a trained network's features where there is one, for those say more."""
    if not system.distances:
        return []
    key = next((one for one in system.distances if one.startswith(("inception", "dino"))), next(iter(system.distances)))
    ceiling = next((one for one in scores.systems.values() if one.kind == "reconstruction"), None)
    marks = [("repainted", ceiling), ("true pictures of other episodes", scores.reference)]
    known = [(name, one.distances[key].frechet) for name, one in marks if one is not None and key in one.distances]
    beside = Markup("lower is closer to the dataset") + Markup("").join(
        Markup(" · {} {}").format(name, measured(value.model_copy(update={"low": None, "high": None})))
        for name, value in known
        if value is not None
    )
    return [Tile(f"Fréchet distance, {system.distances[key].label}", measured(system.distances[key].frechet), beside)]


def _judge(scores: Scores, system: SystemScores) -> list[Tile]:
    pooled = scores.judge.scores.pooled if scores.judge.scores else {}
    if system.name not in pooled:
        return []
    own, true = pooled[system.name], pooled.get(REFERENCE, {})
    (dimension, first), *rest = reversed(own.items())
    others = [Markup("{} {}").format(name, _plain(value, first)) for name, value in reversed(rest)]
    weak = weak_judges(scores, dimension)
    caution = [Markup("{} missed damage in it").format(", ".join(weak))] if weak else []
    known = Markup("the dataset's own {}").format(_plain(true.get(dimension), first))
    beside = Markup(" · ").join([*caution, *others, known])
    return [Tile(f"Judge: {dimension}, 1 to 10", measured(first), beside)]


def _plain(value: Estimate | None, beside: Estimate | None) -> Markup:
    """Write a number without its interval, with as many digits as the one that it stands beside."""
    return number(value.value if value else None, digits_of(beside))


def _told(system: SystemScores) -> Tile:
    mode = system.mode.replace("_", " ")
    beside = Markup("in {} stories, {} with a picture; {}, {}").format(
        system.stories, system.pictures, mode, label_of(system)
    )
    return Tile("Segments told", Markup("{:,}").format(system.segments), beside)
