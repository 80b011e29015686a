"""How a picture appeals, by a CLIP-class network in a local folder: is it nearer to one text or to another?

A score that a filter uses (`build.filters.appeal`). Each picture is looked at once: scores are kept beside the decoded
episode, named by the network and the two texts.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from story_model.build_config import AppealConfig
from story_model.manifest import digest_of, write_atomically
from storystream_builder.frames import Episode

UNAPPEALING = "unappealing"
_BATCH = 32


class Appeal(Protocol):
    """Gives pictures a score from 0 to 1."""

    name: str
    """What decides the scores; another name, other scores."""

    def scores(self, episode: Episode) -> Mapping[str, float]:
        """Score an episode's kept frames, by frame id."""
        ...


class ClipAppeal:
    """The probability that a CLIP-class network gives one text over another."""

    def __init__(self, config: AppealConfig) -> None:
        """Take the network's folder and the two texts.

        Raises:
            ValueError: there is no such folder.
        """
        assert config.folder
        if not (Path(config.folder) / "config.json").is_file():
            raise ValueError(f"build.filters.appeal.folder: {config.folder} holds no network (no config.json)")
        self._folder, self._texts = Path(config.folder), [config.liked, config.disliked]
        self.name = hashlib.sha256(json.dumps([digest_of(self._folder), self._texts]).encode()).hexdigest()[:16]

    def scores(self, episode: Episode) -> Mapping[str, float]:
        """Score an episode's kept frames; those that were scored before are not looked at again."""
        path = episode.folder / f".appeal-{self.name}.json"
        known: dict[str, float] = json.loads(path.read_bytes()) if path.is_file() else {}
        new = [frame.frame_id for frame in episode.kept if frame.frame_id not in known]
        if new:
            images = episode.images()
            for start in range(0, len(new), _BATCH):
                names = new[start : start + _BATCH]
                known |= dict(zip(names, self._look([images[name] for name in names]), strict=True))
            write_atomically(path, json.dumps(known).encode())
        return known

    @cached_property
    def _network(self) -> tuple[Any, Any]:
        try:
            from transformers import AutoModel, AutoProcessor
        except ImportError:
            raise ValueError("build.filters.appeal needs the extra `train` (torch, transformers)") from None
        model = AutoModel.from_pretrained(self._folder, local_files_only=True).eval()
        return model, AutoProcessor.from_pretrained(self._folder, local_files_only=True)

    def _look(self, images: Sequence[bytes]) -> list[float]:
        import torch

        model, processor = self._network
        pictures = [Image.open(io.BytesIO(image)).convert("RGB") for image in images]
        inputs = processor(text=self._texts, images=pictures, return_tensors="pt", padding=True)
        with torch.inference_mode():
            nearness = model(**inputs).logits_per_image
        return [round(value, 6) for value in nearness.softmax(-1)[:, 0].tolist()]


def drop_unappealing(episode: Episode, appeal: Appeal, min_score: float) -> Episode:
    """Write the scores on an episode's kept frames, and drop those below the limit."""
    scores = appeal.scores(episode)
    changed = {}
    for frame in episode.kept:
        scored = replace(frame, appeal=scores[frame.frame_id])
        changed[frame.frame_id] = scored if scores[frame.frame_id] >= min_score else scored.dropped(UNAPPEALING)
    return episode.with_frames(changed)
