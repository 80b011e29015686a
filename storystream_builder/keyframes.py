"""Which candidates are kept: the sharpest fit one of each stretch of a shot, unless the episode has its like already.

A function of stored scores and hashes: other limits decode nothing again.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

from story_model.build_config import FiltersConfig
from storystream_builder.frames import Frame

LESS_SHARP = "a sharper one is kept"
NEAR_DUPLICATE = "near-duplicate"


def choose(frames: Sequence[Frame], config: FiltersConfig) -> tuple[Frame, ...]:
    """Give each of an episode's candidates (in time order) its status."""
    known: list[int] = []
    chosen: list[Frame] = []
    for _, stretch in groupby(frames, key=lambda frame: (frame.shot.shot_id, frame.stretch)):
        chosen += _choose_one(list(stretch), known, config)
    return tuple(chosen)


def unfit(frame: Frame, config: FiltersConfig) -> str | None:
    """Say why a frame cannot stand for its shot; none where it can."""
    reasons = {
        "black": frame.luma < config.min_luma,
        "white": frame.luma > config.max_luma,
        "flat": frame.contrast < config.min_contrast,
        "fade": frame.fade > config.max_fade,
        "text": frame.text > config.max_text,
        "blurred": frame.sharpness < config.min_sharpness,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def is_like(phash: int, others: Iterable[int], distance: int) -> bool:
    """Tell whether a hash differs from one of the others in at most so many bits."""
    return any((phash ^ other).bit_count() <= distance for other in others)


def _choose_one(stretch: list[Frame], known: list[int], config: FiltersConfig) -> list[Frame]:
    """Keep the sharpest fit frame of a stretch; its hash joins the known ones."""
    faults = [unfit(frame, config) for frame in stretch]
    fit = [index for index, fault in enumerate(faults) if fault is None]
    best = max(fit, key=lambda index: stretch[index].sharpness, default=None)
    chosen = [frame.dropped(fault or LESS_SHARP) for frame, fault in zip(stretch, faults, strict=True)]
    if best is None:
        return chosen
    if is_like(stretch[best].phash, known, config.duplicate_distance):
        chosen[best] = stretch[best].dropped(NEAR_DUPLICATE)
    else:
        known.append(stretch[best].phash)
        chosen[best] = stretch[best]
    return chosen
