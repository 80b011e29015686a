"""A dataset in a form that others read: the published StoryStream's own, or WebDataset shards."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from story_model.dataset import read_stories
from story_model.manifest import Manifest, StepResult, run_step
from story_model.section import Section
from storystream_builder.exporters.export_published import write_published
from storystream_builder.exporters.export_webdataset import write_shards
from storystream_builder.replaceable import refuse_to_replace
from storystream_builder.stories import TRAIN, VALIDATION

EXPORT_VERSION = 1


class ExportConfig(Section):
    """What is exported."""

    form: Literal["storystream", "webdataset"]
    chunks: int | None = Field(None, ge=2)
    """Pairs of a chunk; none exports whole stories. A remainder of two pairs or more is a chunk too."""
    shard_mb: float = Field(512.0, gt=0)
    """Size that no WebDataset shard exceeds, unless a single sample does."""


def export_dataset(dataset_dir: Path, out_dir: Path, *, config: ExportConfig) -> Manifest:
    """Export every split; a second call with the same dataset and configuration writes nothing.

    Raises:
        ValueError: there is no dataset, a file of it is damaged, ids are no names of files, or `out_dir` is not free.
    """
    names = [name for name in (TRAIN, VALIDATION) if any(dataset_dir.glob(f"data/*/{name}-*.parquet"))]
    if not names:
        raise ValueError(f"{dataset_dir} holds no stories; name the folder of a dataset")

    def work(out: Path) -> StepResult:
        splits = {name: read_stories(dataset_dir, name) for name in names}
        if config.form == "storystream":
            return StepResult(counts=write_published(out, splits, chunk_length=config.chunks))
        shard_bytes = int(config.shard_mb * 2**20)
        return StepResult(counts=write_shards(out, splits, chunk_length=config.chunks, shard_bytes=shard_bytes))

    step = f"export {config.form}"
    refuse_to_replace(out_dir, step=step, sources=[dataset_dir])
    inputs = {"dataset": dataset_dir}
    return run_step(out_dir, work, step=step, version=EXPORT_VERSION, config=config, inputs=inputs)
