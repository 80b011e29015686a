"""How a picture appeals, by a CLIP-class network in a local folder: is it nearer to one text or to another?

A score that a filter uses (`build.filters.appeal`). Each picture is looked at once: scores are kept beside the decoded
episode, named by the network and the two texts.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from story_model.build_config import AppealConfig
from story_model.manifest import digest_of
from story_model.section import Section
from storystream_builder.children import run_child
from storystream_builder.frames import Episode

UNAPPEALING = "unappealing"


class Look(Section):
    """What is to be looked at of one episode."""

    episode: Path
    """Its folder."""
    frame_ids: list[str]
    scores: Path
    """File that the scores are added to."""


class LookJob(Section):
    """What the network's process is told."""

    folder: Path
    texts: tuple[str, str]
    looks: list[Look]


class Appeal(Protocol):
    """Gives pictures a score from 0 to 1."""

    name: str
    """What decides the scores; another name, other scores."""

    def scores(self, episodes: Sequence[Episode]) -> Mapping[str, float]:
        """Score episodes' kept frames, by frame id."""
        ...


class ClipAppeal:
    """The probability that a CLIP-class network, which runs in a process of its own, gives one text over another."""

    def __init__(self, config: AppealConfig) -> None:
        """Take the network's folder and the two texts.

        Raises:
            ValueError: there is no such folder.
        """
        assert config.folder
        if not (Path(config.folder) / "config.json").is_file():
            raise ValueError(f"build.filters.appeal.folder: {config.folder} holds no network (no config.json)")
        self._folder, self._texts = Path(config.folder).resolve(), (config.liked, config.disliked)
        self.name = hashlib.sha256(json.dumps([digest_of(self._folder), self._texts]).encode()).hexdigest()[:16]

    def scores(self, episodes: Sequence[Episode]) -> Mapping[str, float]:
        """Score episodes' kept frames; those that were scored before are not looked at again.

        Raises:
            ValueError: the network cannot be run.
        """
        files = {episode.episode_id: episode.folder.resolve() / f".appeal-{self.name}.json" for episode in episodes}
        known = _read(files.values())
        new = {one.episode_id: [f.frame_id for f in one.kept if f.frame_id not in known] for one in episodes}
        looks = [
            Look(episode=one.folder.resolve(), frame_ids=new[one.episode_id], scores=files[one.episode_id])
            for one in episodes
            if new[one.episode_id]
        ]
        if looks:
            self._look(looks)
        return _read(files.values())

    def _look(self, looks: list[Look]) -> None:
        with TemporaryDirectory() as name:
            job = Path(name) / "job.json"
            job.write_text(LookJob(folder=self._folder, texts=self._texts, looks=looks).model_dump_json())
            run_child("storystream_builder.captioning.clip", str(job))


def drop_unappealing(episodes: Sequence[Episode], appeal: Appeal, min_score: float) -> list[Episode]:
    """Write the scores on the kept frames, and drop those below the limit."""
    scores = appeal.scores(episodes)
    changed = []
    for episode in episodes:
        scored = [replace(frame, appeal=scores[frame.frame_id]) for frame in episode.kept]
        kept = {frame.frame_id: frame for frame in scored if scores[frame.frame_id] >= min_score}
        dropped = {frame.frame_id: frame.dropped(UNAPPEALING) for frame in scored if frame.frame_id not in kept}
        changed.append(episode.with_frames(kept | dropped))
    return changed


def _read(files: Iterable[Path]) -> dict[str, float]:
    found: dict[str, float] = {}
    for path in files:
        if path.is_file():
            found |= json.loads(path.read_bytes())
    return found
