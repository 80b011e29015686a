"""What comes twice: a film in another encode, openings and credits that episodes share, pictures of other episodes.

All are told by perceptual hashes of keyframes: two encodes of a frame differ in a few of 64 bits, different frames in
about half of them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from story_model.build_config import FiltersConfig
from storystream_builder.frames import Episode, Frame

RECURRING = "recurring"
ACROSS = "in another episode"

_SAME_FRAME = 10
"""Bits of 64 in which two encodes of nearly the same moment differ at most."""
_SAME_TIME_MS = 1500
_SAME_LENGTH = 0.05
_SHARE = 0.6
_MIN_MATCHES = 3


def find_duplicates(episodes: Sequence[Episode]) -> dict[str, str]:
    """Tell which episodes show the film of another one: id -> id of the better one.

    Better is a film with lines, for what is spoken cannot be had otherwise; then the larger picture.
    """
    best_first = sorted(
        episodes, key=lambda one: (not one.has_lines, -one.record.width * one.record.height, one.episode_id)
    )
    originals: list[Episode] = []
    duplicates = {}
    for episode in best_first:
        original = next((one for one in originals if _same_film(one, episode)), None)
        if original is None:
            originals.append(episode)
        else:
            duplicates[episode.episode_id] = original.episode_id
    return duplicates


def drop_recurring(episodes: Sequence[Episode], config: FiltersConfig) -> list[Episode]:
    """Drop keyframes near the start or end that several episodes share."""
    edges = {episode.episode_id: _edge_frames(episode, config.recurring_edge) for episode in episodes}
    hashes = {name: _hashes(frames) for name, frames in edges.items()}
    changed = []
    for episode in episodes:
        others = [found for name, found in hashes.items() if name != episode.episode_id]
        shared = {}
        for frame in edges[episode.episode_id]:
            likes = sum(bool((_distances(frame, other) <= config.recurring_distance).any()) for other in others)
            if 1 + likes >= config.recurring_episodes:
                shared[frame.frame_id] = frame.dropped(RECURRING)
        changed.append(episode.with_frames(shared))
    return changed


def drop_across(episodes: Sequence[Episode], distance: int) -> list[Episode]:
    """Drop keyframes that an episode before (in the order given) shows as well."""
    seen = np.zeros(0, np.uint64)
    changed = []
    for episode in episodes:
        again = {
            frame.frame_id: frame.dropped(ACROSS)
            for frame in episode.kept
            if (_distances(frame, seen) <= distance).any()
        }
        changed.append(episode.with_frames(again))
        seen = np.concatenate([seen, _hashes(changed[-1].kept)])
    return changed


def _same_film(one: Episode, other: Episode) -> bool:
    longer, shorter = sorted([one, other], key=lambda episode: -episode.record.duration_ms)
    if shorter.record.duration_ms < (1 - _SAME_LENGTH) * longer.record.duration_ms:
        return False
    hashes = _hashes(one.kept)
    times = np.array([frame.pts_ms for frame in one.kept])
    others, other_times = _hashes(other.kept), np.array([frame.pts_ms for frame in other.kept])
    alike = np.bitwise_count(others[:, None] ^ hashes[None, :]) <= _SAME_FRAME
    at_once = abs(other_times[:, None] - times[None, :]) <= _SAME_TIME_MS
    matches = int((alike & at_once).any(axis=1).sum())
    return matches >= max(_MIN_MATCHES, _SHARE * min(len(hashes), len(others)))


def _edge_frames(episode: Episode, edge: float) -> list[Frame]:
    length = episode.record.duration_ms
    return [frame for frame in episode.kept if not edge * length < frame.pts_ms < (1 - edge) * length]


def _hashes(frames: Sequence[Frame]) -> NDArray[np.uint64]:
    return np.array([frame.phash for frame in frames], np.uint64)


def _distances(frame: Frame, hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return np.bitwise_count(hashes ^ np.uint64(frame.phash))
