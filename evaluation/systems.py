"""Which systems of a run are compared: every cache policy in every mode, the baseline and the ceiling beside them."""

from typing import Literal

from story_model.config import RunConfig
from story_model.tell_config import Mode, Policy

CAPTIONS_ALONE = "captions_alone"
"""The baseline in the place of a policy: the headline policy's texts, each picture painted from its caption alone."""
RECONSTRUCTION = "reconstruction"
"""The ceiling in the place of a policy: the dataset's texts, each of its pictures painted from its own features."""
RECONSTRUCTION_MODE: Mode = "captions_given"

Kind = Literal["policy", "baseline", "reconstruction", "external", "dataset"]
"""What a system is: ours under a policy, the baseline, the ceiling, another's, or the dataset itself."""


def systems_of(config: RunConfig) -> list[tuple[Mode, str]]:
    """List a run's systems by mode and policy, mode after mode, the ceiling last."""
    names = list[str](config.tell.policies) + [CAPTIONS_ALONE] * (config.train.baseline is not None)
    told = [(mode, name) for mode in config.tell.modes for name in names]
    return told + [(RECONSTRUCTION_MODE, RECONSTRUCTION)] * config.evaluate.reconstruction


def kind_of(policy: str) -> Kind:
    """Tell what a system of this run is by what stands in the place of its policy."""
    if policy == CAPTIONS_ALONE:
        return "baseline"
    return "reconstruction" if policy == RECONSTRUCTION else "policy"


def texts_policy(config: RunConfig) -> Policy:
    """Name the policy whose texts the baseline illustrates: the headline one, where it is told."""
    told = config.tell.policies
    return config.evaluate.headline_policy if config.evaluate.headline_policy in told else told[0]
