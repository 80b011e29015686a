"""The two runs of a comparison as they lie on disk: finished evaluations, their values, what decided them."""

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from story_model.config import RunConfig, read_config
from story_model.manifest import Manifest, intact, read_manifest
from story_model.strict_json import read_json
from story_model.workspace import RunFolder

VALUES = "values.parquet"
_COLUMNS = ("mode", "policy", "story_id", "index", "measure", "value")


class _SelfTest(BaseModel):
    dimensions: dict[str, bool] = {}


class _Judge(BaseModel):
    self_tests: dict[str, _SelfTest] = {}


class _Measured(BaseModel):
    """The part of `scores.json` that says what a run was measured with, and which judges see damage."""

    networks: dict[str, str] = {}
    judge: _Judge = _Judge()


StoryValues = dict[str, dict[int, float]]
"""Of one measure of one system, by story and index; index 0 is the story as a whole."""
RunValues = dict[tuple[str, str], dict[str, StoryValues]]
"""By (mode, policy) and measure."""


class Side(BaseModel):
    """Where the numbers of one of the two runs come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str
    preset: str
    seed: int
    headline_policy: str
    values_sha256: str
    """Of everything that was measured on it."""
    dataset_digest: str
    config_sha256: str
    code_version: str
    """That evaluated it."""


class ConfigChange(BaseModel):
    """A setting in which the runs differ."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    left: str | None
    """None where the run's configuration does not have it."""
    right: str | None


@dataclass(frozen=True)
class Evaluated:
    """A run whose evaluation is finished and whole."""

    run: RunFolder
    config: RunConfig
    evaluation: Manifest
    dataset: Manifest

    @property
    def headline_policy(self) -> str:
        """The cache policy whose numbers stand for the run."""
        return self.config.evaluate.headline_policy

    def told(self) -> dict[str, Path]:
        """Give the folder of the headline policy's stories in each mode, by the mode's name."""
        return {mode: self.told_dir(mode) for mode in self.config.tell.modes}

    def told_dir(self, mode: str) -> Path:
        """Stories told under the headline policy."""
        return self.run.told_dir(mode, self.headline_policy)


def open_evaluated(root: Path) -> Evaluated:
    """Open a run's folder whose evaluation can be compared.

    Raises:
        ValueError: there is no such run, or its evaluation is unfinished, damaged, or of an earlier version.
    """
    run = RunFolder(root.resolve())
    again = f"run `python -m evaluation.report {run.root}` first"
    if not run.config_path.is_file():
        raise ValueError(f"{run.root} holds no config.yaml; is it a run's folder?")
    evaluation, dataset = read_manifest(run.evaluation_dir), read_manifest(run.dataset_dir)
    if evaluation is None:
        raise ValueError(f"the evaluation of {run.root} is not finished; {again}")
    if not intact(run.evaluation_dir, evaluation):
        raise ValueError(f"files of {run.evaluation_dir} are missing or cut short; {again}")
    if VALUES not in evaluation.files:
        raise ValueError(f"{run.evaluation_dir} has no {VALUES}: an earlier version made it; {again}")
    if dataset is None:
        raise ValueError(f"{run.dataset_dir} is not finished; build the dataset of run {run.name} first")
    changed = [name for name, folder in _read_by(run, evaluation).items() if _digest(folder) != evaluation.inputs[name]]
    if changed:
        raise ValueError(f"{' and '.join(changed)} of {run.root} changed since it was evaluated; {again}")
    return Evaluated(run, read_config(run.config_path), evaluation, dataset)


def side_of(one: Evaluated) -> Side:
    """Say where a run's numbers come from."""
    return Side(
        run=one.run.name,
        preset=one.config.preset,
        seed=one.config.seed,
        headline_policy=one.headline_policy,
        values_sha256=one.evaluation.files[VALUES].sha256,
        dataset_digest=one.dataset.digest,
        config_sha256=config_sha256(one.config),
        code_version=one.evaluation.code_version,
    )


def config_sha256(config: RunConfig) -> str:
    """Name a configuration by its content."""
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()


def config_changes(left: RunConfig, right: RunConfig) -> list[ConfigChange]:
    """List the settings in which two configurations differ, by their dotted names."""
    ours, theirs = _flat(left.model_dump(mode="json")), _flat(right.model_dump(mode="json"))
    names = [name for name in dict.fromkeys([*ours, *theirs]) if ours.get(name) != theirs.get(name)]
    return [ConfigChange(key=name, left=ours.get(name), right=theirs.get(name)) for name in names]


def read_values(one: Evaluated) -> RunValues:
    """Read every measured value of a run.

    Raises:
        ValueError: the table is of another form.
    """
    path = one.run.evaluation_dir / VALUES
    try:
        rows = pq.read_table(path, columns=list(_COLUMNS)).to_pylist()
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} cannot be read ({reason}); evaluate the run again") from None
    found: RunValues = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for row in rows:
        if any(row[name] is None for name in _COLUMNS):
            raise ValueError(f"{path} has a row with missing entries: {row}; evaluate the run again")
        found[row["mode"], row["policy"]][row["measure"]][row["story_id"]][row["index"]] = row["value"]
    return found


def networks_that_differ(left: Evaluated, right: Evaluated) -> list[str]:
    """Name the networks that both runs were measured with, but with other weights.

    Raises:
        ValueError: a run's scores cannot be read.
    """
    ours, theirs = _measured(left).networks, _measured(right).networks
    return sorted(name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name])


def judges_who_miss_damage(one: Evaluated) -> dict[str, list[str]]:
    """Name, by dimension, the judges who failed a run's self-test in it.

    Raises:
        ValueError: the run's scores cannot be read.
    """
    found: dict[str, list[str]] = {}
    for judge, test in _measured(one).judge.self_tests.items():
        for dimension, passed in test.dimensions.items():
            if not passed:
                found.setdefault(dimension, []).append(judge)
    return found


def _measured(one: Evaluated) -> _Measured:
    path = one.run.evaluation_dir / "scores.json"
    try:
        return _Measured.model_validate(read_json(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); evaluate the run again") from None


def _read_by(run: RunFolder, evaluation: Manifest) -> dict[str, Path]:
    """Name the dataset and the stories that an evaluation read."""
    told = {name: run.root / name for name in evaluation.inputs if name.startswith("stories/")}
    return told | ({"dataset": run.dataset_dir} if "dataset" in evaluation.inputs else {})


def _digest(folder: Path) -> str | None:
    manifest = read_manifest(folder)
    return manifest.digest if manifest else None


def _flat(tree: object, prefix: str = "") -> dict[str, str]:
    if isinstance(tree, dict) and tree:
        nested = (_flat(value, f"{prefix}.{name}" if prefix else str(name)) for name, value in tree.items())
        return {name: value for part in nested for name, value in part.items()}
    return {prefix: str(tree)}
