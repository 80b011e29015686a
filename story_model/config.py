"""RunConfig (what to do) and Settings (where, and with which keys): nothing is configured anywhere else.

RunConfig's sections besides the networks are in files of their own: `build_config.py`, `train_config.py`,
`tell_config.py`, `evaluate_config.py`.

A run's configuration is a preset (`presets/*.yaml`) with `section.key=value` overrides, frozen and checked before any
work starts, saved beside the run and logged with it. Modules never see it: they are handed plain numbers.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from story_model.build_config import BuildConfig, CartoonConfig
from story_model.evaluate_config import EvaluateConfig
from story_model.overrides import apply_overrides, explain, suggest
from story_model.section import Section
from story_model.tell_config import TellConfig
from story_model.train_config import TrainConfig

PRESETS_DIR = Path(__file__).parent / "presets"
_PACKAGE_PARENT = Path(__file__).resolve().parents[1]
PROJECT_DIR = _PACKAGE_PARENT if (_PACKAGE_PARENT / "pyproject.toml").exists() else Path.cwd()


# ---------------------------------------------------------------------------------------------------- the networks


Transform = Literal["squash", "crop"]


class ImageEncoderConfig(Section):
    """Vision transformer with attention pooling: picture -> num_queries x output_dim features."""

    image_size: int = 64
    """Side of the input in pixels."""
    transform: Transform = "squash"
    """How a picture becomes square. `squash`: both sides scaled, bilinear, as SEED-Story trains and tells. `crop`: the
    shorter side scaled, bilinear, and the middle cut out, as its stage 3 does."""
    patch_size: int = 8
    """Pixels."""
    width: int = 128
    """Of the transformer."""
    layers: int = 4
    """Transformer blocks."""
    heads: int = 4
    """Attention heads of the blocks."""
    mlp_ratio: float = 4.0
    """Hidden width of the MLPs over `width`."""
    num_queries: int = 16
    """Feature vectors of a picture; a square number."""
    output_dim: int = 128
    """Width of a feature vector."""
    pool_heads: int = 4
    """Attention heads of the pooling."""


class LanguageModelConfig(Section):
    """LLaMA."""

    vocab_size: int = 512
    """Words of the tokenizer trained on the dataset; the image tokens come on top."""
    hidden_size: int = 128
    """Width."""
    intermediate_size: int = 384
    """Hidden width of the MLPs."""
    layers: int = 4
    """Transformer blocks."""
    heads: int = 4
    """Attention heads."""
    max_positions: int = 2048
    """Longest sequence that the position code is asked for."""
    rms_norm_eps: float = 1e-5
    """Of the norms."""


class LoraConfig(Section):
    """Low-rank adapters on q, k, v, o, gate, up and down."""

    rank: int = 16
    """Of the update."""
    alpha: int = 32
    """The update is scaled by alpha / rank."""
    dropout: float = 0.05
    """On the adapter's input."""


class MllmConfig(Section):
    """The language model that also reads and predicts pictures."""

    language_model: LanguageModelConfig = LanguageModelConfig()
    lora: LoraConfig | None = LoraConfig()
    """None: a plain LLaMA, such as one whose LoRA was merged."""
    num_image_tokens: int = 9
    """Tokens of a picture inside the language model; a square number."""
    resampler_heads: int = 4
    """Attention heads of the input and output resamplers."""


class DetokenizerConfig(Section):
    """SD-XL UNet conditioned on image features through a Perceiver resampler."""

    picture_size: int = 64
    """Side of the pictures in pixels."""
    transform: Transform = "squash"
    """How a picture becomes square. `crop` (SD-XL's): the shorter side scaled, bicubic, and the middle cut out."""
    autoencoder: Literal["linear", "sdxl"] = "linear"
    """Pictures <-> latents. `linear`: principal components fitted to the dataset. `sdxl`: SD-XL's own, pretrained."""
    latent_channels: int = 8
    """Of the autoencoder's latents."""
    latent_factor: int = 4
    """Pixels a latent covers, along one side."""
    unet_channels: tuple[int, ...] = (48, 96, 128)
    """Width of each resolution."""
    unet_layers: int = 1
    """ResNet blocks of each resolution."""
    unet_heads: tuple[int, ...] = (2, 4, 4)
    """Attention heads of each resolution."""
    unet_transformer_layers: tuple[int, ...] = (1, 1, 1)
    """Transformer blocks of each resolution."""
    norm_groups: int = 16
    """Groups of the UNet's group norms."""
    resampler_dim: int = 128
    """Width of the Perceiver resampler."""
    resampler_depth: int = 2
    """Its layers."""
    resampler_heads: int = 4
    """Its attention heads."""
    resampler_head_dim: int = 32
    """Width of one of its heads."""
    num_queries: int = 16
    """Tokens that condition the UNet."""
    prompt_dims: tuple[int, int] = (48, 80)
    """Widths of the two projections that together replace SD-XL's two text encoders; the second is also the pooled
    embedding's."""
    variant: Literal["seed-story", "seed-x"] = "seed-story"
    """How features enter the resampler. `seed-story`: all of them, L2-normalised over the tokens. `seed-x`: pooled four
    to one, as they are; its published weights have the same names and shapes and mean something else."""
    input_scale: float = 1.0
    """Factor on the initial weights of the resampler's input projection. Features enter it L2-normalised over their
    tokens, hence small; a network trained from scratch in few steps needs them larger."""
    time_id_dim: int = 8
    """Width of the embedding of each of SD-XL's six size numbers."""
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon"
    """What the UNet predicts."""
    timestep_power: float = Field(1.0, gt=0)
    """Training timesteps are drawn as T (1 - u^power): 1 is uniform, more draws high noise more often, where the
    features decide what the picture shows."""


