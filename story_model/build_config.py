"""Videos -> dataset: what can be configured of it (a part of `config.py`'s RunConfig)."""

from typing import Literal

from pydantic import Field, model_validator

from story_model.price_config import PriceConfig
from story_model.section import Section

Detector = Literal["adaptive", "content", "hash", "histogram", "transnetv2"]
TranscriptSource = Literal["file", "embedded", "speech"]
Runner = Literal["threads", "processes", "dask", "ray"]


class CartoonConfig(Section):
    """The drawn series that stands in for videos where the user has none."""

    episodes: int = Field(24, ge=2)
    """Episodes to draw."""
    shots_per_episode: int = Field(60, ge=4)
    """Shots of each episode, title card and credits not counted."""
    width: int = Field(320, ge=64, multiple_of=2)
    """Pixels."""
    height: int = Field(180, ge=64, multiple_of=2)
    """Pixels."""
    fps: int = Field(12, ge=4)
    """Frames a second; drawings are held for two frames."""
    shot_s: float = Field(2.0, gt=0.5)
    """Mean length of a shot in seconds."""
    seed: int = 0
    """Two series of one seed are equal to the byte."""


class DecodeConfig(Section):
    """Limits on what one video may cost."""

    timeout_s: float = Field(1800.0, gt=0)
    """Wall seconds for one episode, decoded in a child process."""
    max_pixels: int = Field(4096 * 2304, ge=1)
    """Largest frame (width x height)."""
    max_duration_s: float = Field(4 * 3600.0, gt=0)
    """Longest episode."""
    max_memory_gb: float = Field(4.0, gt=0)
    """Address space that decoding may take beyond what its libraries reserve."""
    max_corrupt_ratio: float = Field(0.2, ge=0, le=1)
    """Share of corrupt frames above which an episode is set aside."""


class ShotsConfig(Section):
    """Where one shot ends and the next begins. A change here decodes anew."""

    detector: Detector = "adaptive"
    """`adaptive`: ours, change against the changes nearby (`decoding/cuts.py`). `content`, `hash`, `histogram`:
    PySceneDetect's. `transnetv2`: that network (extra `transnetv2`, `weights`)."""
    threshold: float | None = None
    """The detector's own threshold; none: its default."""
    min_shot_s: float = Field(0.6, gt=0)
    """Shorter shots are merged with their neighbour (seconds)."""
    weights: str | None = None
    """TransNetV2 as an ONNX file."""


class CandidatesConfig(Section):
    """Which frames of a shot are looked at and stored with their scores. A change here decodes anew."""

    per_shot: int = Field(5, ge=1)
    """Frames of a shot that are scored, twice as many at most in a long one."""
    every_s: float = Field(2.0, gt=0)
    """A shot at least twice this long gives a keyframe for each such stretch of it (seconds), as far as its candidates
    reach."""
    margin_s: float = Field(0.15, ge=0)
    """Distance kept from both cuts (seconds): encoders blend neighbouring shots there."""
    max_side: int = Field(1024, ge=64)
    """Longest side of a stored picture in pixels; larger ones are scaled down."""
    jpeg_quality: int = Field(95, ge=1, le=100)
    """Of the stored pictures."""


class AppealConfig(Section):
    """A CLIP-class network's opinion of a picture: how much nearer it is to one text than to another (0-1)."""

    folder: str | None = None
    """The network, as `transformers` saves it; none: no opinion is asked for."""
    liked: str = "a clear, detailed illustration"
    disliked: str = "a blurry, empty or garbled picture"
    min_score: float = Field(0.5, ge=0, le=1)
    """Frames below it are dropped."""


class FiltersConfig(Section):
    """Which candidates are unfit to stand for their shot. Scores are stored: a change here decodes nothing again."""

    min_sharpness: float = Field(20.0, ge=0)
    """Variance of the Laplacian of the luma below which a frame counts as blurred."""
    min_luma: float = Field(16.0, ge=0, le=255)
    """Mean luma (0-255) below which a frame counts as black."""
    max_luma: float = Field(245.0, ge=0, le=255)
    """Mean luma above which a frame counts as white."""
    min_contrast: float = Field(8.0, ge=0)
    """Standard deviation of the luma below which a frame counts as flat."""
    max_fade: float = Field(0.4, ge=0, le=1)
    """Change of the contrast over the half second around a frame, as a share, above which it lies in a fade."""
    max_text: float = Field(0.12, ge=0, le=1)
    """Share of the picture covered by lines of text above which it is a title card or credits."""
    duplicate_distance: int = Field(2, ge=0, le=64)
    """Frames of one episode whose perceptual hashes differ in at most this many of 64 bits are near-duplicates."""
    across_episodes_distance: int | None = Field(0, ge=0, le=64)
    """Likewise for frames of different episodes; none: pictures may come again in other episodes."""
    recurring_distance: int = Field(4, ge=0, le=64)
    """Bits in which pictures of an opening or of credits differ at most from episode to episode."""
    recurring_episodes: int = Field(3, ge=2)
    """A picture near the start or end that so many episodes share belongs to an opening or to credits."""
    recurring_edge: float = Field(0.15, ge=0, le=0.5)
    """Share of an episode at its start and its end in which openings and credits are looked for."""
    appeal: AppealConfig = AppealConfig()


