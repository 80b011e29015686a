"""The headline policy against its rivals on the same starts, mode by mode, story by story, in every measure."""

from collections.abc import Collection, Iterator, Mapping

from evaluation.measures.catalog import OF_TEXTS, in_reading_order
from evaluation.measures.degradation import slope_difference
from evaluation.measures.measure import Measure, Measured
from evaluation.scores import Comparison, SlopeDifference, SystemScores
from evaluation.statistics import holm, paired

FREE = "free"
"""The mode in which texts are the system's own; other people's systems are held against ours in it."""


def compare(
    systems: Mapping[str, SystemScores],
    headline_policy: str,
    *,
    primary: Collection[str],
    resamples: int,
    seed: int,
) -> list[Comparison]:
    """Set the headline policy against each other system of its mode; where it tells freely, against other people's too.

    Texts are compared where both sides wrote them: given captions, and those that a baseline illustrates, are nobody's.

    Args:
        systems: by name.
        headline_policy: the one that all others stand against; a mode in which it did not tell is left out.
        primary: measures, `<mode>/<measure>`, whose p-values are adjusted together; all others are adjusted among
            themselves, so that many looks at the same stories do not drown the questions that were asked beforehand.
        resamples: draws behind each difference's interval.
        seed: of the draws.
    """
    return [
        row
        for ours, rival in _pairs(systems, headline_policy)
        for row in _against(ours, rival, primary, resamples=resamples, seed=seed)
    ]


def compare_slopes(
    measured: Mapping[str, Measured],
    systems: Mapping[str, SystemScores],
    headline_policy: str,
    *,
    resamples: int,
    seed: int,
) -> list[SlopeDifference]:
    """Hold what the headline policy loses over a story's length against what each other cache policy loses."""
    found = []
    for ours, rival in _pairs(systems, headline_policy):
        for measure in _shared(ours, rival) if rival.kind == "policy" else ():
            values = [measured[one.name].get(measure.name, {}) for one in (ours, rival)]
            difference = slope_difference(*values, resamples=resamples, seed=seed)
            if difference is not None:
                found.append(
                    SlopeDifference(system=ours.name, against=rival.name, measure=measure.name, difference=difference)
                )
    return found


def _pairs(systems: Mapping[str, SystemScores], headline_policy: str) -> Iterator[tuple[SystemScores, SystemScores]]:
    for ours in systems.values():
        if ours.kind != "policy" or ours.policy != headline_policy:
            continue
        for rival in systems.values():
            is_ours = rival.kind in {"policy", "baseline"} and rival.mode == ours.mode and rival.name != ours.name
            if is_ours or (rival.kind == "external" and ours.mode == FREE):
                yield ours, rival


def _shared(ours: SystemScores, rival: SystemScores) -> list[Measure]:
    both = in_reading_order(ours.measures.keys() & rival.measures.keys())
    wrote = ours.mode == FREE and rival.kind != "baseline"
    return [measure for measure in both if wrote or not measure.name.startswith(OF_TEXTS)]


def _against(
    ours: SystemScores, rival: SystemScores, primary: Collection[str], *, resamples: int, seed: int
) -> list[Comparison]:
    tests = {
        measure.name: paired(
            ours.measures[measure.name].by_story,
            rival.measures[measure.name].by_story,
            better=measure.better,
            resamples=resamples,
            seed=seed,
        )
        for measure in _shared(ours, rival)
    }
    p_values = {name: 1.0 if test.wilcoxon_p is None else test.wilcoxon_p for name, test in tests.items()}
    asked = {name: p for name, p in p_values.items() if _place(ours, name) in primary}
    adjusted = holm(asked) | holm({name: p for name, p in p_values.items() if name not in asked})
    return [
        Comparison(
            system=ours.name,
            against=rival.name,
            measure=name,
            paired=test,
            p_value=p_values[name],
            p_holm=adjusted[name],
            is_primary=name in asked,
        )
        for name, test in tests.items()
    ]


def _place(system: SystemScores, measure: str) -> str:
    return f"{system.mode}/{measure}"
