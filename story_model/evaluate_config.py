"""The evaluation section of the configuration: what is measured on told stories, and who judges them."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from story_model.price_config import PriceConfig
from story_model.section import Section
from story_model.tell_config import Policy

Protocol = Literal["clean", "legacy-pytorch", "storygpt-v"]


def _without_secrets(address: str) -> str:
    """Refuse an address that holds a user, a password or a query: a configuration is saved, logged and shown."""
    if "@" in address or "?" in address:
        raise ValueError("an address may hold no user, password or query; put keys into STORY_JUDGE_KEYS (environment)")
    return address


Address = Annotated[str, AfterValidator(_without_secrets)]
"""Of an endpoint."""


class NetworksConfig(Section):
    """Trained networks to measure with, each from a place of the user's; without them, fixed random features serve."""

    inception: str | None = None
    """The Inception of 2015 that FID is defined by: the TorchScript file or the weights file that is commonly used."""
    inception_sha256: str | None = None
    """sha256 of that file, where it is neither of the two published ones and you trust it."""
    dino: str | None = None
    """DINOv2, a folder as `transformers` saves it: distances, and likeness of pictures."""
    clip: str | None = None
    """CLIP, a folder as `transformers` saves it: likeness of picture and text."""


class DistancesConfig(Section):
    """How far told pictures are from the dataset's."""

    protocols: tuple[Protocol, ...] = ("clean", "legacy-pytorch", "storygpt-v")
    """How a picture enters Inception (docs/evaluation.md)."""
    resamples: int = Field(1000, ge=0)
    """Draws of whole stories behind each distance's interval."""
    subsets: int = Field(100, ge=1)
    """Random subsets that the kernel distance is averaged over."""
    neighbours: int = Field(3, ge=1)
    """How far, in nearest neighbours, a picture's surroundings reach for precision and recall."""


class JudgeModelConfig(Section):
    """One judge: a model behind an OpenAI-compatible endpoint."""

    model: str
    """Its name there."""
    address: Address | None = None
    """The endpoint; none: STORY_JUDGE_BASE_URL, else STORY_API_BASE_URL."""
    price: PriceConfig = PriceConfig()


class JudgeConfig(Section):
    """The GPT-4-class judge; runs where an endpoint is configured (Settings), else is reported as skipped."""

    model: str | None = None
    """The endpoint's model."""
    address: Address | None = None
    """The endpoint; none: STORY_JUDGE_BASE_URL, else STORY_API_BASE_URL."""
    price: PriceConfig = PriceConfig()
    panel: tuple[JudgeModelConfig, ...] = ()
    """Further judges, who are asked the same; how far they agree is reported."""
    form: Literal["rubric", "published"] = "rubric"
    """`rubric`: pictures between their texts, the opening shown, a score with reasons in an agreed form. `published`:
    SEED-Story's prompts, texts first and then pictures, and a number in double brackets somewhere in the answer."""
    stories: int = Field(16, ge=1)
    """Stories judged per system, where so many were told. With eight, judges alone can decide nothing among the primary
    measures: the smallest p there is is 0.008."""
    segments: int = Field(5, ge=1)
    """Pairs shown to the judge after the opening."""
    repeats: int = Field(1, ge=1)
    """How often each question is asked; more show how steady the judge is."""
    pairs: bool = True
    """Compare the headline system's stories with each other one's, every pair in both orders."""
    anchors: int = Field(4, ge=0)
    """Stories of the dataset, and as many spoiled ones, that are judged each time: they show when the judge changed."""
    self_test: bool = True
    """Judge spoiled copies of the anchors first; a judge that does not see the damage is named as not to be trusted."""
    injections: int = Field(0, ge=0)
    """Spoiled anchors into each of which 52 attempts are put, one at a time, to tell the judge what to say: how many
    succeed is reported. 0 asks nothing of the kind."""
    temperature: float = Field(0.0, ge=0)
    max_tokens: int = Field(800, ge=1)
    """Longest answer."""
    picture_side: int = Field(512, ge=16)
    """Longest side in pixels of the pictures sent."""
    concurrency: int = Field(4, ge=1)
    """Questions that are with an endpoint at once."""
    batch: bool = False
    """Ask the endpoint's Batch API: half the price, an answer within a day."""
    budget_usd: float | None = Field(None, gt=0)
    """Nothing more is asked once this evaluation's answers, those of all judges together, have cost so much; what is
    left counts as not asked. Answers that are with an endpoint at that moment (`concurrency`) still come and cost; one
    out of an earlier run is free. A batch holds what there is room for by estimate."""


class ChampionConfig(Section):
    """How a newly trained run is held against the best one so far."""

    run: str | None = None
    """The run to compare with; none: the one that MLflow's registry calls champion."""
    level: float = Field(0.05, gt=0, lt=1)
    """Chance of a false alarm or a false promotion, over all primary measures together."""
    primary: tuple[str, ...] = (
        "captions_given/character_agrees",
        "captions_given/place_agrees",
        "captions_given/frechet_inception_clean",
        "captions_given/frechet_random_features",
        "free/text_rep_4",
        "judge/style",
        "judge/engaging",
        "judge/coherence",
    )
    """The measures that the verdict over two runs hangs on, `<mode>/<measure>` or `judge/<dimension>`; those that
    neither run has count nothing. Few is better: each further one makes the others' differences harder to show."""


class EvaluateConfig(Section):
    """What is measured on the told stories."""

    headline_policy: Policy = "multimodal_sink"
    """The cache policy whose numbers stand for the run."""
    probe_steps: int = Field(300, ge=1)
    """Training steps of the classifier that names character and place on the drawn series."""
    bootstrap: int = Field(1000, ge=0)
    """Draws of whole stories behind each interval."""
    report_stories: int = Field(4, ge=1)
    """Story strips in the report."""
    reconstruction: bool = True
    """Also paint the dataset's pictures from their own features: as near as any told picture can come."""
    networks: NetworksConfig = NetworksConfig()
    distances: DistancesConfig = DistancesConfig()
    judge: JudgeConfig = JudgeConfig()
    champion: ChampionConfig = ChampionConfig()
    external: tuple[str, ...] = ()
    """Folders of other systems' stories, told from the same openings, that are measured and judged like ours
    (docs/external_systems.md)."""
