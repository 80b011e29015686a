"""The published system is built at full size in seconds, with the released weights' names and shapes and no memory.

Weights lie on the meta device, so that what is timed is our construction and not filling 11.6 billion numbers. Names
and shapes are compared with those of the released files. Peak memory is the process's own, libraries included.

Run it in the project's folder: `python -m benchmarks.meta_build`.
"""

import argparse
import json
import resource
import time
from pathlib import Path

from accelerate import init_empty_weights
from torch import nn

from story_model.build import (
    Vocabulary,
    build_autoencoder,
    build_detokenizer,
    build_image_encoder,
    build_llama,
    build_mllm,
    llama2_vocabulary,
)
from story_model.config import ModelConfig, load_config

PARITY_DIR = Path(__file__).parents[1] / "tests" / "data" / "parity"
FILES = {
    "image_encoder": "qwen_vit_G.pt",
    "mllm": "agent pytorch_model.bin",
    "detokenizer": "detokenizer pytorch_model.bin",
}


def build(config: ModelConfig, vocabulary: Vocabulary) -> dict[str, nn.Module]:
    """Build all networks without memory for their weights; buffers that no file holds, as rotary ones, are real."""
    with init_empty_weights(include_buffers=False):
        return {
            "image_encoder": build_image_encoder(config.image_encoder),
            "mllm": build_mllm(config, build_llama(config, vocabulary)),
            "detokenizer": build_detokenizer(config),
            "autoencoder": build_autoencoder(config.detokenizer),
        }


def are_released(networks: dict[str, nn.Module], released: Path) -> bool:
    """Compare names and shapes with those of the released files."""
    files = json.loads(released.read_text())
    shapes = {
        name: {key: list(value.shape) for key, value in one.state_dict().items()} for name, one in networks.items()
    }
    return all(shapes[name] == files[file]["state"] for name, file in FILES.items())


def main() -> None:
    """Build, compare, and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--released", type=Path, default=PARITY_DIR / "released_state_dicts.json")
    given = parser.parse_args()
    config = load_config("seed-story-7b").model
    started = time.monotonic()
    networks = build(config, llama2_vocabulary(config.mllm))
    seconds = time.monotonic() - started
    parameters = {name: sum(one.numel() for one in network.parameters()) for name, network in networks.items()}
    for name, count in parameters.items():
        print(f"{name:14} {count:>14,} parameters")
    measured = {
        "seconds": round(seconds, 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "parameters": parameters,
        "names_equal": are_released(networks, given.released),
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
