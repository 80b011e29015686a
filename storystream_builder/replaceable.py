"""May a folder that a person named be filled? A step empties its folder first, and a typing slip must cost nothing."""

from collections.abc import Sequence
from pathlib import Path

from story_model.manifest import read_manifest

_IN_PROGRESS = ".in_progress.json"


def refuse_to_replace(out_dir: Path, *, step: str, sources: Sequence[Path]) -> None:
    """Refuse a folder that holds, or lies in, a source, or holds anything but an earlier result of the same step.

    Raises:
        ValueError: it is refused.
    """
    out = out_dir.resolve()
    for source in (one.resolve() for one in sources):
        if source == out or source.is_relative_to(out) or (source.is_dir() and out.is_relative_to(source)):
            raise ValueError(f"{out_dir} and its source {source} lie in one another; name another folder")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    manifest = read_manifest(out)
    is_ours = manifest.step == step if manifest else (out / _IN_PROGRESS).is_file()
    if not is_ours:
        held = f"the result of {manifest.step!r}" if manifest else "something that is not ours"
        raise ValueError(f"{out_dir} holds {held}, which would be deleted; name a folder that is new or empty")
