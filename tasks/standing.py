"""What the page of an evaluate run shows: headline numbers with intervals, the report, where the run stands."""

import time
from collections.abc import Mapping

from mlflow.exceptions import MlflowException
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from story_model.manifest import read_manifest
from story_model.verdict import ChampionOutcome, Change
from story_model.workspace import RunFolder
from tasks.artifacts import link_back, run_address

_ENDS = ("_ci_low", "_ci_high", "_n")
_HEADS = {
    "crowned": "Champion",
    "improved": "Improved: the new champion",
    "regressed": "Regressed",
    "undecided": "No significant difference",
    "champion": "Champion",
    "superseded": "Older than the champion",
    "incomparable": "The champion cannot be compared with",
}


def show_evaluation(folder: RunFolder, *, unchanged_since: float | None) -> None:
    """Show the headline numbers as a table and lead to the report; say so where nothing was computed.

    `unchanged_since`: when the evaluation was finished (seconds since 1970), where this run of the flow found it done.
    """
    manifest = read_manifest(folder.evaluation_dir)
    assert manifest is not None, "the step that just ended puts it there"
    note = ""
    if unchanged_since is not None:
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unchanged_since))
        note = f" Nothing changed since {when}: the same stories and judges; nothing was computed or paid for."
    rows = number_rows(manifest.metrics)
    create_table_artifact(table=rows, key="evaluation", description=f"Run {folder.name}.{note}")
    address = _address(manifest.tracking_run_id, "report.html")
    link = f"[The report in MLflow]({address})" if address else "MLflow does not hold the report."
    text = f"{link}\n\nOn the machine that ran it: `{folder.report_path}`\n{note}"
    create_markdown_artifact(text, key="report", description=f"Report of run {folder.name}")


def show_standing(folder: RunFolder, outcome: ChampionOutcome) -> None:
    """Show where the run stands: what changed, by how much, how sure it is, and the page of the comparison."""
    lines = [f"## {_HEADS[outcome.standing]}", "", _plain(outcome.message), ""]
    if outcome.changes:
        lines += ["| measure | before | after | difference | p (Holm) | |", "|---|---|---|---|---|---|"]
        lines += [_line(change) for change in outcome.changes] + [""]
    address = _address(outcome.tracking_run_id, "comparison.html")
    if address:
        lines += [f"[Both runs side by side, in MLflow]({address})", ""]
    if outcome.page:
        lines += [f"On the machine that ran it: `{folder.root / outcome.page}`", ""]
    champion = f"version {outcome.champion}" if outcome.champion is not None else "none"
    lines.append(f"`{outcome.model}` in MLflow's registry: this run is version {outcome.version}, champion {champion}.")
    create_markdown_artifact("\n".join(lines), key="standing", description=f"Run {folder.name}: {outcome.standing}")


def number_rows(metrics: Mapping[str, float]) -> list[dict[str, object]]:
    """Set up the headline's numbers, each with its interval and the items behind it; other systems' are left out."""
    own = {name: value for name, value in metrics.items() if "/" not in name}
    heads = [name for name in own if not any(name.endswith(end) and name.removesuffix(end) in own for end in _ENDS)]
    return [
        {
            "what": name.replace("_", " "),
            "value": _rounded(own[name]),
            "low": _rounded(own.get(f"{name}_ci_low")),
            "high": _rounded(own.get(f"{name}_ci_high")),
            "n": _rounded(own.get(f"{name}_n")),
        }
        for name in heads
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}") if abs(value) < 1e4 else round(value)


def _line(change: Change) -> str:
    spread = "" if change.low is None or change.high is None else f" ({change.low:+.3g} to {change.high:+.3g})"
    cells = (
        f"{change.name} ({change.better} is better)",
        "" if change.before is None else f"{change.before:.4g}",
        "" if change.after is None else f"{change.after:.4g}",
        "" if change.difference is None else f"{change.difference:+.3g}{spread}",
        "" if change.p_adjusted is None else f"{change.p_adjusted:.2g}",
        change.finding,
    )
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    """Keep a name that came from elsewhere from being read as Markdown or HTML."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in text)


def _address(tracking_run_id: str | None, artifact: str) -> str | None:
    """Give the address of a file in MLflow's artifact viewer, which leads back; none where MLflow has no such run."""
    if tracking_run_id is None:
        return None
    try:
        link_back(tracking_run_id)
        return f"{run_address(tracking_run_id)}/artifacts/{artifact}"
    except MlflowException:
        return None