class ModelConfig(Section):
    """All networks."""

    image_encoder: ImageEncoderConfig = ImageEncoderConfig()
    mllm: MllmConfig = MllmConfig()
    detokenizer: DetokenizerConfig = DetokenizerConfig()


# ---------------------------------------------------------------------------------------------------------- a run


class RunConfig(Section):
    """Everything that decides what a run computes."""

    preset: str
    """The preset this came from."""
    seed: int = 0
    """Of all training and telling."""
    cartoon: CartoonConfig = CartoonConfig()
    build: BuildConfig = BuildConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    tell: TellConfig = TellConfig()
    evaluate: EvaluateConfig = EvaluateConfig()


def preset_names() -> list[str]:
    """List the presets that ship with the package."""
    return sorted(path.stem for path in PRESETS_DIR.glob("*.yaml"))


def load_config(preset: str, overrides: Iterable[str] = ()) -> RunConfig:
    """Resolve a preset and `section.key=value` overrides (values are YAML).

    Raises:
        ValueError: the preset, a key or a value is unknown or wrong; the message names the nearest right one.
    """
    if preset not in preset_names():
        raise ValueError(f"no preset {preset!r}; {suggest(preset, preset_names())}")
    tree: dict[str, Any] = yaml.safe_load((PRESETS_DIR / f"{preset}.yaml").read_text()) or {}
    tree["preset"] = preset
    apply_overrides(tree, overrides)
    return _validate(tree)


def override_config(config: RunConfig, overrides: Iterable[str]) -> RunConfig:
    """Change a resolved configuration by `section.key=value` overrides.

    Raises:
        ValueError: as `load_config`.
    """
    tree = config.model_dump(mode="json")
    apply_overrides(tree, overrides)
    return _validate(tree)


def read_config(path: Path) -> RunConfig:
    """Read a saved configuration.

    Raises:
        ValueError: the file does not hold a valid configuration.
    """
    try:
        return _validate(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path}: {reason}. Another version may have saved it: make the run again with its preset, or mend it"
        ) from None


def save_config(config: RunConfig, path: Path) -> None:
    """Write the resolved tree as YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def _validate(tree: Any) -> RunConfig:  # noqa: ANN401 - whatever the YAML held
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ValueError(explain(error, RunConfig)) from None


Device = Literal["auto", "cpu", "cuda"]


class Settings(BaseSettings):
    """Where things are and the keys to them: environment `STORY_*` or `.env`. Never saved, logged or passed on."""

    model_config = SettingsConfigDict(
        env_prefix="STORY_",
        env_file=".env",
        extra="ignore",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # it may be a key
    )

    workspace: Path = PROJECT_DIR / "workspace"
    """Folder of all runs."""
    pretrained: Path = PROJECT_DIR / "pretrained"
    """Folder of published weights, laid out as SEED-Story's README says (see `train.pretrained`)."""
    pictures: Path = PROJECT_DIR / "pictures"
    """Folder of pictures besides the stories', a folder a source (see `train.stage1.sources`)."""
    store: str | None = None
    """Where finished steps and paid answers are kept besides the workspace, so that another machine goes on with them:
    an fsspec URL such as s3://bucket/prefix (its keys come from the environment, see `store.py`) or file:///mnt/x."""
    cluster: str | None = None
    """Dask scheduler (tcp://host:8786) or Ray head (ray://host:10001) for `build.runner` dask and ray; none: a cluster
    on this machine for as long as the run lasts."""
    device: Device = "auto"
    """What networks compute on; `auto`: a GPU where there is one."""
    tracking_uri: str = f"sqlite:///{PROJECT_DIR / 'mlflow.db'}"
    """MLflow's store: the one that a bare `mlflow ui` in the project folder opens."""
    experiment: str = "storystream"
    """MLflow's experiment."""
    launcher: str = ""
    """Command that runs what follows it on every node, for a training over several: `{nodes}` and `{processes}` (of
    each) stand for their numbers. The nodes meet where each one's PET_RDZV_ENDPOINT says."""
    api_base_url: str | None = None
    """OpenAI-compatible endpoint for captions, narratives and the judge."""
    api_key: SecretStr = SecretStr("")
    """Its key."""
    judge_base_url: str | None = None
    """OpenAI-compatible endpoint of the judge, where it is another one."""
    judge_api_key: SecretStr = SecretStr("")
    """Its key."""
    judge_keys: dict[str, SecretStr] = Field({})
    """Keys of further judges by their endpoint's address, as JSON: {"https://host/v1": "key"}."""
