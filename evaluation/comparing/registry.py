"""MLflow's model registry as a list of pointers to evaluated runs: nothing is copied, aliases say which one counts.

A version stands for one state of a run's folder: its weights, and the stories that they told. `candidate` is the one
evaluated last, `champion` the best so far.
"""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from evaluation.comparing.sides import Evaluated, config_sha256
from story_model.config import Settings
from story_model.manifest import read_manifest

log = logging.getLogger(__name__)

Alias = Literal["candidate", "champion"]
RUN, FOLDER, STATE = "storystream.run", "storystream.folder", "storystream.state"
VERDICT, REGRESSION = "storystream.verdict", "storystream.regression"
_NOT_IN_A_NAME = str.maketrans("/:'", "---")
"""MLflow forbids the first two in a model's name; the third would end it in a search."""
_DESCRIPTION = "Evaluated runs of StoryStream, as pointers to their folders. `champion` is the best so far."


class Registry:
    """One registered model, named like the experiment."""

    def __init__(self, settings: Settings) -> None:
        """Name the store and the model; nothing is asked yet."""
        self.client = MlflowClient(settings.tracking_uri)
        self.name = settings.experiment.translate(_NOT_IN_A_NAME)
        self._is_server = settings.tracking_uri.startswith("http")

    def register(self, one: Evaluated, *, page: str) -> ModelVersion:
        """Find the version that stands for a run as it is now, or make it; its tags are brought up to date.

        `page`: MLflow run of the run's folder, to which the version leads where that of its evaluation is not known.
        """
        self._open()
        tags = tags_of(one)
        for version in self.client.search_model_versions(f"name='{self.name}'"):
            if all(version.tags.get(name) == tags[name] for name in (FOLDER, STATE)):
                self.tag(version, tags)
                return version
        run_id = self._known_run(one.evaluation.tracking_run_id) or page
        # A server takes no folder outside of its artifacts for a source; the tag points there all the same.
        source = f"runs:/{run_id}/" if self._is_server else tags[FOLDER]
        version = self.client.create_model_version(self.name, source, run_id=run_id, tags=tags)
        log.info("%s is version %s of %s in MLflow's registry", one.run.name, version.version, self.name)
        return version

    def pointed(self, alias: Alias) -> ModelVersion | None:
        """Look up the version that an alias names; none where none has it."""
        version = self._aliases().get(alias)
        return None if version is None else self.client.get_model_version(self.name, str(version))

    def point(self, alias: Alias, version: ModelVersion) -> None:
        """Let an alias name a version."""
        if str(self._aliases().get(alias)) != str(version.version):
            self.client.set_registered_model_alias(self.name, alias, str(version.version))
            log.info("%s of %s is now version %s", alias, self.name, version.version)

    def tag(self, version: ModelVersion, tags: Mapping[str, str | None]) -> None:
        """Set tags of a version, and take those away that are none."""
        known = self.client.get_model_version(self.name, str(version.version)).tags
        for name, value in tags.items():
            if value is None and name in known:
                self.client.delete_model_version_tag(self.name, str(version.version), name)
            elif value is not None and known.get(name) != value:
                self.client.set_model_version_tag(self.name, str(version.version), name, value)

    def _open(self) -> None:
        try:
            self.client.get_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            self.client.create_registered_model(self.name, description=_DESCRIPTION)

    def _aliases(self) -> Mapping[str, object]:
        aliases: Mapping[str, object] = self.client.get_registered_model(self.name).aliases
        return aliases

    def _known_run(self, run_id: str | None) -> str | None:
        """Keep the id of a run that this store holds; a folder may come from elsewhere."""
        if run_id is None:
            return None
        try:
            self.client.get_run(run_id)
        except MlflowException:
            log.warning("MLflow does not hold run %s, which evaluated the stories; the version stands alone", run_id)
            return None
        return run_id


def tags_of(one: Evaluated) -> dict[str, str]:
    """Say what a version stands for."""
    return {
        RUN: one.run.name,
        FOLDER: one.run.root.as_uri(),
        STATE: state_of(one),
        "storystream.dataset_digest": one.dataset.digest,
        "storystream.config_sha256": config_sha256(one.config),
        "storystream.evaluation_digest": one.evaluation.digest,
    }


def state_of(one: Evaluated) -> str:
    """Name the weights in a run's folder and the stories that they told by their content."""
    folders: list[Path] = [*sorted((one.run.root / "model").glob("*")), *one.told().values()]
    found = ((folder, read_manifest(folder)) for folder in folders)
    lines = [f"{folder.relative_to(one.run.root)} {manifest.digest}" for folder, manifest in found if manifest]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
