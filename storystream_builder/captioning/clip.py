"""A CLIP-class network at work, in a process of its own: `python -m storystream_builder.captioning.clip JOB`.

JOB is a JSON file. Writes each episode's scores beside it as soon as it has them, so that a killed run looks at no
picture twice.
"""

import io
import json
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm
from transformers import AutoModel, AutoProcessor

from story_model.config import Settings
from story_model.device import chosen_device
from story_model.manifest import write_atomically
from storystream_builder.captioning.appeal import Look, LookJob
from storystream_builder.children import end_with_parent
from storystream_builder.frames import images_in

_BATCH = 32


class Network:
    """The network and the two texts that pictures are held against."""

    def __init__(self, folder: Path, texts: Sequence[str]) -> None:
        """Take the network's folder, as `transformers` saves it."""
        self._folder, self._texts = folder, list(texts)
        self._device = chosen_device(Settings().device)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        model = AutoModel.from_pretrained(self._folder, local_files_only=True).eval().to(self._device)
        return model, AutoProcessor.from_pretrained(self._folder, local_files_only=True)

    def scores(self, images: Sequence[bytes]) -> list[float]:
        """Give the probability of the first text over the second, for each encoded picture."""
        model, processor = self._loaded
        pictures = [Image.open(io.BytesIO(image)).convert("RGB") for image in images]
        inputs = processor(text=self._texts, images=pictures, return_tensors="pt", padding=True).to(self._device)
        with torch.inference_mode():
            nearness = model(**inputs).logits_per_image
        return [round(value, 6) for value in nearness.softmax(-1)[:, 0].tolist()]


def look(network: Network, one: Look) -> None:
    """Score an episode's frames and add them to its scores."""
    known: dict[str, float] = json.loads(one.scores.read_bytes()) if one.scores.is_file() else {}
    images = images_in(one.episode, one.frame_ids)
    for start in range(0, len(one.frame_ids), _BATCH):
        names = one.frame_ids[start : start + _BATCH]
        known |= dict(zip(names, network.scores([images[name] for name in names]), strict=True))
    write_atomically(one.scores, json.dumps(known).encode())


def main() -> None:
    """Run the job that the command line names."""
    end_with_parent()
    job = LookJob.model_validate_json(Path(sys.argv[1]).read_bytes())
    network = Network(job.folder, job.texts)
    for one in tqdm(job.looks, desc="appeal", unit="episode"):
        look(network, one)


if __name__ == "__main__":
    main()
