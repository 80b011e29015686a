"""The work of a comparison: read both runs, pair them, test, rule, write the table and the page, log to MLflow."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.comparing.comparison import Comparison, JudgePairs, Row
from evaluation.comparing.judged import judge_pairs, judge_rows
from evaluation.comparing.pictured import Tellings, distance_rows, paired_tellings
from evaluation.comparing.rows import adjusted, measure_rows
from evaluation.comparing.ruling import rule
from evaluation.comparing.sides import Evaluated, config_changes, judges_who_miss_damage, read_values, side_of
from evaluation.comparing.starts import GIVEN, Pairing, pair
from evaluation.judging.again import ERRORS
from evaluation.judging.panel import open_panel
from evaluation.showing.comparison_page import render_comparison
from evaluation.tables import write_judgements
from story_model.config import Settings
from story_model.manifest import StepResult, write_atomically
from story_model.pixels import detokenizer_square
from story_model.tracking import Tracker, child_run

ROWS = pa.schema(
    [
        ("mode", pa.string()),
        ("measure", pa.string()),
        ("better", pa.string()),
        ("primary", pa.bool_()),
        ("test", pa.string()),
        *((f"{side}{end}", pa.float64()) for side in ("left", "right", "difference") for end in ("", "_low", "_high")),
        ("detectable", pa.float64()),
        *((name, pa.int32()) for name in ("stories", "wins", "losses", "ties")),
        ("p_value", pa.float64()),
        ("p_adjusted", pa.float64()),
        ("finding", pa.string()),
        ("reason", pa.string()),
    ]
)
"""`comparison.parquet`: a row a measure and mode; the difference is right minus left."""


def compare_runs(left: Evaluated, right: Evaluated, settings: Settings, out_dir: Path) -> StepResult:
    """Compare two evaluated runs and write `comparison.json`, `comparison.parquet` and `comparison.html`."""
    with child_run(right.run, f"compare with {left.run.name}", settings=settings, out_dir=out_dir) as tracker:
        modes: list[str] = [mode for mode in right.config.tell.modes if mode in left.config.tell.modes]
        pairings = {mode: pair(left, right, mode) for mode in modes}
        tellings = {mode: paired_tellings(left, right, pairing, mode) for mode, pairing in pairings.items()}
        headline = GIVEN if GIVEN in pairings else next(iter(pairings), GIVEN)
        judge = right.config.evaluate.judge
        panel = open_panel(judge, settings, right.run.judge_dir)
        judged, judgements = judge_pairs(tellings.get(headline, ([], [])), panel, judge, judges_who_miss_damage(right))
        rows = _rows(left, right, pairings, tellings, judged)
        comparison = _comparison(left, right, pairings, rows, judged, headline)
        write_atomically(out_dir / "comparison.json", comparison.model_dump_json(indent=1).encode())
        pq.write_table(pa.Table.from_pylist([_flat(row) for row in rows], schema=ROWS), out_dir / "comparison.parquet")
        if judgements:
            write_judgements(out_dir / "judgements.parquet", judgements)
        page = render_comparison(comparison, tellings, config=right.config)
        write_atomically(out_dir / "comparison.html", page.encode())
        metrics = _metrics(rows)
        _track(tracker, comparison, metrics, out_dir)
        counts = {
            "shared_starts": pairings[headline].starts.shared if headline in pairings else 0,
            "measures": sum(row.p_value is not None for row in rows),
            "not_compared": sum(row.p_value is None for row in rows),
            "judge_questions": judged.asked,
            ERRORS: sum(one.status == "error" for one in judgements),
        }
        return StepResult(counts=counts, metrics=metrics, tracking_run_id=tracker.run_id)


def _rows(
    left: Evaluated,
    right: Evaluated,
    pairings: Mapping[str, Pairing],
    tellings: Mapping[str, Tellings],
    judged: JudgePairs,
) -> list[Row]:
    evaluate = right.config.evaluate
    values = read_values(left), read_values(right)
    rows = measure_rows(left, right, values, pairings)
    rows += distance_rows(tellings, right)
    return adjusted([*rows, *judge_rows(judged)], evaluate.champion.primary, level=evaluate.champion.level)


def _comparison(
    left: Evaluated,
    right: Evaluated,
    pairings: Mapping[str, Pairing],
    rows: Sequence[Row],
    judged: JudgePairs,
    headline: str,
) -> Comparison:
    champion = right.config.evaluate.champion
    verdict, reason = rule(rows, level=champion.level)
    return Comparison(
        left=side_of(left),
        right=side_of(right),
        verdict=verdict,
        reason=reason,
        level=champion.level,
        primary=list(champion.primary),
        headline_mode=headline,
        starts={mode: pairing.starts for mode, pairing in pairings.items()},
        rows=list(rows),
        judge=judged,
        changes=config_changes(left.config, right.config),
        notes=_notes(left, right),
    )


def _notes(left: Evaluated, right: Evaluated) -> list[str]:
    """Say what differs between the runs besides what they told."""
    notes = []
    if left.dataset.digest != right.dataset.digest:
        notes.append(
            "The datasets differ. Only starts with the same opening are compared; what is learnt from a dataset to "
            "measure with, as the classifier of the drawn series, is each run's own."
        )
    if left.evaluation.code_version != right.evaluation.code_version:
        versions = f"{left.evaluation.code_version} and {right.evaluation.code_version}"
        notes.append(f"Different versions of the code evaluated the runs ({versions}); evaluate the older one again.")
    squares = [detokenizer_square(one.config.model.detokenizer) for one in (left, right)]
    if squares[0] != squares[1]:
        notes.append("The runs paint squares of another size or cut; distances are measured on the newer run's.")
    apart = {"champion", "judge", "external", "report_stories"}  # no measured value of the run depends on these
    ours, theirs = (one.config.evaluate.model_dump(exclude=apart) for one in (left, right))
    if ours != theirs:
        notes.append("The runs were evaluated with different settings (see what differs in the configurations).")
    return notes


def _flat(row: Row) -> dict[str, object]:
    spread = {
        f"{side}{end}": getattr(estimate, name) if estimate else None
        for side, estimate in (("left", row.left), ("right", row.right), ("difference", row.difference))
        for end, name in (("", "value"), ("_low", "low"), ("_high", "high"))
    }
    return {**{name: getattr(row, name) for name in ROWS.names if hasattr(row, name)}, **spread}


def _metrics(rows: Sequence[Row]) -> dict[str, float]:
    """Name each difference with its interval and adjusted p-value, as MLflow shows it."""
    numbers: dict[str, float] = {}
    for row in rows:
        ends = {"_ci_low": row.difference.low, "_ci_high": row.difference.high} if row.difference else {}
        found = {"": row.difference.value if row.difference else None, **ends, "_p": row.p_adjusted}
        numbers |= {f"{row.name}_change{end}": value for end, value in found.items() if value is not None}
    return numbers


def _track(tracker: Tracker, comparison: Comparison, metrics: Mapping[str, float], out_dir: Path) -> None:
    tracker.params({"level": comparison.level, "primary": ", ".join(comparison.primary)})
    tracker.tags({"storystream.verdict": comparison.verdict, "storystream.compared_with": comparison.left.run})
    tracker.note(f"**{comparison.verdict}** beside {comparison.left.run}: {comparison.reason}")
    tracker.metrics(metrics)
    for name in ("comparison.html", "comparison.json", "comparison.parquet"):
        tracker.artifact(out_dir / name)
