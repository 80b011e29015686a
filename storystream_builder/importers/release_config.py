"""How a published release becomes a dataset of ours."""

from typing import Literal

from pydantic import Field

from story_model.build_config import ParquetConfig
from story_model.section import Section
from storystream_builder.importers.entries import Limits
from storystream_builder.sources import UNKNOWN


class ReleaseConfig(Section):
    """All that decides the dataset, the release itself aside."""

    subset: str = Field("stories", pattern=r"^[a-z0-9_]+$")
    license: str = UNKNOWN
    attribution: str = ""
    series: str = ""
    url: str = ""
    broken: Literal["cut", "drop"] = "cut"
    """A story that crosses episodes, goes back in time or lacks a picture is cut there, or left out."""
    shortest_part: int = Field(10, ge=2)
    """Pairs of the shortest part of a broken story that is kept; the published training takes 10."""
    leaks: Literal["drop", "keep"] = "drop"
    """Train stories of an episode that is in validation too: left out, or kept, which lets evaluation see them."""
    limits: Limits = Limits()
    parquet: ParquetConfig = ParquetConfig()
