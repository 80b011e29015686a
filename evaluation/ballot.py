"""People's own judgement: make a ballot of a run, and read it back.

`python -m evaluation.ballot make RUN_DIR OUT.html` writes a page to hand to people; `python -m evaluation.ballot read
RUN_DIR answers.json ...` sums up the files that they send back, beside the run, for the next report to show.
"""

import argparse
import logging
import secrets
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from evaluation.external import read_external
from evaluation.judging.questions import DIMENSIONS, REFERENCE, Judgement
from evaluation.material import dataset_itself
from evaluation.people.answers import HumanAnswer, read_answers
from evaluation.people.preferences import HumanReport, sum_up
from evaluation.pictures import Telling, read_tellings
from evaluation.showing.ballot_page import BallotKey, Stories, draw_ballot, render_ballot
from evaluation.systems import CAPTIONS_ALONE, systems_of
from story_model.config import RunConfig, read_config
from story_model.dataset import read_stories
from story_model.manifest import write_atomically
from story_model.pixels import detokenizer_square
from story_model.strict_json import read_json
from story_model.workspace import RunFolder

log = logging.getLogger(__name__)

_MODES = ("captions_given", "free")
_STORIES = 6
_SEGMENTS = 6
_ANSWERS = pa.schema(
    [(name, pa.string()) for name in ("ballot", "rater", "story_id", "dimension", "left", "right", "choice", "comment")]
    + [("winner", pa.string()), ("saved_at", pa.timestamp("us", tz="UTC"))]
)
"""One row an answer; `winner` is empty in a tie."""


class _Keys(BaseModel):
    """`ballot_key.json`: what the words of every ballot of the run stand for. Not to be handed to raters."""

    model_config = ConfigDict(extra="forbid")

    ballots: dict[str, BallotKey] = {}


def make_ballot(
    run: RunFolder,
    config: RunConfig,
    out: Path,
    *,
    systems: Sequence[str] = (),
    stories: int = _STORIES,
    segments: int = _SEGMENTS,
    seed: int | None = None,
) -> BallotKey:
    """Write a ballot's page, and its key into the run's folder beside those of earlier ballots.

    Without `systems`, the headline policy is set against the baseline, or where there is none against the window's (or
    the next that was told), in the first mode. Stories that do not differ as far as shown are left out.
    Without a seed, orders are drawn afresh: with a known one, who knows this program could tell left from right.

    Raises:
        ValueError: a system was not told, two have no story in common that differs, or the page would lie within the
            run's folder.
    """
    if out.resolve().is_relative_to(run.root.resolve()):
        raise ValueError(f"{out} lies in the run's folder, beside the key; write the page for raters elsewhere")
    square = detokenizer_square(config.model.detokenizer)
    shown = _stories(run, config, systems or _default_systems(config))
    key = draw_ballot(shown, number=stories, segments=segments, seed=secrets.randbits(63) if seed is None else seed)
    keys = _read_keys(run)
    word = secrets.token_hex(8)
    page = render_ballot(word, key, shown, segments=segments, square=square)
    kept = _Keys(ballots={**keys.ballots, word: key})
    write_atomically(run.ballot_key_path, kept.model_dump_json(indent=1).encode())
    write_atomically(out, page.encode())
    return key


def read_ballots(run: RunFolder, config: RunConfig, paths: Sequence[Path]) -> HumanReport:
    """Sum up raters' files; write `human.json` and `human.parquet` into the run's folder.

    Raises:
        ValueError: the run has no ballot, or a file is none of its answers.
    """
    ballots = _read_keys(run).ballots
    if not ballots:
        raise ValueError(f"{run.root} has no ballot; make one first: python -m evaluation.ballot make")
    answers, problems = read_answers(paths, ballots)
    report = sum_up(
        answers,
        {word: len(key.pairs) * len(DIMENSIONS) for word, key in ballots.items()},
        problems,
        read_judgements(run),
        resamples=config.evaluate.bootstrap,
        seed=config.seed,
    )
    table = pa.Table.from_pylist([_row(answer) for answer in answers], schema=_ANSWERS)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_atomically(run.root / "human.parquet", sink.getvalue().to_pybytes())
    write_atomically(run.human_path, report.model_dump_json(indent=1).encode())
    return report


def read_judgements(run: RunFolder) -> list[Judgement]:
    """Read what the judge was asked about this run, row by row; empty where it was not asked."""
    path = run.evaluation_dir / "judgements.parquet"
    if not path.is_file():
        return []
    names = Judgement.model_fields.keys()
    return [
        Judgement.model_validate({name: value for name, value in row.items() if name in names and value is not None})
        for row in pq.read_table(path).to_pylist()
    ]


