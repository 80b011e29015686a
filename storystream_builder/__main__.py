"""The builder by hand: `python -m storystream_builder build RUN_DIR VIDEOS`, `verify DATASET`, `stats DATASET`, ..."""

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from story_model.config import Settings, load_config, preset_names, save_config
from story_model.workspace import RunFolder
from storystream_builder.build import build_dataset
from storystream_builder.catalog import Catalog, dataset_in
from storystream_builder.exporters.export_command import add_export_command
from storystream_builder.importers.command import add_import_command
from storystream_builder.leakage import similar_pictures
from storystream_builder.verify import verify_dataset


def main() -> int:
    """Read the command line and do what it says; 1 means that something is wrong with the input or the dataset."""
    parser = argparse.ArgumentParser(prog="python -m storystream_builder", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="videos -> RUN_DIR/dataset")
    build.add_argument("run_dir", type=Path)
    build.add_argument("videos", help="a folder of videos or one video: a path, or a URL such as s3://bucket/videos")
    build.add_argument("overrides", nargs="*", metavar="section.key=value", help="such as build.stories.length=20")
    build.add_argument("--set", action="append", default=[], metavar="section.key=value", dest="more", help="likewise")
    build.add_argument("--preset", default="tiny", choices=preset_names())
    commands.add_parser("verify", help="check every byte and every story").add_argument("dataset_dir", type=Path)
    stats = commands.add_parser("stats", help="count what is in it")
    stats.add_argument("dataset_dir", type=Path)
    stats.add_argument("--json", action="store_true", help="for programs")
    diff = commands.add_parser("diff", help="what changed between two builds; exit 0: nothing, 1: something, 2: error")
    diff.add_argument("old", type=Path, help="a dataset's folder or its run's, like the other one")
    diff.add_argument("new", type=Path)
    diff.add_argument("--limit", type=int, default=20, help="cases of each kind that are told one by one")
    diff.add_argument("--json", action="store_true", help="for programs; nothing is left out")
    add_import_command(commands)
    add_export_command(commands)
    show = commands.add_parser("show", help="pages or a contact sheet to look through a dataset or a run")
    show.add_argument(
        "folder", type=Path, help="a dataset's folder, or a run's: this one has pictures of what was dropped"
    )
    show.add_argument("--out", type=Path, metavar="DIR", help="where pages go; usually FOLDER-pages")
    show.add_argument("--limit", type=int, help="episodes, rows of a sheet, or pictures of a preview; 0: all")
    show.add_argument(
        "--sheet", nargs=2, metavar=("KIND", "FILE"), help="draw episode, story or reason rows into a picture"
    )
    show.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="section.key=value",
        dest="overrides",
        help="preview what other limits would keep, from stored scores, such as build.filters.min_sharpness=40",
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        if "run" in args:
            print(args.run(args))
            return 0
        return {"build": _build, "verify": _verify, "stats": _stats, "diff": _diff, "show": _show}[args.command](args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if args.command == "diff" else 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _build(args: argparse.Namespace) -> int:
    config = load_config(args.preset, [*args.overrides, *args.more])
    if config.build.runner != "threads":
        raise ValueError(
            f"build.runner={config.build.runner} needs the flow: prefect deployment run build-dataset (or make demo)"
        )
    folder = RunFolder(args.run_dir.resolve())
    save_config(config, folder.config_path)
    manifest = build_dataset(args.videos, folder, config=config.build, settings=Settings())
    print(f"{folder.dataset_dir}: {'already there' if manifest.reused else f'written in {manifest.seconds:.1f} s'}")
    for name, number in manifest.counts.items():
        print(f"{number:9d}  {name}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    dataset_dir = dataset_in(args.dataset_dir)
    findings = verify_dataset(dataset_dir)
    for finding in findings:
        print(f"{finding.file}: {finding.what}")
    print(f"{len(findings)} findings" if findings else "sound: every byte, every story, splits apart")
    if findings:
        return 1
    with Catalog(dataset_dir) as catalog:
        alike = similar_pictures(catalog)
    if alike:
        print(
            f"note: {alike} pictures of validation look like one of training (build.filters.across_episodes_distance)"
        )
    return 0


def _stats(args: argparse.Namespace) -> int:
    from storystream_builder.showing.statistics import lines_of, read_statistics

    found = read_statistics(dataset_in(args.dataset_dir))
    for line in [json.dumps(asdict(found), indent=1)] if args.json else lines_of(found):
        print(line)
    return 0


def _diff(args: argparse.Namespace) -> int:
    from storystream_builder.showing.diff import compare
    from storystream_builder.showing.diff_text import lines_of

    found = compare(args.old, args.new)
    for line in [json.dumps(asdict(found), indent=1)] if args.json else lines_of(found, limit=args.limit):
        print(line)
    return 0 if found.is_empty else 1


def _show(args: argparse.Namespace) -> int:
    from storystream_builder.showing.show import show

    for line in show(args.folder, out=args.out, limit=args.limit, sheet=args.sheet, overrides=args.overrides):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
