"""`python -m storystream_builder import-storystream IMAGES STORIES OUT_DATASET`."""

import argparse
import re
from pathlib import Path


def add_import_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command; `run` does it and says what came of it, importing only then."""
    parser = commands.add_parser("import-storystream", help="the published StoryStream -> OUT_DATASET")
    parser.add_argument("images", type=Path, help="tar.gz of pictures, or a folder of them")
    parser.add_argument("stories", type=Path, help="zip of JSONL files, a folder of them, or one of them")
    parser.add_argument("out_dataset", type=Path)
    parser.add_argument("--subset", help="its name; by default that of IMAGES")
    for name, text in (
        ("license", "such as cc-by-4.0; by default unknown"),
        ("attribution", "whom to credit"),
        ("series", "what the pictures are of"),
        ("url", "where it was published"),
    ):
        parser.add_argument(f"--{name}", help=text)
    parser.add_argument("--broken", choices=("cut", "drop"), help="cut stories where they break, or leave them out")
    parser.add_argument("--shortest-part", type=int, help="pairs of the shortest part of a cut story that is kept")
    parser.add_argument("--leaks", choices=("drop", "keep"), help="train stories of episodes that validation has too")
    parser.set_defaults(run=_import)


def _import(args: argparse.Namespace) -> str:
    from storystream_builder.importers.release_config import ReleaseConfig
    from storystream_builder.importers.storystream_release import import_release

    said = {name: value for name in ReleaseConfig.model_fields if (value := getattr(args, name, None)) is not None}
    config = ReleaseConfig.model_validate({"subset": _subset(args.images)} | said)
    manifest = import_release(args.images, args.stories, args.out_dataset, config=config)
    done = "already there" if manifest.reused else f"imported in {manifest.seconds:.1f} s"
    return "\n".join(
        [f"{args.out_dataset}: {done}", *(f"{number:9d}  {name}" for name, number in manifest.counts.items())]
    )


def _subset(images: Path) -> str:
    return re.sub(r"[^a-z0-9_]+", "_", images.name.lower().partition(".")[0]).strip("_") or "stories"
