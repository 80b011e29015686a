"""The three flows in a row, and the command behind `make demo`: `python -m flows.end_to_end`."""

import argparse
import logging
import signal
import sys

from prefect import flow
from prefect.client.schemas.objects import State

from flows.build_dataset import build_dataset
from flows.evaluate import evaluate_stories
from flows.train_all import train_all
from story_model.config import PROJECT_DIR, preset_names
from tasks import artifacts, console, evaluate
from tasks.measure import measured
from tasks.process import ProcessFailed
from tasks.run import open_run
from tasks.server import prefect_api
from tasks.summary import finished_steps, summarise

log = logging.getLogger(__name__)


@flow(name="end-to-end", flow_run_name="end-to-end {run}")
def end_to_end(
    run: str = "demo", preset: str = "tiny", overrides: tuple[str, ...] = (), videos: str | None = None
) -> str | State[str]:
    """Go from videos to judged stories, write `summary.json` and hand out its path.

    Args:
        run: Name of the run; its folder lies in the workspace.
        preset: Configuration to start from.
        overrides: Changes to it, `section.key=value` each.
        videos: Folder of videos; none: a series is drawn.
    """
    folder, _ = open_run(run, preset, overrides)
    finished_before = finished_steps(folder)
    with measured() as measurement:
        build_dataset(run, preset, overrides, videos)
        train_all(run)
        verdict = evaluate_stories(run, return_state=True)
        if verdict.name != evaluate.REGRESSED:
            verdict.result()  # raises what went wrong
        summarise(folder, measurement, finished_before)
    return evaluate.regressed(verdict.message) if verdict.name == evaluate.REGRESSED else str(folder.summary_path)


def main(arguments: list[str] | None = None) -> int:
    """Run the flow from the command line, with a Prefect server of its own where none is kept."""
    args = _parser().parse_args(arguments)
    console.speak()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        folder, _ = open_run(args.run, args.preset, args.overrides)
        with prefect_api(PROJECT_DIR / ".prefect") as own_server:
            artifacts.open_tracking(folder)  # while the server starts
            if own_server:
                own_server.wait()
            end_to_end(args.run, args.preset, tuple(args.overrides), args.videos)
    except (ValueError, ProcessFailed) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except evaluate.Regressed as worse:
        sys.stdout.write(console.closing_words(folder))
        sys.stderr.write(f"regressed: {worse}\n")
        return 3
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command goes on from here\n")
        return 130
    sys.stdout.write(console.closing_words(folder))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flows.end_to_end", description="From videos to judged stories.")
    parser.add_argument("--run", default="demo", help="name of the run's folder in the workspace (default: demo)")
    parser.add_argument("--videos", help="folder of videos; without it a series is drawn")
    parser.add_argument("--preset", default="tiny", help=f"one of: {', '.join(preset_names())} (default: tiny)")
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="change the configuration: section.key=value",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
