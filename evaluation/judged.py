"""A run before its judges: which of its systems they are shown, whether they are there, what it would cost."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from evaluation.judging.anchors import frozen_anchors
from evaluation.judging.panel import Panel, open_panel
from evaluation.judging.plan import plan, plan_lines
from evaluation.judging.report import Hearing, JudgeReport, Round, hear, plan_hearing
from evaluation.material import System, Systems, headline_of, read_systems
from evaluation.report import round_of
from story_model.config import RunConfig, Settings
from story_model.dataset import read_stories
from story_model.pixels import detokenizer_square
from story_model.workspace import RunFolder

log = logging.getLogger(__name__)

_RIVALS = frozenset({"baseline", "external"})


def judged_systems(config: RunConfig, systems: Systems) -> dict[str, System]:
    """Choose the systems that judges are shown: the headline policy in each mode, and what is told by other means."""
    policy = config.evaluate.headline_policy
    return {name: system for name, system in systems.items() if system.policy == policy or system.kind in _RIVALS}


def call_judges(run: RunFolder, config: RunConfig, settings: Settings, systems: Systems) -> tuple[Panel | str, Hearing]:
    """Open the judges and see that they are there, before an hour of measuring or a cent is spent.

    Returns:
        The judges, or why there are none; and what they are to be asked.

    Raises:
        ValueError: a judge is configured and cannot be asked.
    """
    panel = open_panel(config.evaluate.judge, settings, run.judge_dir)
    if isinstance(panel, str):
        log.info("the judge is skipped: %s", panel)
        return panel, Hearing((), ())
    hearing = _hearing(run, config, systems)
    panel.preflight(hearing.questions)
    return panel, hearing


def judge(panel: Panel | str, hearing: Hearing, config: RunConfig, systems: Systems) -> JudgeReport:
    """Have the judges answer, where there are any."""
    if isinstance(panel, str):
        return JudgeReport(skipped=panel)
    draws, headline = config.evaluate.bootstrap, headline_of(config, systems)
    return hear(panel, hearing, headline, config.evaluate.judge, resamples=draws, seed=config.seed)


def dry_run(run: RunFolder, config: RunConfig, settings: Settings) -> list[str]:
    """Say what the judges would be asked and what that would cost, asking nobody.

    Raises:
        ValueError: the stories are not told, or no judge is configured.
    """
    panel = open_panel(config.evaluate.judge, settings, run.judge_dir, offline=True)
    if isinstance(panel, str):
        raise ValueError(f"there is no judge to ask: {panel}")
    hearing = _hearing(run, config, read_systems(run, config))
    return plan_lines(plan(panel, hearing.questions), budget_usd=config.evaluate.judge.budget_usd)


def _hearing(run: RunFolder, config: RunConfig, systems: Mapping[str, System]) -> Hearing:
    return plan_hearing(
        {name: system.tellings for name, system in judged_systems(config, systems).items()},
        headline_of(config, systems),
        config.evaluate.judge,
        this_round=_this_round(run, config),
        square=detokenizer_square(config.model.detokenizer),
        seed=config.seed,
    )


def _this_round(run: RunFolder, config: RunConfig) -> Round | None:
    """Open the anchors of the workspace: all its runs show their judges the same."""
    judge, folder = config.evaluate.judge, run.anchors_dir
    if not judge.anchors:
        return None
    stories = read_stories(run.dataset_dir, "validation")
    anchors = frozen_anchors(folder, stories, number=judge.anchors, segments=judge.segments, seed=config.seed)
    return Round(anchors, folder, round_of(datetime.now(UTC).date()))
