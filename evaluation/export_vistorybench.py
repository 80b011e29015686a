"""Told stories in ViStoryBench's layout, for its own metrics: `python -m evaluation.export_vistorybench RUN_DIR OUT`.

    OUT/outputs/<method>/<system>/<language>/<timestamp>/<story>/shots/shot_00.png     what its reader looks for
    OUT/dataset/<system>/ViStory/<story>/story.json                                    the prompts of those shots
    OUT/manifest.json                                                                  which story is which

As read in github.com/ViStoryBench/vistorybench: stories are called by digits, languages `en` or `ch`, timestamps
`YYYYMMDD_HHMMSS` (vistorybench/dataset_loader/read_outputs.py); pictures are counted from 00 and taken in natural order
(utils/ensure_shots_subdir.py, data_process/inference_custom/nanobanana/run_custom.py); `story.json` has the keys that
vistorybench/data_process/dataset_process/dataset_load.py asks for. A story is judged only where it has as many shots as
pictures (vistorybench/bench/prompt_align/prompt_align_evaluator.py), so a segment without a picture is left out of
both. Each system gets a dataset of its own, for each wrote its own texts:

    bench_run.py --dataset_path OUT/dataset/<system> --outputs_path OUT/outputs --method storystream --mode <system>
        --language en --metrics csd aesthetic diversity prompt_align

Characters are not told apart here. `csd` compares with the picture of a character, and breaks off where there is none
(vistorybench/bench/style/csd_evaluator.py); the story's opening stands in for it, as `Opening`, who is in no shot: its
cross score is the likeness in style to the opening. Of `prompt_align` only `character_action` has a prompt to go by
(camera and setting are not apart from the text), and `cids` has nothing.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from evaluation.external_forms import told_story
from evaluation.systems import systems_of
from story_model.config import read_config
from story_model.manifest import code_version, digest_of, read_manifest
from story_model.schema import Segment, ToldStory
from story_model.strict_json import read_json
from story_model.workspace import RunFolder, contained

Language = Literal["en", "ch"]
METHOD = "storystream"
_TIMESTAMP = re.compile(r"\d{8}_\d{6}")
_PNG = b"\x89PNG\r\n\x1a\n"
_REFERENCE = "Opening"
_MOST_STORIES = 999
"""Its story ids have at most three digits."""


class ExportedStory(BaseModel):
    """One story of one system."""

    story: str
    """The folder's name, a number."""
    story_id: str
    shots: int
    without_picture: int
    """Told segments that have no picture, and are no shots."""


class ExportedSystem(BaseModel):
    """One system's stories."""

    outputs: str
    dataset: str
    told: str
    """Digest of the told stories."""
    stories: list[ExportedStory]
    skipped: dict[str, str]
    """Stories that are not exported, with the reason."""


class Export(BaseModel):
    """`manifest.json`: what was exported."""

    kind: Literal["vistorybench-export"]
    run: str
    language: Language
    timestamp: str
    code_version: str
    systems: dict[str, ExportedSystem]


@dataclass(frozen=True)
class _Told:
    folder: Path
    story: ToldStory

    @property
    def shots(self) -> list[Segment]:
        """Told segments that have a picture."""
        return [segment for segment in self.story.segments[1:] if segment.image is not None]


