"""Published weights: `python -m story_model.released check FOLDER | convert FOLDER RUN_DIR | export RUN_DIR FOLDER`."""

import argparse
import logging
import sys
from pathlib import Path
from typing import get_args

import torch

from story_model.config import load_config, preset_names, read_config
from story_model.released.check import Findings, check
from story_model.released.convert import convert
from story_model.released.export import export
from story_model.released.kinds import Kind, Variant
from story_model.workspace import RunFolder

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def main() -> int:
    """Read the command line and do what it says; 1 means that something is missing or wrong."""
    args = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        return _export(args) if args.command == "export" else _check_or_convert(args)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _export(args: argparse.Namespace) -> int:
    folder = RunFolder(args.run_dir.resolve())
    export(folder, read_config(folder.config_path), args.out_dir, pickled=args.pickle)
    print(f"{args.out_dir} holds the run in the published form")
    return 0


def _check_or_convert(args: argparse.Namespace) -> int:
    options: tuple[tuple[Kind, Path | None], ...] = (("MLLM", args.mllm), ("de-tokenizer", args.detokenizer))
    named = {kind: path for kind, path in options if path is not None}
    config = load_config(args.preset, args.overrides)
    findings = check(args.folder, config.model, named=named, variant=args.variant)
    if args.command == "check":
        return _tell(args, findings)
    folder = RunFolder(args.run_dir.resolve())
    made = convert(findings, folder, config, dtype=_DTYPES.get(args.dtype), merge=args.merge)
    for manifest in made:
        print(f"{'kept' if manifest.reused else f'{manifest.seconds:.0f} s':>8}  {manifest.step}: {manifest.counts}")
    print(f"{folder.root} holds the published model as a run; its weights are safetensors")
    return 0


def _tell(args: argparse.Namespace, findings: Findings) -> int:
    """Print what was found, the digests last to be computed."""
    width = max(len(row.path) for row in findings.rows)
    for row in findings.rows:
        print(f"{row.verdict:>8}  {row.what:<14}  {row.path:<{width}}  {row.note}")
        if args.digests and row.entry is not None and row.entry.problem is None:
            print(f"{'':>8}  {'':<14}  {'':<{width}}  sha256 {row.entry.digest()}")
    if not findings.is_complete:
        print(f"not complete: {findings.complaint}")
        return 1
    print(f"complete; next: python -m story_model.released convert {args.folder} workspace/released")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m story_model.released", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checked = commands.add_parser("check", help="what is there, what is missing, what each file is, its digest")
    converted = commands.add_parser("convert", help="into a run's folder, safetensors throughout")
    exported = commands.add_parser("export", help="a run in the published form, safetensors unless --pickle")
    exported.add_argument("run_dir", type=Path, help="the run's folder")
    exported.add_argument("out_dir", type=Path, help="the folder to be written")
    exported.add_argument("--pickle", action="store_true", help="files of torch.save, which the published code reads")
    for command in (checked, converted):
        command.add_argument("folder", type=Path, help="where the published files lie")
    converted.add_argument("run_dir", type=Path, help="the run's folder to be written")
    checked.add_argument("--no-digests", dest="digests", action="store_false", help="do not read the files through")
    converted.add_argument("--dtype", choices=_DTYPES, help="type to be written (default: as published)")
    converted.add_argument("--merge", action="store_true", help="fold LoRA into the language model")
    for command in (checked, converted):
        command.add_argument("--mllm", type=Path, help="the language model's file, where there are several")
        command.add_argument("--detokenizer", type=Path, help="the de-tokenizer's file, where there are several")
        command.add_argument("--variant", choices=get_args(Variant), help="whose de-tokenizer it is")
        command.add_argument("--preset", default="seed-story-7b", choices=preset_names(), help="the networks' sizes")
        command.add_argument(
            "--set", dest="overrides", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change them"
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
