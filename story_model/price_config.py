"""What an endpoint charges: one section of the configuration for all who ask one."""

from pydantic import Field

from story_model.section import Section


class PriceConfig(Section):
    """What an endpoint charges, for the bill; 0 where it is not known."""

    prompt_usd: float = Field(0.0, ge=0)
    """US dollars for a million tokens sent."""
    completion_usd: float = Field(0.0, ge=0)
    """US dollars for a million tokens received."""
