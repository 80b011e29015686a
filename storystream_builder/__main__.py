"""The builder by hand: `python -m storystream_builder build RUN_DIR VIDEOS`, `verify DATASET`, `stats DATASET`."""

import argparse
import logging
import sys
from pathlib import Path

from story_model.config import Settings, load_config, preset_names, save_config
from story_model.workspace import RunFolder
from storystream_builder.build import build_dataset
from storystream_builder.catalog import Catalog
from storystream_builder.verify import verify_dataset


def main() -> int:
    """Read the command line and do what it says; 1 means that something is wrong with the input or the dataset."""
    parser = argparse.ArgumentParser(prog="python -m storystream_builder", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="videos -> RUN_DIR/dataset")
    build.add_argument("run_dir", type=Path)
    build.add_argument("videos", type=Path, help="a folder of videos, or one video")
    build.add_argument("overrides", nargs="*", metavar="section.key=value", help="such as build.stories.length=20")
    build.add_argument("--preset", default="tiny", choices=preset_names())
    for name, text in (("verify", "check every byte and every story"), ("stats", "count what is in it")):
        commands.add_parser(name, help=text).add_argument("dataset_dir", type=Path)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        return {"build": _build, "verify": _verify, "stats": _stats}[args.command](args)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _build(args: argparse.Namespace) -> int:
    config = load_config(args.preset, args.overrides)
    folder = RunFolder(args.run_dir.resolve())
    save_config(config, folder.config_path)
    manifest = build_dataset(args.videos, folder, config=config.build, settings=Settings())
    print(f"{folder.dataset_dir}: {'already there' if manifest.reused else f'written in {manifest.seconds:.1f} s'}")
    for name, number in manifest.counts.items():
        print(f"{number:9d}  {name}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    findings = verify_dataset(args.dataset_dir)
    for finding in findings:
        print(f"{finding.file}: {finding.what}")
    print(f"{len(findings)} findings" if findings else "sound: every byte, every story, splits apart")
    return 1 if findings else 0


def _stats(args: argparse.Namespace) -> int:
    with Catalog(args.dataset_dir) as catalog:
        statistics, shared = catalog.statistics(), catalog.shared_pictures()
    for one in statistics.subsets:
        print(
            f"{one.subset}/{one.split}: {one.stories} stories, {one.pairs} pairs, {one.episodes} episodes, "
            f"{one.mean_caption_words:.1f} words a caption"
        )
    for title, counts in (("frames", statistics.frames_by_status), ("captions", statistics.captions_by_status)):
        print(title)
        for status, number in counts.items():
            print(f"{number:9d}  {status}")
    print(f"{shared} pictures are in more than one split")
    for file, step, reason in statistics.problems:
        print(f"{step}: {file}: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
