"""The image encoder is faster and smaller than its arithmetic written out, at the real number of patches.

Ours is `ImageEncoder`. Naive is the published encoder's arithmetic: sequence first, each call splits the interleaved
query-key-value projection, and attention makes its matrix of scores, in the blocks and in the pooling. Both run on the
same weights and pixels, and their features are compared. Sizes are the published ones but for depth and widths; four
pictures by four heads have as many scores as one picture by the published sixteen.

Seconds: forwards alternate in one process, who begins alternates too, and the speedup is the median over the rounds of
naive seconds by ours: what else the machine does falls on both. Memory: each side in a process of its own, how far the
resident memory rises above where it stood before one forward, as Linux counts it.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from story_model.image_encoder import ImageEncoder
from story_model.resampler import resize_grid

PROJECT_DIR = Path(__file__).parents[1]
PATCH, EPS = 14, 1e-6
MAX_ERROR = 1e-4

Forward = Callable[[Tensor], Tensor]


def make_encoder(given: argparse.Namespace) -> ImageEncoder:
    """Make the encoder with fresh weights, the same at each call."""
    torch.manual_seed(0)
    encoder = ImageEncoder(
        image_size=given.image_size,
        patch_size=PATCH,
        width=given.width,
        layers=given.layers,
        heads=given.heads,
        mlp_ratio=given.mlp_ratio,
        num_queries=given.queries,
        output_dim=given.output_dim,
        pool_heads=given.pool_heads,
    )
    return encoder.eval().requires_grad_(False)


class NaiveEncoder:
    """The published arithmetic, on a state dict in the published layout."""

    def __init__(self, state: dict[str, Tensor], given: argparse.Namespace) -> None:
        self.state = state
        self.layers, self.heads, self.pool_heads = given.layers, given.heads, given.pool_heads

    def __call__(self, pixels: Tensor) -> Tensor:
        """Encode pixels (batch, 3, side, side) to features (batch, queries, dim)."""
        x = functional.conv2d(pixels, self.state["conv1.weight"], stride=PATCH).flatten(2).transpose(1, 2)
        x = self.norm("ln_pre", x + resize_grid(self.state["positional_embedding"], x.shape[1]))
        x = x.transpose(0, 1).contiguous()
        for layer in range(self.layers):
            block = f"transformer.resblocks.{layer}"
            x = x + self.self_attention(f"{block}.attn", self.norm(f"{block}.ln_1", x))
            hidden = functional.gelu(self.linear(f"{block}.mlp.c_fc", self.norm(f"{block}.ln_2", x)))
            x = x + self.linear(f"{block}.mlp.c_proj", hidden)
        return self.norm("ln_post", self.pool(x).transpose(0, 1)) @ self.state["proj"]

    def self_attention(self, name: str, x: Tensor) -> Tensor:
        """Split the projection head by head, then attend."""
        mixed = self.linear(f"{name}.in_proj", x).unflatten(-1, (self.heads, -1))
        return self.linear(f"{name}.out_proj", attend(*mixed.chunk(3, dim=-1)))

    def pool(self, x: Tensor) -> Tensor:
        """Let the learned queries attend to (patches, batch, width)."""
        seen = self.norm("attn_pool.ln_kv", self.linear("attn_pool.kv_proj", x))
        places = self.state["attn_pool.pos_embed"]
        asked = self.norm("attn_pool.ln_q", self.state["attn_pool.query"]) + places
        parts = asked[:, None].expand(-1, x.shape[1], -1), seen + resize_grid(places, len(x))[:, None], seen
        weights = self.state["attn_pool.attn.in_proj_weight"].chunk(3)
        biases = self.state["attn_pool.attn.in_proj_bias"].chunk(3)
        q, k, v = (
            functional.linear(part, weight, bias).unflatten(-1, (self.pool_heads, -1))
            for part, weight, bias in zip(parts, weights, biases, strict=True)
        )
        return self.linear("attn_pool.attn.out_proj", attend(q, k, v))

    def linear(self, name: str, x: Tensor) -> Tensor:
        """Apply a linear layer."""
        return functional.linear(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"))

    def norm(self, name: str, x: Tensor) -> Tensor:
        """Apply a layer norm."""
        return functional.layer_norm(x, x.shape[-1:], self.state[f"{name}.weight"], self.state[f"{name}.bias"], EPS)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend from (queries, batch, heads, size) to (keys, batch, heads, size) by a matrix of scores."""
    batch = q.shape[1]
    q, k, v = (x.flatten(1, 2).transpose(0, 1) for x in (q, k, v))
    scores = torch.bmm(q / math.sqrt(q.shape[-1]), k.transpose(1, 2))
    return torch.bmm(scores.softmax(-1), v).transpose(0, 1).unflatten(1, (batch, -1)).flatten(2)


