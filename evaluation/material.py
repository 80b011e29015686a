"""What is evaluated: the stories of every system, read from where they lie, and the dataset's own in their place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.external import read_external
from evaluation.pictures import Telling, read_tellings
from evaluation.systems import Kind, kind_of, systems_of
from story_model.config import RunConfig
from story_model.dataset import read_stories
from story_model.pixels import detokenizer_square
from story_model.workspace import RunFolder


@dataclass(frozen=True)
class System:
    """One system and its stories."""

    name: str
    """Mode and policy, or the name that another system goes by."""
    mode: str
    policy: str
    kind: Kind
    tellings: tuple[Telling, ...]
    notes: tuple[str, ...] = ()
    """What could not be used, in words."""


HEADLINE_MODE = "captions_given"
Systems = Mapping[str, System]
"""By name, in the order in which they are shown."""


def read_systems(run: RunFolder, config: RunConfig) -> dict[str, System]:
    """Read the stories of a run's systems, and those of others that are configured (`evaluate.external`).

    Raises:
        ValueError: the dataset has no validation story, a told story cannot be read, or two systems have one name.
    """
    validation = read_stories(run.dataset_dir, "validation")
    if not validation:
        raise ValueError(f"{run.dataset_dir} has no validation story; nothing can be told or measured without one")
    square = detokenizer_square(config.model.detokenizer)
    found = {}
    for mode, policy in systems_of(config):
        tellings = tuple(read_tellings(run.told_dir(mode, policy), validation, square))
        found[f"{mode}-{policy}"] = System(f"{mode}-{policy}", mode, policy, kind_of(policy), tellings)
    for folder in config.evaluate.external:
        name, told, notes = read_external(Path(folder), validation, square)
        if name in found:
            raise ValueError(f"two systems are called {name}; give {folder} another name in its system.json")
        found[name] = System(name, told[0].mode, told[0].policy, "external", tuple(told), tuple(notes.cautions))
    return found


def headline_of(config: RunConfig, systems: Systems) -> str | None:
    """Name the system whose numbers stand for the run; none where its stories were not told."""
    name = f"{HEADLINE_MODE}-{config.evaluate.headline_policy}"
    return name if name in systems else None


def dataset_itself(tellings: Sequence[Telling]) -> System:
    """Put the dataset's own pairs in the place of the told ones."""
    own = tuple(
        Telling(telling.story_id, "dataset", "dataset", telling.opening, telling.reference, telling.reference)
        for telling in tellings
    )
    return System("dataset", "dataset", "dataset", "dataset", own)
