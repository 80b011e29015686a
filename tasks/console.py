"""What a person at a terminal sees of a run: a line a step while it goes on, the numbers at its end."""

import logging
import sys
from collections.abc import Sequence

from pydantic import TypeAdapter

from story_model.config import Settings
from story_model.schema import LearningRow
from story_model.workspace import RunFolder
from tasks.summary import Summary, read_summary

_ROWS = TypeAdapter(list[LearningRow])
_HEADER = ("", "measured", "", "baseline", "target", "reached")


def speak() -> None:
    """Send our own lines to the terminal with the time of day; of others only warnings, of Prefect only errors.

    Prefect's accounts of failed flows and tasks stay in its own log: the command says what failed in one line.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
    handler.addFilter(_is_worth_reading)
    logging.getLogger().handlers = [handler]
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it has a handler of its own


def closing_words(folder: RunFolder) -> str:
    """Say what was learnt, what it cost, where to look, and last how many inputs were set aside."""
    summary = read_summary(folder.summary_path)
    settings = Settings()
    local = settings.tracking_uri.startswith("sqlite:")
    lines = [
        "",
        *learning_lines(_ROWS.validate_json((folder.evaluation_dir / "learning.json").read_bytes())),
        "",
        _cost(summary),
        f"report   {summary.report}",
        f"numbers  {folder.summary_path}",
        "mlflow   mlflow ui   (in the project folder)" if local else f"mlflow   {settings.tracking_uri}",
        _set_aside(summary),
    ]
    return "\n".join(lines) + "\n"


def learning_lines(rows: Sequence[LearningRow]) -> list[str]:
    """Set the rows up in columns."""
    table = [_HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_HEADER))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in table]


def _cells(row: LearningRow) -> tuple[str, ...]:
    reached = {True: "yes", False: "NO", None: "not measured"}[row.reached]
    baseline = f"{_number(row.baseline)} {row.baseline_name}"
    return f"{row.stage}: {row.measure}", _number(row.value), row.unit, baseline, row.target, reached


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _cost(summary: Summary) -> str:
    return (
        f"{summary.wall_s:.0f} s, at most {summary.peak_memory_mb:.0f} MB in all processes together, "
        f"{100 * summary.orchestration_share:.0f} % of the time spent on orchestration, "
        f"{len(summary.reused_steps)} finished steps reused"
    )


def _set_aside(summary: Summary) -> str:
    errors = summary.counts.get("errors", 0)
    if not errors:
        return "every input was used"
    return f"{errors} input{'s were' if errors > 1 else ' was'} set aside; meta/errors.parquet of the dataset says why"


def _is_worth_reading(record: logging.LogRecord) -> bool:
    if record.name.startswith(("prefect.flow_runs", "prefect.task_runs")):
        return False
    return not record.name.startswith("prefect") or record.levelno >= logging.ERROR
