"""What MLflow is told of an evaluation: numbers with intervals, tables, pictures, the page, the dataset, some answers.

Nothing here is handed settings, so no key can get there.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, InputTag
from pydantic import BaseModel

from evaluation.judging.questions import Judgement
from evaluation.traced import Texts, trace_judgements
from story_model.config import RunConfig
from story_model.manifest import digest_of
from story_model.tracking import Tracker
from story_model.workspace import RunFolder

FILES = (
    "report.html",
    "scores.json",
    "items.parquet",
    "values.parquet",
    "judgements.parquet",
    "contact_sheet.png",
    "curves.png",
)
"""Of the evaluation's folder; those that are there become artifacts."""
_MAX_ROWS = 20_000
"""Of a table that MLflow shows; all rows are in the Parquet files beside it."""

Row = Mapping[str, object]


def track_dataset(tracker: Tracker, run: RunFolder, config: RunConfig) -> None:
    """Say which dataset was evaluated on, and by which settings."""
    digest = digest_of(run.dataset_dir)
    tracker.params({"evaluate": config.evaluate.model_dump(mode="json"), "seed": config.seed})
    tracker.tags({"storystream.dataset_digest": digest})
    source = json.dumps({"uri": run.dataset_dir.as_uri()})
    dataset = Dataset(name=config.build.subset, digest=digest[:16], source_type="local", source=source)
    tracker.client.log_inputs(tracker.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "eval")])])


def track_tables(tracker: Tracker, tables: Mapping[str, Sequence[Row]]) -> None:
    """Log tables that MLflow's evaluation view shows, by name, and compares between runs; empty ones are left out."""
    for name, rows in tables.items():
        if rows:
            shown = rows[:_MAX_ROWS]
            columns = {column: [_cell(row.get(column)) for row in shown] for column in dict.fromkeys(_columns(shown))}
            tracker.client.log_table(tracker.run_id, columns, f"{name}.json")


def track_files(tracker: Tracker, out_dir: Path) -> None:
    """Copy the evaluation's files that are there."""
    for name in FILES:
        if (out_dir / name).is_file():
            tracker.artifact(out_dir / name)


def track_judge(
    tracker: Tracker, judgements: Sequence[Judgement], *, networks: Mapping[str, str], texts: Texts | None = None
) -> None:
    """Tag what was measured with (network -> digest), and log a sample of the questions to the judge as traces."""
    tracker.tags({f"storystream.network.{name}": digest for name, digest in networks.items()})
    trace_judgements(tracker, judgements, texts=texts)


def rows_of(models: Sequence[BaseModel]) -> list[dict[str, object]]:
    """Lay models out as rows, nested fields under dotted names."""
    return [_flat(model.model_dump(mode="json")) for model in models]


def _flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def _columns(rows: Sequence[Row]) -> list[str]:
    return [column for row in rows for column in row]


def _cell(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