SIDES: dict[str, Callable[[argparse.Namespace], Forward]] = {
    "ours": make_encoder,
    "naive": lambda given: NaiveEncoder(make_encoder(given).state_dict(), given),
}


def pixels_of(given: argparse.Namespace, side: int) -> Tensor:
    """Make normalised pixels, the same at each call."""
    return torch.randn(given.batch, 3, side, side, generator=torch.Generator().manual_seed(1))


def timed(forward: Forward, pixels: Tensor) -> float:
    """Measure the seconds of a forward."""
    started = time.perf_counter()
    forward(pixels)
    return time.perf_counter() - started


def memory_mib(name: str) -> float:
    """Read a memory figure of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def forward_memory_mib(given: argparse.Namespace) -> float:
    """Measure how far one forward raises this process's resident memory."""
    forward, pixels = SIDES[given.memory_of](given), pixels_of(given, given.image_size)
    forward(pixels_of(given, 4 * PATCH))  # what libraries keep for themselves is there before
    before = memory_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    forward(pixels)
    return memory_mib("VmHWM") - before


def child_memory_mib(side: str) -> float:
    """Measure a side's memory in a process of its own, which gives freed memory back at once."""
    command = [sys.executable, "-m", "benchmarks.encoder", *sys.argv[1:], "--memory-of", side]
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    done = subprocess.run(command, cwd=PROJECT_DIR, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def measure(given: argparse.Namespace) -> dict[str, float | list[float]]:
    """Compare the two sides' features, seconds and memory."""
    pixels = pixels_of(given, given.image_size)
    forwards = {side: make(given) for side, make in SIDES.items()}
    ours, naive = (forward(pixels) for forward in forwards.values())
    error = ((ours - naive).abs().max() / naive.abs().max()).item()
    print(f"largest relative error of the features: {error:.1e}")
    if error > MAX_ERROR:
        raise SystemExit("the two sides do not compute the same")
    seconds: dict[str, list[float]] = {side: [] for side in forwards}
    for number in range(1, given.rounds + 1):
        for side in list(forwards) if number % 2 else reversed(forwards):
            seconds[side].append(timed(forwards[side], pixels))
        print(f"round {number}: " + ", ".join(f"{side} {taken[-1]:.3f} s" for side, taken in seconds.items()))
    ratios = [slow / fast for fast, slow in zip(seconds["ours"], seconds["naive"], strict=True)]
    ours_s, naive_s = (statistics.median(taken) for taken in seconds.values())
    ours_mib, naive_mib = (child_memory_mib(side) for side in SIDES)
    print(f"memory of a forward: ours {ours_mib:.0f} MiB, naive {naive_mib:.0f} MiB")
    return {
        "speedup": round(statistics.median(ratios), 3),
        "memory_ratio": round(ours_mib / naive_mib, 3),
        "ours_s": round(ours_s, 4),
        "naive_s": round(naive_s, 4),
        "round_speedups": [round(ratio, 3) for ratio in ratios],
        "ours_mib": round(ours_mib, 1),
        "naive_mib": round(naive_mib, 1),
        "error": error,
    }


def main() -> None:
    """Measure, telling people how it goes and the last line's reader what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"image_size": 448, "width": 416, "heads": 4, "layers": 2, "queries": 256, "output_dim": 512}
    sizes |= {"pool_heads": 4, "batch": 4, "rounds": 9, "threads": torch.get_num_threads()}
    for name, default in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help="default: %(default)s")
    parser.add_argument("--mlp-ratio", type=float, default=4.9231, help="default: %(default)s")
    parser.add_argument("--memory-of", choices=SIDES, help="only print this side's memory in MiB")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with torch.inference_mode():
        if given.memory_of:
            print(forward_memory_mib(given))
            return
        patches = (given.image_size // PATCH) ** 2
        print(f"{given.layers} blocks of width {given.width}, {patches} patches, {given.threads} threads")
        result = measure(given)
    told = {name: getattr(given, name) for name in (*sizes, "mlp_ratio")}
    print(json.dumps(result | told | {"patches": patches, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
