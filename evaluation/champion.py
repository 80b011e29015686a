"""Hold an evaluated run against the best one so far: `python -m evaluation.champion RUN_DIR [--against RUN]`.

MLflow's registry names the champion. It changes where a newer run is significantly better and in nothing worse
(`comparing/ruling.py`), where there is none yet, and where the user says so; never in silence. A run that is worse
raises an alarm: a tag in MLflow, a line in the log, and exit code 3, so that a scheduler can tell it from an error (1).
The outcome lies in `standing.json`.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mlflow.exceptions import MlflowException

from evaluation.compare import compare, read_comparison
from evaluation.comparing.registry import FOLDER, REGRESSION, RUN, STATE, VERDICT, Registry, state_of
from evaluation.comparing.sides import Evaluated, open_evaluated
from story_model.config import Settings
from story_model.manifest import write_atomically
from story_model.tracking import parent_run
from story_model.verdict import ChampionOutcome, Standing, read_standing
from story_model.workspace import run_folder

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)

REGRESSED = 3
"""Exit code of a run that is worse than what it was held against."""


def hold_against_champion(
    root: Path, settings: Settings, *, against: str | None = None, make_champion: bool = False
) -> ChampionOutcome:
    """Register an evaluated run, compare it with the champion and move the alias where the rule says so.

    Args:
        root: the run's folder.
        settings: where MLflow and the workspace are.
        against: a run's folder, or its name in the workspace, to be compared with instead of the champion.
        make_champion: name the run champion without a comparison.

    Raises:
        ValueError: the run is not evaluated, or what `against` names cannot be compared with it.
    """
    candidate, registry = open_evaluated(root), Registry(settings)
    with parent_run(candidate.run, settings=settings) as tracker:
        own = registry.register(candidate, page=tracker.run_id)
    registry.point("candidate", own)
    against = against or candidate.config.evaluate.champion.run
    champion = registry.pointed("champion")
    if make_champion:
        outcome = _crown(registry, own, champion, candidate, "the user said so")
    elif against is not None:
        outcome = _against(registry, own, champion, candidate, _open_named(against, settings), settings)
    elif champion is None:
        outcome = _crown(registry, own, champion, candidate, "there was none")
    elif int(champion.version) >= int(own.version):
        outcome = _no_rival(registry, own, champion, candidate)
    else:
        outcome = _against_champion(registry, own, champion, candidate, settings)
    _tell(registry, own, candidate, outcome, settings)
    return outcome


def _against_champion(
    registry: Registry, own: "ModelVersion", champion: "ModelVersion", candidate: Evaluated, settings: Settings
) -> ChampionOutcome:
    name = f"the champion, version {champion.version} ({champion.tags.get(RUN)})"
    try:
        rival = _open_champion(champion)
    except ValueError as error:
        message = (
            f"{name} stays, but cannot be compared with: {error}. To name this run champion: "
            f"python -m evaluation.champion {candidate.run.root} --make-champion"
        )
        return _outcome(registry, own, champion, candidate, "incomparable", message)
    return _against(registry, own, champion, candidate, rival, settings)


def _against(
    registry: Registry,
    own: "ModelVersion",
    champion: "ModelVersion | None",
    candidate: Evaluated,
    rival: Evaluated,
    settings: Settings,
) -> ChampionOutcome:
    from evaluation.comparing.ruling import change_of

    manifest = compare(rival, candidate, settings)
    out_dir = candidate.run.comparison_dir(rival.run.name)
    found = read_comparison(out_dir)
    is_champion = champion is None or _folder_of(champion) == rival.run.root
    if found.verdict == "improved" and is_champion:
        registry.point("champion", own)
        champion = own
    message = f"{candidate.run.name} beside {rival.run.name}: {found.verdict}: {found.reason}"
    outcome = _outcome(registry, own, champion, candidate, found.verdict, message)
    return outcome.model_copy(
        update={
            "against": rival.run.name,
            "changes": [change_of(row) for row in found.rows if row.primary],
            "page": (out_dir / "comparison.html").relative_to(candidate.run.root).as_posix(),
            "tracking_run_id": manifest.tracking_run_id,
        }
    )


def _crown(
    registry: Registry, own: "ModelVersion", before: "ModelVersion | None", candidate: Evaluated, why: str
) -> ChampionOutcome:
    registry.point("champion", own)
    was = f"; it was version {before.version}" if before is not None and before.version != own.version else ""
    message = f"{candidate.run.name}, version {own.version}, is the champion: {why}{was}"
    return _outcome(registry, own, own, candidate, "crowned", message)


def _no_rival(
    registry: Registry, own: "ModelVersion", champion: "ModelVersion", candidate: Evaluated
) -> ChampionOutcome:
    """Tell of a run that is the champion, or of one that came before it: neither is a candidate."""
    name = f"{candidate.run.name}, version {own.version},"
    if champion.version == own.version:
        known = read_standing(candidate.run.standing_path)
        if known is not None and known.version == known.champion == int(own.version):
            return known  # how it became champion
        return _outcome(registry, own, champion, candidate, "champion", f"{name} is the champion itself")
    message = f"{name} is older than the champion, version {champion.version} ({champion.tags.get(RUN)})"
    return _outcome(registry, own, champion, candidate, "superseded", message)


def _outcome(
    registry: Registry,
    own: "ModelVersion",
    champion: "ModelVersion | None",
    candidate: Evaluated,
    standing: Standing,
    message: str,
) -> ChampionOutcome:
    return ChampionOutcome(
        run=candidate.run.name,
        model=registry.name,
        version=int(own.version),
        champion=int(champion.version) if champion is not None else None,
        against=None,
        standing=standing,
        message=" ".join(message.split()),
    )


def _tell(
    registry: Registry, own: "ModelVersion", candidate: Evaluated, outcome: ChampionOutcome, settings: Settings
) -> None:
    """Write the outcome to the run's folder, the version and the MLflow run; an alarm that is over is taken away."""
    regression = outcome.message if outcome.standing == "regressed" else None
    registry.tag(own, {VERDICT: outcome.standing, REGRESSION: regression})
    with parent_run(candidate.run, settings=settings) as tracker:
        known = tracker.client.get_run(tracker.run_id).data.tags
        if regression is not None:
            tracker.tags({REGRESSION: regression})
        elif REGRESSION in known:
            tracker.client.delete_tag(tracker.run_id, REGRESSION)
    data = outcome.model_dump_json(indent=1).encode()
    path = candidate.run.standing_path
    if not path.is_file() or path.read_bytes() != data:
        write_atomically(path, data)
    if regression is not None:
        log.warning("REGRESSION: %s", outcome.message)
    else:
        log.info("%s", outcome.message)


