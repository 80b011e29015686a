"""How decoding goes on: episodes done, until when, frames a second, and how near that is to the decoder's own speed."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from tqdm import tqdm

from storystream_builder.episodes import EpisodeOutcome

log = logging.getLogger(__name__)


@dataclass
class Decoding:
    """What was decoded so far."""

    episodes: int = 0
    reused: int = 0
    set_aside: int = 0
    frames: int = 0
    pass_seconds: float = 0.0
    """In all passes together, several of which run at once."""
    decoder_seconds: float = 0.0
    """Of these, waiting for the decoder: what remains is what a pass costs beyond pure decoding."""
    wall_seconds: float = 0.0

    def add(self, outcome: EpisodeOutcome) -> None:
        """Count what came of one more video."""
        self.episodes += 1
        self.reused += outcome.reused
        self.set_aside += outcome.episode_id is None
        self.frames += outcome.frames
        self.pass_seconds += outcome.seconds
        self.decoder_seconds += outcome.decoder_seconds

    @property
    def numbers(self) -> dict[str, float]:
        """The same by name, with rates."""
        return {
            "videos": self.episodes,
            "already decoded": self.reused,
            "set aside": self.set_aside,
            "frames decoded": self.frames,
            "frames a second": round(self.frames / max(1e-9, self.wall_seconds), 1),
            "share of pure decoding": round(self.decoder_seconds / max(1e-9, self.pass_seconds), 3),
        }

    def __str__(self) -> str:
        rate, share = self.numbers["frames a second"], self.numbers["share of pure decoding"]
        return f"{rate:.0f} frames/s, {100 * share:.0f} % of pure decoding" if self.frames else "nothing decoded anew"


def follow(outcomes: Iterable[EpisodeOutcome], total: int) -> tuple[list[EpisodeOutcome], Decoding]:
    """Take outcomes as they come, showing how it goes on."""
    started, decoding, taken = time.monotonic(), Decoding(), []
    with tqdm(total=total, desc="episodes", unit="episode") as bar:
        for outcome in outcomes:
            taken.append(outcome)
            decoding.add(outcome)
            decoding.wall_seconds = time.monotonic() - started
            bar.set_postfix_str(str(decoding), refresh=False)
            bar.update()
    log.info(
        "%d videos: %s; %d were decoded already, %d set aside", total, decoding, decoding.reused, decoding.set_aside
    )
    return taken, decoding
