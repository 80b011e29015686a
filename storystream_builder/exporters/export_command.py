"""`python -m storystream_builder export DATASET OUT --form storystream`."""

import argparse
from pathlib import Path


def add_export_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command; `run` does it and says what came of it, importing only then."""
    parser = commands.add_parser("export", help="a dataset -> the published StoryStream's form, or WebDataset shards")
    parser.add_argument("dataset_dir", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--form", choices=("storystream", "webdataset"), required=True)
    parser.add_argument(
        "--chunks", type=int, metavar="PAIRS", help="cut stories, such as in 10; by default they are whole"
    )
    parser.add_argument("--shard-mb", type=float, help="size that no WebDataset shard exceeds")
    parser.set_defaults(run=_export)


def _export(args: argparse.Namespace) -> str:
    from storystream_builder.catalog import dataset_in
    from storystream_builder.exporters.export import ExportConfig, export_dataset

    said = {name: value for name in ExportConfig.model_fields if (value := getattr(args, name)) is not None}
    manifest = export_dataset(dataset_in(args.dataset_dir), args.out, config=ExportConfig.model_validate(said))
    done = "already there" if manifest.reused else f"exported in {manifest.seconds:.1f} s"
    return "\n".join([f"{args.out}: {done}", *(f"{number:9d}  {name}" for name, number in manifest.counts.items())])
