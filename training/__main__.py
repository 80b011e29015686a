"""Train parts of a run: `python -m training RUN_DIR PART...`, in a process of its own."""

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from typing import get_args

from story_model.config import Settings, read_config
from story_model.workspace import Part, RunFolder
from training.steps import Interrupted, started_by_torchrun, train_parts


def main() -> None:
    """Read the run's configuration and train the named parts in order."""
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train parts of a run, or find them trained."
    )
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("parts", nargs="+", choices=get_args(Part), metavar="PART", help=", ".join(get_args(Part)))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)  # deprecations inside libraries are not the user's
    folder = RunFolder(arguments.run_dir.resolve())
    try:
        config = read_config(folder.config_path)
        train_parts(arguments.parts, folder, config, Settings())
    except Interrupted as stop:
        sys.stderr.write(f"training: {stop}\n")
        _leave(128 + signal.SIGTERM)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"training: {error}")
    except OSError as error:  # a full disk, above all: the last checkpoint stays
        sys.exit(f"training: {error}; free some space and run the same command again")
    _leave(0)


def _leave(code: int) -> None:
    """End this process; one of several, without the interpreter's own end, in which DeepSpeed's threads may abort."""
    if started_by_torchrun():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
