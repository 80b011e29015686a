"""Which systems of a run are compared: every cache policy in every mode, and the baseline beside them."""

from story_model.config import RunConfig
from story_model.tell_config import Mode, Policy

CAPTIONS_ALONE = "captions_alone"
"""The baseline in the place of a policy: the headline policy's texts, each picture painted from its caption alone."""


def systems_of(config: RunConfig) -> list[tuple[Mode, str]]:
    """List a run's systems by mode and policy, mode after mode."""
    names = list[str](config.tell.policies) + [CAPTIONS_ALONE] * (config.train.baseline is not None)
    return [(mode, name) for mode in config.tell.modes for name in names]


def texts_policy(config: RunConfig) -> Policy:
    """Name the policy whose texts the baseline illustrates: the headline one, where it is told."""
    told = config.tell.policies
    return config.evaluate.headline_policy if config.evaluate.headline_policy in told else told[0]
