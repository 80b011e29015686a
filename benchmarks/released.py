"""Published weights at full size are checked in little memory, and converting needs little more than one tensor.

First a folder of sparse files with the released names, shapes and types is checked, with and without reading it
through. Then a complete folder at about 1/50 of the size, its language model in shards of random values, is converted;
its peak memory is that of the process, less what the same process needs to look at the folder alone.

Run it in the project's folder: `python -m benchmarks.released`; it needs 3 GB of disk for a while.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from story_model.build import llama2_vocabulary
from story_model.checkpoint import layout_of, write_tensors
from story_model.config import load_config
from story_model.released.networks import networks
from story_model.released.plans import Shapes
from story_model.tensor_files import TensorInfo
from story_model.tokens import train_tokenizer

PLACES = {
    "image encoder": "visual_tokenizer/qwen_vit_G",
    "MLLM": "seed_story/george_sft/model",
    "de-tokenizer": "detokenizer/detokenizer_george_adapted/checkpoint-4000/model",
    "autoencoder": "stable-diffusion-xl-base-1.0/vae/diffusion_pytorch_model",
}
SCALED = [
    "model.image_encoder={image_size: 448, patch_size: 14, width: 416, layers: 12, heads: 4, mlp_ratio: 4.0, "
    "num_queries: 256, output_dim: 640, pool_heads: 8}",
    "model.mllm.language_model={vocab_size: 32000, hidden_size: 640, intermediate_size: 1720, layers: 16, heads: 8}",
    "model.mllm.resampler_heads=8",
    "model.detokenizer.unet_channels=[64, 128, 256]",
    "model.detokenizer.resampler_dim=256",
    "model.detokenizer.autoencoder=linear",
]
SHARDS = 8


def write_tokenizer(root: Path, num_tokens: int, num_image_tokens: int) -> None:
    """Write a tokenizer of as many tokens as the language model has."""
    tokenizer = train_tokenizer(["a fox at sea"], vocab_size=300, num_image_tokens=num_image_tokens)
    tokenizer.add_tokens([f"word{number}" for number in range(num_tokens - tokenizer.get_vocab_size())])
    (root / "cvlm_llama2_tokenizer").mkdir(parents=True)
    (root / "cvlm_llama2_tokenizer" / "tokenizer.json").write_text(tokenizer.to_str())


def write_sparse(path: Path, shapes: Shapes) -> None:
    """Write a safetensors file whose values are a hole."""
    layout = layout_of({name: TensorInfo(shape, torch.float32) for name, shape in shapes.items()})
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.write(layout.header)
        file.truncate(layout.size)


def write_random(path: Path, shapes: Shapes) -> None:
    """Write a safetensors file of random values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(
        path,
        {name: TensorInfo(shape, torch.float32) for name, shape in shapes.items()},
        ((name, torch.randn(shape)) for name, shape in shapes.items()),
    )


def write_shards(path: Path, shapes: Shapes) -> None:
    """Write a network in shards, tensors dealt out in turn, as peft 0.4 spelled them."""
    old = {re.sub(r"\.base_layer\.", ".", name): shape for name, shape in shapes.items()}
    places = {name: f"model-{number % SHARDS}.safetensors" for number, name in enumerate(old)}
    for shard in sorted(set(places.values())):
        write_random(path.parent / shard, {name: old[name] for name in old if places[name] == shard})
    (path.parent / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def run(*arguments: str) -> tuple[float, float]:
    """Run the command in a process of its own: seconds and peak memory in MB."""
    code = (
        "import resource, runpy, sys; sys.argv[0] = 'story_model.released'\n"
        "try: runpy.run_module('story_model.released', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    *lines, peak = done.stdout.splitlines()
    print("\n".join(lines))
    return time.monotonic() - started, float(peak.removeprefix("peak "))


def check_full_size(root: Path, *, digests: bool) -> dict[str, float]:
    """Check sparse files of the released shapes."""
    model = load_config("seed-story-7b").model
    for kind, network in networks(model).items():
        write_sparse(root / f"{PLACES[kind]}.safetensors", network.shapes(model))
    write_tokenizer(root, llama2_vocabulary(model.mllm).vocab_size, model.mllm.num_image_tokens)
    seconds, peak = run("check", str(root), "--no-digests")
    found = {"check_seconds": round(seconds, 1), "check_peak_memory_mb": round(peak)}
    if digests:
        seconds, peak = run("check", str(root))
        found |= {"digests_seconds": round(seconds, 1), "digests_peak_memory_mb": round(peak)}
    return found


def convert_scaled(root: Path, out: Path) -> dict[str, float]:
    """Convert a folder at 1/50 of the published size."""
    model = load_config("seed-story-7b", SCALED).model
    total, largest, count = 0, 0, 0
    for kind, network in networks(model).items():
        shapes = network.shapes(model)
        (write_shards if kind == "MLLM" else write_random)(root / f"{PLACES[kind]}.safetensors", shapes)
        sizes = [4 * Tensor.numel(torch.empty(shape, device="meta")) for shape in shapes.values()]
        total, largest, count = total + sum(sizes), max(largest, *sizes), count + sum(sizes) // 4
    write_tokenizer(root, llama2_vocabulary(model.mllm).vocab_size, model.mllm.num_image_tokens)
    options = ["--set", *SCALED]
    _, looking = run("check", str(root), "--no-digests", *options)
    seconds, peak = run("convert", str(root), str(out), *options)
    needed = (peak - looking) * 2**20
    return {
        "parameters": count,
        "convert_seconds": round(seconds, 1),
        "output_mb": round(total / 2**20),
        "largest_tensor_mb": round(largest / 2**20),
        "convert_memory_mb": round(needed / 2**20),
        "allowed_mb": round((total + 1.2 * largest) / 2**20),
        "convert_memory_in_largest_tensors": round(needed / largest, 2),
    }


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-digests", dest="digests", action="store_false", help="do not read 40 GB of holes through")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = check_full_size(Path(folder) / "full", digests=given.digests)
        found |= convert_scaled(Path(folder) / "scaled", Path(folder) / "run")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