def export(
    run: RunFolder,
    out_dir: Path,
    *,
    systems: Sequence[str] | None = None,
    language: Language = "en",
    timestamp: str | None = None,
    force: bool = False,
) -> Export:
    """Write a run's told stories in ViStoryBench's layout; the folder appears when it is complete.

    Args:
        run: the run.
        out_dir: a folder that is not there yet, or with `force` an earlier export, which is replaced.
        systems: `<mode>-<policy>`; none for all that the run has.
        language: of the texts.
        timestamp: `YYYYMMDD_HHMMSS`; none for now (UTC).
        force: replace an earlier export.

    Raises:
        ValueError: the folder is there, a system is not told or not known, a told story is damaged or there are more
            than 999 of them.
    """
    told_dirs = _told_dirs(run, systems)
    timestamp = timestamp or datetime.now(UTC).strftime("%Y%m%d_%H%M%S")
    if _TIMESTAMP.fullmatch(timestamp) is None:
        raise ValueError(f"timestamp {timestamp!r} is not of the form YYYYMMDD_HHMMSS")
    _check_replaceable(out_dir, force=force)
    told = {name: _read_told(folder) for name, folder in told_dirs.items()}
    numbers = _numbers([one.story.story_id for stories in told.values() for one in stories])
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out_dir.name}.", dir=out_dir.parent) as scratch:
        root = Path(scratch) / "new"
        exported = {
            name: _write_system(root, name, stories, numbers, language, timestamp)
            | {"told": digest_of(told_dirs[name])}
            for name, stories in told.items()
        }
        found = Export(
            kind="vistorybench-export",
            run=run.name,
            language=language,
            timestamp=timestamp,
            code_version=code_version(),
            systems={name: ExportedSystem.model_validate(one) for name, one in exported.items()},
        )
        (root / "manifest.json").write_text(found.model_dump_json(indent=1) + "\n")
        _publish(root, out_dir, aside=Path(scratch) / "old")
    return found


def _told_dirs(run: RunFolder, systems: Sequence[str] | None) -> dict[str, Path]:
    known = {
        f"{mode}-{policy}": run.told_dir(mode, policy) for mode, policy in systems_of(read_config(run.config_path))
    }
    chosen = list(known) if systems is None else list(systems)
    for name in chosen:
        if name not in known:
            raise ValueError(f"{name!r} is no system of {run.root}; it has {', '.join(known)}")
        if read_manifest(known[name]) is None:
            raise ValueError(f"stories/{name} of {run.root} is not finished; tell the stories first")
    return {name: known[name] for name in chosen}


def _read_told(told_dir: Path) -> list[_Told]:
    found = []
    for path in sorted(told_dir.glob("*/story.json")):
        try:
            found.append(_Told(path.parent, told_story(path.parent)))
        except ValueError as error:
            raise ValueError(f"{path.parent}: {error}; tell the stories again") from None
    return found


def _numbers(story_ids: Sequence[str]) -> dict[str, str]:
    """Number stories from 01; a story has one number in all systems."""
    distinct = sorted(set(story_ids))
    if len(distinct) > _MOST_STORIES:
        raise ValueError(f"{len(distinct)} stories are told, but ViStoryBench counts to {_MOST_STORIES}")
    return {story_id: f"{number:02d}" for number, story_id in enumerate(distinct, start=1)}


def _write_system(
    root: Path, name: str, stories: Sequence[_Told], numbers: dict[str, str], language: Language, timestamp: str
) -> dict[str, object]:
    outputs, dataset = f"outputs/{METHOD}/{name}/{language}/{timestamp}", f"dataset/{name}/ViStory"
    exported, skipped = [], {}
    for one in stories:
        story_id = one.story.story_id
        if not one.shots:
            skipped[story_id] = "no told segment has a picture"
            continue
        number = numbers[story_id]
        _write_shots(root / outputs / number / "shots", one)
        _write_prompts(root / dataset / number, one, language)
        without = len(one.story.segments) - 1 - len(one.shots)
        exported.append(ExportedStory(story=number, story_id=story_id, shots=len(one.shots), without_picture=without))
    return {"outputs": outputs, "dataset": dataset, "stories": exported, "skipped": skipped}


def _write_shots(folder: Path, told: _Told) -> None:
    folder.mkdir(parents=True)
    for number, segment in enumerate(told.shots):
        (folder / f"shot_{number:02d}.png").write_bytes(_png(told, segment))