class TranscriptsConfig(Section):
    """What is spoken."""

    sources: tuple[TranscriptSource, ...] = ("file", "embedded")
    """Where lines are looked for; the first that has some is taken. `file`: beside the video (`x.srt`, `x.en.vtt`,
    `x.ass`). `embedded`: subtitle streams in the video. `speech`: recognised by the network in `speech_folder`."""
    language: str | None = None
    """Preferred language (`en`, `ja`) where there are several."""
    speech_folder: str | None = None
    """A speech recognition network, as `transformers` saves it (extra `speech`)."""
    speech_timeout_s: float = Field(4 * 3600.0, gt=0)
    """Wall seconds that recognition of one episode may take."""


class CaptionsConfig(Section):
    """What a keyframe shows."""

    captioner: Literal["narration", "openai", "local", "sidecar"] = "narration"
    """`narration`: the line spoken over the frame, or what can be measured where none is. `openai`: an
    OpenAI-compatible endpoint looks at the frame. `local`: a vision-language network in the folder `model` does.
    `sidecar`: the file `sidecar` says."""
    model: str | None = None
    """The endpoint's model, or the network's folder."""
    sidecar: str | None = None
    """Captions by frame id, or by video name and time: JSONL, CSV or Parquet."""
    batch: bool = False
    """Ask the endpoint's Batch API: half the price, an answer within a day."""
    max_tokens: int = Field(120, ge=1)
    """Longest answer."""
    concurrency: int = Field(8, ge=1)
    """Questions that are with the endpoint at once."""
    silent_shots: Literal["drop", "describe"] = "drop"
    """In an episode with subtitles, shots that no line overlaps are mostly title cards and credits: `drop` leaves them
    out, `describe` captions them like those of an episode without subtitles."""
    price: PriceConfig = PriceConfig()


class CastConfig(Section):
    """Who is in the story, so that a character has one name over an episode."""

    given: dict[str, str] = Field({})
    """How a character is recognised by its name: `{George: "a small brown monkey"}`."""
    derive: Literal["none", "lines", "endpoint"] = "lines"
    """More of the cast, an episode at a time. `lines`: names that the spoken lines keep calling. `endpoint`: the
    narrator's endpoint is asked once an episode who is who in its captions."""


class NarrativesConfig(Section):
    """The story's text over its keyframes."""

    narrator: Literal["narration", "text", "vision"] = "narration"
    """`narration`: the captions as they are. `text`: an endpoint writes one connected story over the captions.
    `vision`: it sees the pictures, in windows of `window`, each told from the ones before, and then links them."""
    model: str | None = None
    """The endpoint's model (narrators `text` and `vision`)."""
    window: int = Field(10, ge=2)
    """Pictures that are shown at once (narrator `vision`)."""
    max_tokens: int = Field(4000, ge=1)
    """Longest answer of the endpoint: a whole story."""
    attempts: int = Field(3, ge=1)
    """Tries for one story; each retry tells the endpoint what was wrong."""
    language: str | None = None
    """Of the story (`en`, `ja`); none: that of the spoken lines, else English."""
    min_words: int = Field(4, ge=1)
    """Shortest passage over a picture."""
    max_words: int = Field(120, ge=2)
    """Longest passage over a picture."""
    invented_names: Literal["refuse", "allow"] = "refuse"
    """What becomes of a story with a name that neither captions nor lines nor the cast hold."""
    cast: CastConfig = CastConfig()
    price: PriceConfig = PriceConfig()


class StoriesConfig(Section):
    """How keyframes become stories."""

    length: int = Field(30, ge=2)
    """Picture-text pairs of a story."""
    min_length: int = Field(10, ge=2)
    """An episode's remainder of at least this many pairs becomes a shorter story; less is dropped and counted."""
    chunk_length: int = Field(10, ge=2)
    """Pairs of the views that training reads."""
    validation_fraction: float = Field(0.17, ge=0, lt=1)
    """Share of the episodes held out, chosen by a hash of their content."""
    split_by: Literal["episode", "series"] = "episode"
    """What is held out as a whole."""

    @model_validator(mode="after")
    def _chunks_fit(self) -> "StoriesConfig":
        if not self.chunk_length <= self.length or not self.min_length <= self.length:
            raise ValueError("chunk_length and min_length must not exceed length")
        return self


class ParquetConfig(Section):
    """How the tables lie on disk."""

    row_group_mb: float = Field(10.0, gt=0)
    """Row groups are cut by bytes: at 10 MB one story is read in 3-4 ms, and a scan still runs at full speed."""
    file_mb: float = Field(256.0, gt=0)
    """A new file starts beyond this size."""


class BuildConfig(Section):
    """Videos -> dataset."""

    subset: str = Field("stories", pattern=r"^[a-z0-9_]+$")
    """Name of the subset that the episodes form."""
    license: str = "unknown"
    """Licence of the videos, carried to every row; `sources.yaml` beside the videos says it of each."""
    attribution: str = ""
    """Who to credit for the videos, carried to every row; likewise."""
    require_license: bool = False
    """Set videos aside whose licence is unknown."""
    workers: int = Field(2, ge=1)
    """Episodes decoded at once."""
    runner: Runner = "threads"
    """What runs them: this process's threads, processes, a Dask or a Ray cluster (extras `dask`, `ray`)."""
    decode: DecodeConfig = DecodeConfig()
    shots: ShotsConfig = ShotsConfig()
    candidates: CandidatesConfig = CandidatesConfig()
    filters: FiltersConfig = FiltersConfig()
    transcripts: TranscriptsConfig = TranscriptsConfig()
    captions: CaptionsConfig = CaptionsConfig()
    narratives: NarrativesConfig = NarrativesConfig()
    stories: StoriesConfig = StoriesConfig()
    parquet: ParquetConfig = ParquetConfig()
