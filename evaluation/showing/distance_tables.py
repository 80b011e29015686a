"""Distances by the network and the way in which pictures entered it: only within one of these may they be compared."""

from dataclasses import dataclass
from typing import Literal

from evaluation.distances.distances import Distances
from evaluation.scores import Scores, SystemScores
from evaluation.showing.system_tables import DATASET, full_label

RowKind = Literal["headline", "told", "beside"]


@dataclass(frozen=True)
class DistanceTable:
    """All systems in one network's features."""

    label: str
    key: str
    digest: str
    rows: tuple[tuple[str, Distances, RowKind], ...]
    flags: dict[str, tuple[str, ...]]
    """What a reader must know, and of which systems; of all, where none is named."""


def distance_tables(scores: Scores) -> list[DistanceTable]:
    """Lay out every network's distances, the ceiling and the dataset's own last."""
    told = sorted(scores.systems.values(), key=lambda one: one.kind == "reconstruction")
    systems = [*told, scores.reference]
    return [_table(scores, systems, key) for key in dict.fromkeys(key for one in systems for key in one.distances)]


def _table(scores: Scores, systems: list[SystemScores], key: str) -> DistanceTable:
    found = [(one, one.distances[key]) for one in systems if key in one.distances]
    flags: dict[str, tuple[str, ...]] = {}
    for system, distances in found:
        for flag in distances.flags:
            flags[flag] = (*flags.get(flag, ()), _label(scores, system))
    return DistanceTable(
        label=found[0][1].label,
        key=key,
        digest=found[0][1].digest,
        rows=tuple((_label(scores, system), distances, _kind(scores, system)) for system, distances in found),
        flags={flag: () if len(labels) == len(found) else labels for flag, labels in flags.items()},
    )


def _label(scores: Scores, system: SystemScores) -> str:
    return f"{DATASET}, other episodes" if system.kind == "dataset" else full_label(scores, system.name)


def _kind(scores: Scores, system: SystemScores) -> RowKind:
    if system.kind in {"dataset", "reconstruction"}:
        return "beside"
    return "headline" if system.name == scores.headline else "told"
