"""The layout of a run on disk: the one place that knows which step writes where.

workspace/<run>/
    config.yaml        the resolved RunConfig
    videos/            the drawn series (absent where the user brings videos)
    episodes/<id>/     one decoded episode: shots, candidates with their scores
    transcripts/<id>/  what is spoken in it, where the video itself was asked
    answers/           what the captioning endpoint said
    dataset/           the published StoryStream dataset
    features/          what frozen networks make of pictures: the feature store
    pictures/<source>/ which pictures a source besides the stories has: its index
    model/<part>/      weights: tokenizer, image_encoder, autoencoder, language_model, stage1, stage2, stage3,
                       baseline
    stories/<mode>-<policy>/   told stories; <mode>-captions_alone: the baseline's
    probe/             the classifier that names who and where on the drawn series
    seen/              what evaluation's networks make of pictures
    evaluation/        scores, tables, report.html
    comparisons/<run>/ this run beside an earlier one
    standing.json      where it stands beside the best one so far
    human.json         what people answered on ballots, summed up; ballot_key.json: who told what on them
    summary.json       the run's numbers

workspace/judging/, of all runs alike:
    answers/           the judges' answers, each paid for once
    anchors/           stories that judges are shown in every round
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Part = Literal[
    "tokenizer", "image_encoder", "autoencoder", "language_model", "features", "stage1", "stage2", "stage3", "baseline"
]


@dataclass(frozen=True)
class RunFolder:
    """Paths inside one run's folder; creates nothing."""

    root: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.root.name

    @property
    def config_path(self) -> Path:
        """The resolved configuration (YAML)."""
        return self.root / "config.yaml"

    @property
    def videos_dir(self) -> Path:
        """The drawn series."""
        return self.root / "videos"

    @property
    def episodes_dir(self) -> Path:
        """Decoded episodes, a folder each."""
        return self.root / "episodes"

    @property
    def transcripts_dir(self) -> Path:
        """Lines found in videos' own streams or recognised, a folder an episode."""
        return self.root / "transcripts"

    @property
    def scratch_dir(self) -> Path:
        """Copies of videos that lie elsewhere, for as long as they are read."""
        return self.root / ".scratch"

    @property
    def answers_dir(self) -> Path:
        """What the captioning and narrating endpoint said; it outlives `dataset/`, so that nothing is paid twice."""
        return self.root / "answers"

    @property
    def dataset_dir(self) -> Path:
        """The published dataset."""
        return self.root / "dataset"

    @property
    def features_dir(self) -> Path:
        """The feature store; it outlives the parts, for it goes by the content of pictures and networks."""
        return self.root / "features"

    @property
    def pictures_dir(self) -> Path:
        """Indexes of the pictures that are in no story, a folder a source; they outlive the parts as well."""
        return self.root / "pictures"

    def part_dir(self, part: Part) -> Path:
        """Weights and measurements of one trained part."""
        return self.root / "model" / part

    def told_dir(self, mode: str, policy: str) -> Path:
        """Stories told in one mode under one cache policy."""
        return self.root / "stories" / f"{mode}-{policy}"

    @property
    def probe_dir(self) -> Path:
        """The classifier of the drawn series; it outlives `evaluation/`, emptied when stories are told anew."""
        return self.root / "probe"

    @property
    def seen_dir(self) -> Path:
        """What networks that measure make of pictures; it outlives `evaluation/`, so that each is looked at once."""
        return self.root / "seen"

    @property
    def judge_dir(self) -> Path:
        """The judges' answers, of all runs of the workspace: what one has asked is asked by no other."""
        return self.root.parent / "judging" / "answers"

    @property
    def anchors_dir(self) -> Path:
        """Stories that judges are shown in every round, of all runs of the workspace."""
        return self.root.parent / "judging" / "anchors"

    @property
    def evaluation_dir(self) -> Path:
        """Scores, tables and the report."""
        return self.root / "evaluation"

    @property
    def human_path(self) -> Path:
        """What people answered on ballots, summed up."""
        return self.root / "human.json"

    @property
    def ballot_key_path(self) -> Path:
        """Who told what on the run's ballots; raters must not see it."""
        return self.root / "ballot_key.json"

    @property
    def report_path(self) -> Path:
        """The self-contained HTML report."""
        return self.evaluation_dir / "report.html"

    def comparison_dir(self, other: str) -> Path:
        """This run beside another one, by its name."""
        return self.root / "comparisons" / other

    @property
    def standing_path(self) -> Path:
        """Where the run stands beside the champion (JSON)."""
        return self.root / "standing.json"

    @property
    def summary_path(self) -> Path:
        """The run's numbers (JSON)."""
        return self.root / "summary.json"


def run_folder(workspace: Path, name: str) -> RunFolder:
    """Name the folder of a run.

    Raises:
        ValueError: the name would leave the workspace.
    """
    if not name or name in {".", ".."} or Path(name).name != name:
        raise ValueError(f"run name {name!r} is not a plain folder name")
    return RunFolder((workspace / name).resolve())


def contained(root: Path, name: str) -> Path:
    """Join a name that came from data to a folder of ours.

    Windows separators are taken as separators; symbolic links are resolved before the check.

    Raises:
        ValueError: the result lies outside `root`.
    """
    path = (root / name.replace("\\", "/")).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError(f"path {name!r} leaves {root}")
    return path
