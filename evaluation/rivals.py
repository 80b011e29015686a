"""The headline system against each of its rivals on the same starts, story by story, in every measure."""

from collections.abc import Collection, Mapping

from evaluation.external import MODE as EXTERNAL
from evaluation.measures.catalog import in_reading_order
from evaluation.measures.degradation import slope_difference
from evaluation.measures.measure import Measured
from evaluation.scores import Comparison, SlopeDifference, SystemScores
from evaluation.statistics import holm, paired


def compare(
    systems: Mapping[str, SystemScores],
    headline: str | None,
    *,
    primary: Collection[str],
    resamples: int,
    seed: int,
) -> list[Comparison]:
    """Set the headline system against each other one of its mode, and against other people's systems.

    Args:
        systems: by name.
        headline: the one that all others stand against; without one nothing is compared.
        primary: measures, `<mode>/<measure>`, whose p-values are adjusted together; all others are adjusted among
            themselves, so that many looks at the same stories do not drown the questions that were asked beforehand.
        resamples: draws behind each difference's interval.
        seed: of the draws.
    """
    if headline is None:
        return []
    ours = systems[headline]
    rivals = [
        one
        for one in systems.values()
        if one.name != headline and one.kind != "reconstruction" and one.mode in {ours.mode, EXTERNAL}
    ]
    return [row for rival in rivals for row in _against(ours, rival, primary, resamples=resamples, seed=seed)]


def compare_slopes(
    measured: Mapping[str, Measured],
    systems: Mapping[str, SystemScores],
    headline: str | None,
    *,
    resamples: int,
    seed: int,
) -> list[SlopeDifference]:
    """Hold what the headline policy loses over a story's length against what each other cache policy loses."""
    if headline is None:
        return []
    ours = systems[headline]
    rivals = [
        one for one in systems.values() if one.kind == "policy" and one.mode == ours.mode and one.name != headline
    ]
    found = []
    for rival in rivals:
        for measure in in_reading_order(ours.slopes.keys() & rival.slopes.keys()):
            both = (measured[name][measure.name] for name in (headline, rival.name))
            difference = slope_difference(*both, resamples=resamples, seed=seed)
            if difference is not None:
                found.append(
                    SlopeDifference(system=headline, against=rival.name, measure=measure.name, difference=difference)
                )
    return found


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
        for measure in in_reading_order(ours.measures.keys() & rival.measures.keys())
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
