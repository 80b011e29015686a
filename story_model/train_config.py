"""The training sections of the configuration: what each part is trained with, and how it is spread over machines."""

from typing import Literal

from pydantic import Field, model_validator

from story_model.section import Section


class OptimizerConfig(Section):
    """AdamW with linear warm-up and cosine decay, counted in optimizer steps."""

    learning_rate: float = Field(1e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    warmup_steps: int = Field(0, ge=0)
    min_lr_ratio: float = Field(0.05, ge=0, le=1)
    """Learning rate at the end over its peak."""
    max_grad_norm: float = 1.0


Precision = Literal["float32", "bfloat16"]


class GuardConfig(Section):
    """What a training run does about steps that would spoil its weights."""

    max_bad_steps: int = Field(10, ge=1)
    """Skipped steps in a row after which it stops."""
    spike_deviations: float = Field(8.0, gt=0)
    """A loss is a spike, and left out, where its logarithm is so many (robust) standard deviations above the median of
    the last ones."""
    spike_window: int = Field(50, ge=5)
    """Losses that the median is taken over; before so many are known nothing is a spike."""


class StageConfig(Section):
    """One training run of the loop."""

    steps: int = Field(ge=1)
    """Optimizer steps."""
    batch_size: int = Field(ge=1)
    """Samples a step."""
    optimizer: OptimizerConfig = OptimizerConfig()
    checkpoint_every: int = Field(100, ge=1)
    """Steps between checkpoints."""
    keep_checkpoints: int = Field(2, ge=1)
    """Newest checkpoints that are kept."""
    keep_best: bool = False
    """Measure the held-out loss at each checkpoint, keep the best one as well, and end with its weights."""
    log_every: int = Field(10, ge=1)
    """Steps between logged losses."""
    precision: Precision = "float32"
    """Of the arithmetic. What is trained is held in float32 either way."""
    guards: GuardConfig = GuardConfig()


class PictureSourceConfig(Section):
    """Pictures of no story that the de-tokenizer is trained on as well."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Of its folder below STORY_PICTURES: picture files, `.tar` shards of them, Parquet files with a column of them."""
    weight: float = Field(1.0, gt=0)
    """How often each of its pictures is drawn, over how often a story's is."""


class Stage1Config(StageConfig):
    """The de-tokenizer's stage."""

    sources: tuple[PictureSourceConfig, ...] = ()
    """Pictures besides the stories'; one that several have is the first one's."""
    min_side: int = Field(128, ge=1)
    """Pixels of a source's smallest picture, along its shorter side."""
    max_aspect: float = Field(5.0, ge=1)
    """Longer side over the shorter one, of a source's narrowest picture."""

    @model_validator(mode="after")
    def _names_differ(self) -> "Stage1Config":
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"sources: {', '.join(names)}: each is named once; its weight says how often it is drawn")
        return self


class Stage2Config(StageConfig):
    """The language model's stage."""

    sequences: Literal["all_targets", "prefix"] = "all_targets"
    """What is supervised of a chunk. `prefix`: its beginning up to a random pair, that pair alone, as SEED-Story does.
    `all_targets`: every pair but the first in one pass; the sum over all of a chunk's prefixes."""


class BaselineConfig(StageConfig):
    """The baseline: latent diffusion from captions alone, LoRA on stage 1's UNet."""

    rank: int = Field(16, ge=1)
    """Of the LoRA on the UNet's attention."""
    alpha: int = Field(16, ge=1)
    """The update is scaled by alpha / rank."""
    max_words: int = Field(77, ge=1)
    """Tokens of a caption that are read; the rest is cut off, as SD-XL's text encoders do at 77."""
    caption_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the captions that are hidden in training; telling with guidance goes away from that."""


class FeatureStoreConfig(Section):
    """What frozen networks make of each unique picture, computed once and kept."""

    enabled: bool = True
    """Off: computed anew by every part that needs it."""
    dtype: Literal["bfloat16", "int8"] = "bfloat16"
    """Of stored features. `int8`: one scale a feature vector; half the disk."""
    shard_pictures: int = Field(512, ge=1)
    """Pictures of one file; also what a killed run may have to compute again."""


class LaunchConfig(Section):
    """How a part is spread over a machine. Nothing here changes what is computed, but for rounding."""

    processes: int = Field(1, ge=1)
    """Processes on each node, one a GPU."""
    nodes: int = Field(1, ge=1)
    """Machines; more than one are started by the cluster (see `infra/`)."""
    micro_batch_size: int | None = Field(None, ge=1)
    """Samples that a process computes at once; none: its whole share of a batch."""
    engine: Literal["torch", "deepspeed"] = "torch"
    """`torch`: a copy of the network in each process. `deepspeed`: ZeRO shares out what a copy holds."""
    zero_stage: Literal[1, 2, 3] = 2
    """What DeepSpeed shares out: 1 the optimizer's state, 2 gradients too, 3 parameters too."""
    offload: bool = False
    """DeepSpeed holds the optimizer's state (and at stage 3 the parameters) in the CPU's memory."""
    activation_checkpointing: Literal["none", "selective", "full"] = "none"
    """What of a forward pass is computed again in the backward pass: nothing, all but matrix products, all."""
    stall_timeout_s: float = Field(1800.0, gt=0)
    """Seconds without a step after which a process writes where it stands and ends."""