def _stories(run: RunFolder, config: RunConfig, names: Sequence[str]) -> Stories:
    told = _told(run, config, names)
    unknown = [name for name in names if name not in told and name != REFERENCE]
    if unknown or len(set(names)) < 2:
        raise ValueError(
            f"a ballot needs two different systems or more of {', '.join([*told, REFERENCE])}, not {', '.join(names)}"
        )
    found = {name: told[name]() for name in dict.fromkeys(names) if name != REFERENCE}
    if REFERENCE in names:
        found[REFERENCE] = dataset_itself(next(iter(found.values()))).tellings
    return {name: {one.story_id: one for one in tellings} for name, tellings in found.items()}


def _told(run: RunFolder, config: RunConfig, names: Sequence[str]) -> dict[str, Callable[[], Sequence[Telling]]]:
    """Name the systems that can be read; other people's folders are opened only where a name is not one of ours."""
    square = detokenizer_square(config.model.detokenizer)
    validation = list(read_stories(run.dataset_dir, "validation"))
    found: dict[str, Callable[[], Sequence[Telling]]] = {
        f"{mode}-{policy}": partial(read_tellings, run.told_dir(mode, policy), validation, square)
        for mode, policy in systems_of(config)
    }
    if all(name in found or name == REFERENCE for name in names):
        return found
    for folder in config.evaluate.external:
        name, tellings, _ = read_external(Path(folder), validation, square)
        found[name] = partial(tuple, tellings)
    return found


def _default_systems(config: RunConfig) -> list[str]:
    mode = next(mode for mode in _MODES if mode in config.tell.modes)
    ours = config.evaluate.headline_policy
    others: list[str] = sorted((one for one in config.tell.policies if one != ours), key=lambda one: one != "window")
    if config.train.baseline is not None:  # caches tell alike until the shortest of them forgets
        others.insert(0, CAPTIONS_ALONE)
    return [f"{mode}-{policy}" for policy in (ours, *others[:1])]


def _row(answer: HumanAnswer) -> dict[str, object]:
    return answer.model_dump() | {"winner": answer.winner}


def _read_keys(run: RunFolder) -> _Keys:
    path = run.ballot_key_path
    if not path.is_file():
        return _Keys()
    try:
        return _Keys.model_validate(read_json(path.read_bytes()))
    except (ValueError, ValidationError) as error:
        raise ValueError(f"{path} is damaged ({error}); without it no ballot of this run can be read back") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.ballot", description="Ask people which story is better."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="write a page on which people compare stories two by two")
    make.add_argument("run_dir", type=Path, help="folder of the run (workspace/<run>)")
    make.add_argument("out", type=Path, help="the page, to be handed to raters")
    make.add_argument("--stories", type=int, default=_STORIES, help="stories of each pair of systems (%(default)s)")
    make.add_argument("--segments", type=int, default=_SEGMENTS, help="segments after the opening (%(default)s)")
    make.add_argument("--systems", nargs="+", default=[], help="<mode>-<policy> each, another system, 'dataset'")
    make.add_argument("--seed", type=int, help="of orders and sides; drawn afresh unless given")
    read = commands.add_parser("read", help="sum up the files that raters saved")
    read.add_argument("run_dir", type=Path)
    read.add_argument("answers", type=Path, nargs="+", help="one file or more, of one rater or many")
    return parser


def main() -> None:
    """Make a ballot, or read it back."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asked = _parser().parse_args()
    run = RunFolder(asked.run_dir.resolve())
    try:
        if not run.config_path.is_file():
            raise ValueError(f"{run.root} holds no config.yaml; is it a run's folder?")
        config = read_config(run.config_path)
        if asked.command == "make":
            _make(run, config, asked)
        else:
            _read(run, config, asked.answers)
    except (ValueError, OSError) as error:
        sys.exit(f"ballot: {error}")


def _make(run: RunFolder, config: RunConfig, asked: argparse.Namespace) -> None:
    if asked.stories < 1 or asked.segments < 1:
        raise ValueError("--stories and --segments are 1 or more")
    key = make_ballot(
        run,
        config,
        asked.out,
        systems=asked.systems,
        stories=asked.stories,
        segments=asked.segments,
        seed=asked.seed,
    )
    log.info("%s: %d pairs, %.1f MB; hand it to raters", asked.out, len(key.pairs), asked.out.stat().st_size / 1e6)
    log.info("%s: who told what; keep it from them", run.ballot_key_path)


def _read(run: RunFolder, config: RunConfig, paths: Sequence[Path]) -> None:
    report = read_ballots(run, config, paths)
    for rater in report.raters:
        log.info("%s answered %d of %d questions", rater.name, rater.answered, rater.asked)
    for reason, count in report.problems.items():
        if count:
            log.info("%s: %d answers", reason, count)
    for one in report.preferences:
        log.info(
            "%s: %s against %s: %d better, %d worse, %d the same; p %.2g after Holm over %d stories",
            one.dimension, one.first, one.second, one.wins, one.losses, one.ties, one.p_holm, one.stories,
        )  # fmt: skip
    log.info("%s: the next report shows it", run.human_path)


if __name__ == "__main__":
    main()