def _open_champion(version: "ModelVersion") -> Evaluated:
    """Open the run that a version points to.

    Raises:
        ValueError: it is gone, incomplete, or no longer what was registered.
    """
    folder = _folder_of(version)
    if folder is None or not folder.is_dir():
        raise ValueError(f"its folder {version.tags.get(FOLDER)} is not on this machine")
    one = open_evaluated(folder)
    if state_of(one) != version.tags.get(STATE):
        raise ValueError(
            f"{folder} holds other weights or stories by now (train new runs under a name of their own to keep it)"
        )
    return one


def _folder_of(version: "ModelVersion") -> Path | None:
    parts = urlsplit(version.tags.get(FOLDER) or "")
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _open_named(run: str, settings: Settings) -> Evaluated:
    if Path(run).name == run and (settings.workspace / run).is_dir():
        return open_evaluated(run_folder(settings.workspace, run).root)
    if not Path(run).is_dir():
        raise ValueError(f"there is no run {run!r} in {settings.workspace}, and no folder of that name")
    return open_evaluated(Path(run))


def main() -> int:
    """Hold the run whose folder is the argument against the champion."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.champion",
        description="Hold an evaluated run against the best one so far.",
        epilog=f"Exit code {REGRESSED}: the run is significantly worse. 1: it could not be compared.",
    )
    parser.add_argument("run_dir", type=Path, help="folder of the run (workspace/<run>)")
    parser.add_argument("--against", help="another run to compare with: its folder, or its name in the workspace")
    parser.add_argument("--make-champion", action="store_true", help="name the run champion without a comparison")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        outcome = hold_against_champion(
            args.run_dir, Settings(), against=args.against, make_champion=args.make_champion
        )
    except ValueError as error:
        sys.exit(f"champion: {error}")
    except MlflowException as error:
        sys.exit(f"champion: MLflow at {Settings().tracking_uri.rpartition('@')[2]} refused: {error}")
    except OSError as error:  # a full disk, above all: what is finished stays
        sys.exit(f"champion: {error}; free some space and run the same command again")
    return REGRESSED if outcome.standing == "regressed" else 0


if __name__ == "__main__":
    sys.exit(main())
