"""Say what a training costs before anything is bought: `python -m training.plan PRESET --gpu h200 --gpus 8`."""

import argparse
import dataclasses
import json
import sys
import warnings
from collections.abc import Iterator, Sequence

from story_model.config import RunConfig, load_config, preset_names
from training.costs import Assumptions, OncePlan, Plan, TrainedPlan, plan
from training.flops import CAPTION_TOKENS, uses_published_weights
from training.footprint import USABLE
from training.hardware import GPUS, Gpu, gpu

UTILISATION = 0.4
"""Of the data sheet's peak: what good trainings of 7 billion parameters reach in bfloat16."""
PICTURE_KB = 80.0
"""Of a stored keyframe of 854 by 480."""
_PUBLISHED_PICTURES = 257_850
"""Of StoryStream."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan that the command line asks for; 1 means that something in it has to be mended."""
    args = _parser().parse_args(arguments)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # for who calls it, not for us
    try:
        config = load_config(args.preset, args.overrides)
        made = plan(config, _assumptions(args, config))
    except ValueError as error:
        sys.stderr.write(f"plan: {error}\n")
        return 1
    sys.stdout.write(json.dumps(as_json(made), indent=2) + "\n" if args.json else "\n".join(lines(made)) + "\n")
    return 0


def lines(made: Plan) -> Iterator[str]:
    """Write a plan out as tables for a terminal."""
    given = made.assumptions
    yield f"Plan of {made.preset} on {given.gpu.name}"
    yield _hardware_line(given.gpu, given.utilisation)
    yield (
        f"{given.pictures:,} pictures of {given.picture_kb:g} kB; captions of {given.caption_tokens} tokens; float32 "
        "is reckoned without tensor cores"
    )
    yield ""
    yield "What is trained, and what a sample of it costs (TFLOP)"
    heads = ["part", "parameters", "trained", "forward", "backward", "frozen", "batch", "a step"]
    yield from _table(heads, [_work_row(part) for part in made.trained])
    if made.once:
        yield ""
        yield "What frozen networks make once and is stored"
        heads = ["", "parameters", "items", "TFLOP each", "hours", "GB on disk"]
        yield from _table(heads, [_once_row(part) for part in made.once])
    yield ""
    yield "Time"
    heads = ["part", "GPUs", "steps", "samples", "epochs", "hours", "s a step", "GB read a step", "GB/s"]
    yield from _table(heads, [_time_row(part) for part in made.trained])
    yield ""
    memory_gb = given.gpu.memory_gb
    yield f"Memory of one GPU (GiB, estimated; {USABLE * memory_gb:.0f} of {memory_gb:g} can be used)"
    heads = [
        "part",
        "engine, recomputed",
        "micro-batch",
        "weights",
        "gradients",
        "optimizer",
        "activations",
        "all",
        "",
        "CPU",
    ]
    yield from _table(heads, [_memory_row(part) for part in made.trained])
    yield ""
    yield "Disk (GB)"
    heads = ["part", "checkpoints at most", "weights"]
    yield from _table(heads, [[part.name, _gb(part.checkpoints), _gb(part.weights)] for part in made.trained])
    yield ""
    disk = f"{_gb(made.disk)} GB of disk, {_gb(made.dataset)} of it for pictures"
    yield f"In all {_short(made.hours)} hours, parts one after another; {disk}"
    for part in made.trained:
        if part.advice is not None:
            yield f"WARNING: {part.name} needs {part.memory.gpu / 2**30:.3g} GiB and does not fit: {part.advice}"


def as_json(made: Plan) -> dict[str, object]:
    """Give a plan as a tree of plain values: bytes, FLOP, hours."""
    tree = dataclasses.asdict(made)
    for part, values in zip(made.trained, tree["trained"], strict=True):
        values |= {"fits": part.fits, "gpu_bytes": part.memory.gpu}
    return tree | {"hours": made.hours, "disk": made.disk}


def _hardware_line(device: Gpu, utilisation: float) -> str:
    reached = f", of which large products reach {device.achievable_tflops:g}" if device.achievable_tflops else ""
    return (
        f"{device.memory_gb:g} GiB, {device.bandwidth_tb_s:g} TB/s, {device.bfloat16_tflops:g} TFLOP/s in bfloat16"
        f"{reached}, {device.float32_tflops:g} in float32 ({device.source}); {utilisation:.0%} of the peak are used"
    )