def _png(told: _Told, segment: Segment) -> bytes:
    path = contained(told.folder, segment.image or "")
    if not path.is_file():
        raise ValueError(f"{path} is named by {told.folder / 'story.json'} but is not there; tell the story again")
    picture = path.read_bytes()
    if not picture.startswith(_PNG):
        raise ValueError(f"{path} is no PNG; tell the story again")
    return picture


def _write_prompts(folder: Path, told: _Told, language: Language) -> None:
    pictures = folder / "image" / _REFERENCE
    pictures.mkdir(parents=True)
    (pictures / "00.png").write_bytes(_png(told, told.story.segments[0]))
    story = {
        "Story_type": {language: "StoryStream"},
        "Characters": {_REFERENCE: _reference(told.story.segments[0].text, language)},
        "Shots": [_prompt(index, shot.text, language) for index, shot in enumerate(told.shots, start=1)],
    }
    (folder / "story.json").write_text(json.dumps(story, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _reference(text: str, language: Language) -> dict[str, object]:
    names = {f"name_{one}": _REFERENCE for one in ("en", language)} | {
        f"prompt_{one}": text for one in ("en", language)
    }
    return {"tag": "non_human", **names, "num_of_appearances": 0}


def _prompt(index: int, text: str, language: Language) -> dict[str, object]:
    """Put a segment's text where its dataset has plot and view; its loader always asks for English names."""
    nobody: list[str] = []
    return {
        "index": index,
        "Plot Correspondence": {language: text},
        "Setting Description": {language: ""},
        "Shot Perspective Design": {language: ""},
        "Characters Appearing": {"en": nobody, language: nobody},
        "Static Shot Description": {language: text},
    }


def _check_replaceable(out_dir: Path, *, force: bool) -> None:
    if not out_dir.exists():
        return
    if not force:
        raise ValueError(
            f"{out_dir} is there already; choose another folder, or replace an earlier export with --force"
        )
    try:
        Export.model_validate(read_json((out_dir / "manifest.json").read_bytes()))
    except (OSError, ValueError):
        raise ValueError(f"{out_dir} is no earlier export; --force replaces nothing else") from None


def _publish(new: Path, out_dir: Path, *, aside: Path) -> None:
    """Move the finished folder to its place; what was there goes aside first, and comes back if that fails."""
    if not out_dir.exists():
        new.rename(out_dir)
        return
    out_dir.rename(aside)
    try:
        new.rename(out_dir)
    except OSError:
        aside.rename(out_dir)
        raise
    shutil.rmtree(aside)


def main(arguments: Sequence[str] | None = None) -> None:
    """Export the run whose folder is the first argument."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.export_vistorybench", description="Write told stories in ViStoryBench's layout."
    )
    parser.add_argument("run_dir", type=Path, help="folder of the run (workspace/<run>)")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--system", action="append", help="<mode>-<policy>, may be repeated; without it, all")
    parser.add_argument("--language", choices=["en", "ch"], default="en", help="of the texts")
    parser.add_argument("--timestamp", help="YYYYMMDD_HHMMSS; without it, now")
    parser.add_argument("--force", action="store_true", help="replace an earlier export")
    asked = parser.parse_args(arguments)
    run = RunFolder(asked.run_dir.resolve())
    options = {"language": asked.language, "timestamp": asked.timestamp, "force": asked.force}
    try:
        if not run.config_path.is_file():
            raise ValueError(f"{run.root} holds no config.yaml; is it a run's folder?")
        found = export(run, asked.out.absolute(), systems=asked.system, **options)
    except (ValueError, OSError) as error:
        sys.exit(f"export: {error}")
    for name, system in found.systems.items():
        shots, without = (sum(getattr(one, key) for one in system.stories) for key in ("shots", "without_picture"))
        left_out = f"; left out: {without} segments without a picture, {len(system.skipped)} stories without any"
        sys.stdout.write(f"{name}: {len(system.stories)} stories, {shots} shots{left_out}\n")


if __name__ == "__main__":
    main()
