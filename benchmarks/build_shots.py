"""How well shots are found: found times against known transitions, for `build.py`.

A transition is found by one time within a frame of where it happens; a fade may be cut anywhere within its blend. What
is found beside is false, and told by what happens in the shot there. Dissolves are counted apart: a detector of cuts
need not hear them, and what it says within one is neither right nor wrong.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.build_films import Transition

APART = frozenset({"dissolve"})


@dataclass
class Score:
    """Counts over any number of films."""

    found: Counter[str] = field(default_factory=Counter)
    """By kind of transition, like `missed`."""
    missed: Counter[str] = field(default_factory=Counter)
    false: Counter[str] = field(default_factory=Counter)
    """By kind of shot."""

    def add(self, other: "Score") -> None:
        """Take another film's counts."""
        self.found += other.found
        self.missed += other.missed
        self.false += other.false

    @property
    def precision(self) -> float:
        """Share of the found times that are right."""
        right, false = self._count(self.found), sum(self.false.values())
        return right / max(1, right + false)

    @property
    def recall(self) -> float:
        """Share of the transitions that were found, dissolves left out."""
        right = self._count(self.found)
        return right / max(1, right + self._count(self.missed))

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / max(1e-9, self.precision + self.recall)

    def lines(self) -> list[str]:
        """Say it by kind."""
        kinds = sorted({*self.found, *self.missed})
        recalls = [f"  {kind}: {self.found[kind]} of {self.found[kind] + self.missed[kind]} found" for kind in kinds]
        false = ", ".join(f"{count} in {kind}" for kind, count in self.false.most_common()) or "none"
        summary = f"F1 {self.f1:.3f}, precision {self.precision:.3f}, recall {self.recall:.3f}; false: {false}"
        return [summary, *recalls]

    @staticmethod
    def _count(counts: Counter[str]) -> int:
        return sum(count for kind, count in counts.items() if kind not in APART)


def evaluate(
    found_ms: Sequence[float], truth: Sequence[Transition], *, kind_at: Callable[[float], str], tolerance_ms: float
) -> Score:
    """Match found times with transitions, each with one at most, in time order."""
    score, left = Score(), sorted(found_ms)
    for transition in sorted(truth, key=lambda one: (one.last_ms, one.first_ms)):
        within = [at for at in left if _is_within(at, transition, tolerance_ms)]
        if within:
            left.remove(within[0])
            score.found[transition.kind] += 1
        else:
            score.missed[transition.kind] += 1
    apart = [one for one in truth if one.kind in APART]
    for at in left:
        if not any(_is_within(at, one, tolerance_ms) for one in apart):
            score.false[kind_at(at)] += 1
    return score


def _is_within(at: float, transition: Transition, tolerance_ms: float) -> bool:
    return transition.first_ms - tolerance_ms <= at <= transition.last_ms + tolerance_ms