class LaunchesConfig(Section):
    """How each trained part is spread."""

    image_encoder: LaunchConfig = LaunchConfig()
    language_model: LaunchConfig = LaunchConfig()
    stage1: LaunchConfig = LaunchConfig()
    stage2: LaunchConfig = LaunchConfig()
    stage3: LaunchConfig = LaunchConfig()
    baseline: LaunchConfig = LaunchConfig()
    side_by_side: bool = True
    """Train at once what does not build on one another; off where all of it would want the same GPUs."""

    def of(self, part: str) -> LaunchConfig:
        """How a part is spread: encoding pictures like stage 2, parts that are fitted or read in one process."""
        launch: LaunchConfig = getattr(self, "stage2" if part == "features" else part, LaunchConfig())
        return launch


class PretrainedConfig(Section):
    """Parts that others have trained: the published files below STORY_PRETRAINED, or parts of another run."""

    run: str | None = None
    """Run of the workspace that they come from; none: the files as published."""
    taken_over: tuple[Literal["tokenizer", "image_encoder", "autoencoder", "language_model", "stage1"], ...] = ()
    """Parts that are taken as they are in place of being trained. Published are Qwen-VL's image encoder, SD-XL's
    autoencoder, LLaMA-2 with SEED-Story's tokenizer, and as `stage1` SEED-Story's de-tokenizer before adaptation."""
    starts: tuple[Literal["stage1", "stage2"], ...] = ()
    """Stages that start from such weights, not from fresh ones. Published are for `stage1` SD-XL's UNet, under a fresh
    resampler, and for `stage2` SEED-X's language model, LoRA and resamplers included."""

    @model_validator(mode="after")
    def _fit_together(self) -> "PretrainedConfig":
        if "language_model" in self.taken_over and "tokenizer" not in self.taken_over:
            raise ValueError("a language_model is taken over with its tokenizer; name both")
        if "stage1" in self.taken_over and "stage1" in self.starts:
            raise ValueError("stage1 is either taken over or starts from something")
        return self


class TrainConfig(Section):
    """The frozen parts, then the three stages and the baseline."""

    threads: int = Field(2, ge=1)
    """Threads of a training process. Two on two idle cores gain 10-15 %; with a busy neighbour they cost four-fold."""
    pretrained: PretrainedConfig = PretrainedConfig()
    image_encoder: StageConfig = StageConfig(steps=100, batch_size=32)
    """Pretraining of the frozen encoder by reconstruction (presets without pretrained weights)."""
    language_model: StageConfig = StageConfig(steps=100, batch_size=16)
    """Pretraining of the language model on the training stories' text (likewise)."""
    stage1: Stage1Config = Stage1Config(steps=100, batch_size=16)
    stage2: Stage2Config = Stage2Config(steps=100, batch_size=16)
    stage3: StageConfig = StageConfig(steps=100, batch_size=16)
    baseline: BaselineConfig | None = None
    """What stories are compared with: pictures from captions alone. None: it is neither trained nor told with."""
    features: FeatureStoreConfig = FeatureStoreConfig()
    bad_records: Literal["raise", "skip"] = "raise"
    """What becomes of a story that cannot be read: the run ends, or it is left out and counted."""
    subset_weights: dict[str, float] = Field(default_factory=dict)
    """How often a subset's stories are drawn, over how often they would be by their number; 1 where not named."""
    launch: LaunchesConfig = LaunchesConfig()
    reconstruction_steps: int = Field(20, ge=1)
    """Sampler steps of the pictures that stage 1 and 3 are measured on."""
    validation_samples: int = Field(64, ge=1)
    """Held-out pictures or chunks that each stage is measured on."""