def _work_row(part: TrainedPlan) -> list[str]:
    sample, again = part.sample, " +again" if part.recomputed_flops else ""
    return [
        part.name,
        f"{part.parameters:,}",
        f"{part.trained:,}",
        *(_tera(flops) for flops in (sample.trained.forward, sample.trained.backward, sample.frozen)),
        f"{part.samples // part.steps}",
        _tera(part.step_flops) + again,
    ]


def _once_row(part: OncePlan) -> list[str]:
    work = [_tera(part.flops_per_item), _short(part.hours), _gb(part.disk)]
    return [part.name, f"{part.parameters:,}", f"{part.items:,}", *work]


def _time_row(part: TrainedPlan) -> list[str]:
    seconds = part.hours * 3600 / part.steps
    return [
        part.name,
        str(part.gpus),
        f"{part.steps:,}",
        f"{part.samples:,}",
        f"{part.epochs:,.1f}",
        _short(part.hours),
        f"{seconds:.3g}",
        f"{part.bytes_read / 1e9:.3g}",
        f"{part.bytes_read / 1e9 / seconds:.2g}",
    ]


def _memory_row(part: TrainedPlan) -> list[str]:
    memory = part.memory
    held = (memory.weights, memory.gradients, memory.optimizer, memory.activations, memory.gpu)
    verdict = "fits" if part.fits else "DOES NOT FIT"
    return [part.name, part.launch, str(part.micro_batch), *map(_gib, held), verdict, _gib(memory.host)]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        first, *others = (
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(["", first, *others]).rstrip()


def _tera(flops: float) -> str:
    return f"{flops / 1e12:,.2f}" if flops >= 1e11 or flops == 0 else f"{flops / 1e12:.2g}"


def _gib(number: float) -> str:
    return _short(number / 2**30)


def _gb(number: float) -> str:
    return _short(number / 1e9)


def _short(number: float) -> str:
    return f"{number:,.1f}" if number >= 1 or number == 0 else f"{number:.2g}"


def _assumptions(args: argparse.Namespace, config: RunConfig) -> Assumptions:
    device = gpu(args.gpu)
    given = {
        "memory_gb": args.memory_gb,
        "bfloat16_tflops": args.tflops,
        "float32_tflops": args.tflops_float32,
    }
    stated = {name: value for name, value in given.items() if value is not None}
    for name, value in {**stated, "utilisation": args.utilisation, "picture_kb": args.picture_kb}.items():
        if not value > 0:
            raise ValueError(f"{name} is {value:g}; it must be more than 0")
    for name in ("gpus", "pictures", "caption_tokens"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} is {value}; it must be 1 or more")
    if args.utilisation > 1:
        raise ValueError(f"utilisation is {args.utilisation:g}; it is a share of the peak and at most 1")
    if "bfloat16_tflops" in stated:
        stated["achievable_tflops"] = None
    if stated:
        stated["source"] = f"{device.source}; some of it overridden"
    drawn = config.cartoon.episodes * config.cartoon.shots_per_episode
    pictures = args.pictures or (_PUBLISHED_PICTURES if uses_published_weights(config.model) else drawn)
    return Assumptions(
        dataclasses.replace(device, **stated),
        args.gpus,
        args.utilisation,
        args.caption_tokens,
        pictures,
        args.picture_kb,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.plan", description="What a training costs: work, hours, memory, disk."
    )
    parser.add_argument("preset", metavar="PRESET", help=f"one of: {', '.join(preset_names())}")
    parser.add_argument(
        "--set", dest="overrides", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change it"
    )
    parser.add_argument("--gpu", default="h200", help=f"one of: {', '.join(GPUS)} (default: h200)")
    parser.add_argument("--gpus", type=int, metavar="N", help="how many (default: the configured processes)")
    parser.add_argument("--memory-gb", type=float, metavar="GIB", help="of one GPU, instead of the table's")
    parser.add_argument("--tflops", type=float, metavar="T", help="its bfloat16 peak, instead of the table's")
    parser.add_argument("--tflops-float32", type=float, metavar="T", help="its float32 peak, instead of the table's")
    parser.add_argument(
        "--utilisation", type=float, default=UTILISATION, metavar="SHARE", help="of the peak (default: %(default)s)"
    )
    parser.add_argument(
        "--caption-tokens", type=int, default=CAPTION_TOKENS, metavar="N", help="of a caption (default: %(default)s)"
    )
    parser.add_argument("--pictures", type=int, metavar="N", help="of all stories (default: StoryStream's, or drawn)")
    parser.add_argument(
        "--picture-kb", type=float, default=PICTURE_KB, metavar="KB", help="of a stored one (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
