"""What comes twice: the same film in another encode, and openings and credits that every episode shares.

Both are told by perceptual hashes of keyframes: two encodes of a frame differ in a few of 64 bits, different frames in
about half of them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from storystream_builder.frames import Episode, Frame

_SAME_FRAME = 10
"""Bits of 64 in which two encodes of nearly the same moment differ at most."""
_SAME_TIME_MS = 1500
_SAME_LENGTH = 0.05
_SHARE = 0.6
_MIN_MATCHES = 3

_RECURRING_BITS = 4
_RECURRING_EPISODES = 3
_EDGE = 0.15
"""Share of an episode at its start and end in which openings and credits lie."""


def find_duplicates(episodes: Sequence[Episode]) -> dict[str, str]:
    """Tell which episodes show the film of another one: id -> id of the one with the better picture."""
    best_first = sorted(episodes, key=lambda one: (-one.record.width * one.record.height, one.episode_id))
    originals: list[Episode] = []
    duplicates = {}
    for episode in best_first:
        original = next((one for one in originals if _same_film(one, episode)), None)
        if original is None:
            originals.append(episode)
        else:
            duplicates[episode.episode_id] = original.episode_id
    return duplicates


def drop_recurring(episodes: Sequence[Episode]) -> list[Episode]:
    """Drop keyframes near the start or end that at least three episodes share; subtitles tell it better where given."""
    mute = [episode for episode in episodes if not episode.has_lines]
    edges = {episode.episode_id: _edge_frames(episode) for episode in mute}
    hashes = {name: _hashes(frames) for name, frames in edges.items()}
    return [
        _without_recurring(
            episode, edges[episode.episode_id], [h for name, h in hashes.items() if name != episode.episode_id]
        )
        if episode.episode_id in edges
        else episode
        for episode in episodes
    ]


def _without_recurring(episode: Episode, edge: list[Frame], others: list[NDArray[np.uint64]]) -> Episode:
    shared = {}
    for frame in edge:
        seen_in = 1 + sum(bool((_distances(frame, other) <= _RECURRING_BITS).any()) for other in others)
        if seen_in >= _RECURRING_EPISODES:
            shared[frame.frame_id] = frame.dropped("recurring")
    return episode.with_frames(shared)


def _same_film(one: Episode, other: Episode) -> bool:
    longer, shorter = sorted([one, other], key=lambda episode: -episode.record.duration_ms)
    if shorter.record.duration_ms < (1 - _SAME_LENGTH) * longer.record.duration_ms:
        return False
    hashes = _hashes(one.kept)
    times = np.array([frame.pts_ms for frame in one.kept])
    matches = sum(
        bool(((_distances(frame, hashes) <= _SAME_FRAME) & (abs(times - frame.pts_ms) <= _SAME_TIME_MS)).any())
        for frame in other.kept
    )
    return matches >= max(_MIN_MATCHES, _SHARE * min(len(one.kept), len(other.kept)))


def _edge_frames(episode: Episode) -> list[Frame]:
    length = episode.record.duration_ms
    return [frame for frame in episode.kept if not _EDGE * length < frame.pts_ms < (1 - _EDGE) * length]


def _hashes(frames: Sequence[Frame]) -> NDArray[np.uint64]:
    return np.array([frame.phash for frame in frames], np.uint64)


def _distances(frame: Frame, hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return np.bitwise_count(hashes ^ np.uint64(frame.phash or 0))
