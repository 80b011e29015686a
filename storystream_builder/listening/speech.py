"""What is spoken in a video, by a speech-recognition model in a local folder (Whisper and what is built like it).

The model hears at most 30 seconds at once. A window ends where its last whole sentence does, so that the next one
begins with a sentence; an episode is streamed through and never held whole.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from story_model.manifest import digest_of
from storystream_builder.listening.sound import SAMPLE_RATE, Block, Samples, open_sound
from storystream_builder.listening.subtitle_formats import Cue, plain
from storystream_builder.listening.transcripts import Transcript, gather, short_code

log = logging.getLogger(__name__)

_WINDOW = 30 * SAMPLE_RATE
_SHORTEST_STEP_S = 1.0
_SILENCE = 1e-3
"""Loudest sample of what counts as silence: in it, these models hear sentences that nobody says."""


@dataclass(frozen=True)
class Heard:
    """A sentence in a window, in seconds from the window's start; the end is none where the window cuts it off."""

    start_s: float
    end_s: float | None
    text: str


Hear = Callable[[Samples], list[Heard]]
"""Say what is spoken in a window of samples."""


@dataclass(frozen=True)
class Recognizer:
    """A model that is loaded and ready to listen."""

    name: str
    digest: str
    """sha256 of the model's folder: its identity."""
    pipeline: Any
    languages: frozenset[str]
    """Codes of the languages that it can be told to expect; none in a model that knows English alone."""

    def transcribe(self, video: Path | BinaryIO, *, language: str | None = None) -> Transcript:
        """Write down what is spoken in a video; `language` is a code such as `de`, without one the model finds out.

        Raises:
            ValueError: the video cannot be read, or the model does not know the language.
        """
        with open_sound(video, language=language) as sound:
            if sound is None:
                return Transcript(notes=("the video has no sound",), source="speech")
            asked = short_code(language)
            spoken = asked or sound.language
            hear = self._hear(asked.split("-")[0] if asked else None)
            cues = list(cues_of(sound.blocks(), hear))
            return gather(cues, source="speech", language=spoken, notes=sound.notes)

    def _hear(self, language: str | None) -> Hear:
        if language and language not in (self.languages or {"en"}):
            known = ", ".join(sorted(self.languages)) or "en"
            raise ValueError(f"{self.name} does not know the language {language!r}; it knows {known}")
        options = {"task": "transcribe"} if self.languages else {}
        if language and self.languages:
            options["language"] = language

        def hear(samples: Samples) -> list[Heard]:
            sound = {"raw": samples, "sampling_rate": SAMPLE_RATE}
            answer = self.pipeline(sound, return_timestamps=True, generate_kwargs=options)
            timed = [(*piece["timestamp"], piece["text"]) for piece in answer["chunks"]]
            return [Heard(start or 0.0, end, text) for start, end, text in timed]

        return hear


def load_recognizer(folder: Path | None, *, device: str = "cpu") -> Recognizer:
    """Load a Whisper model from a local folder; nothing is downloaded and no code in the folder is run.

    Raises:
        ValueError: no folder is named, it holds no such model, or the packages that run it are not installed.
    """
    if folder is None or not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder or 'no folder'} is no speech-recognition model; name a folder that holds one, "
            "such as a download of openai/whisper-small"
        )
    try:
        import torch
        import transformers
    except ImportError as error:
        raise ValueError(f"speech recognition needs {error.name}; pip install -e '.[speech]'") from None
    dtype = torch.float32 if device == "cpu" else torch.float16
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        if config.model_type != "whisper":
            raise ValueError(f"its kind is {config.model_type!r}; only whisper's is known")
        model = transformers.WhisperForConditionalGeneration.from_pretrained(
            folder, config=config, dtype=dtype, local_files_only=True, use_safetensors=True
        )
        processor = transformers.WhisperProcessor.from_pretrained(folder, local_files_only=True)
        pipeline = transformers.pipeline(
            "automatic-speech-recognition",
            model=model.eval(),
            tokenizer=processor.tokenizer,
            feature_extractor=processor.feature_extractor,
            device=device,
        )
    except Exception as error:  # noqa: BLE001 - the libraries raise whatever comes for a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{folder} is no speech-recognition model that can be loaded: {reason}") from None
    codes = getattr(model.generation_config, "lang_to_id", None) or {}
    log.info("%s listens on %s", folder.name, device)
    return Recognizer(folder.name, digest_of(folder), pipeline, frozenset(code.strip("<|>") for code in codes))


def cues_of(blocks: Iterable[Block], hear: Hear) -> Iterator[Cue]:
    """Pass windows of sound to `hear` and put what it says on the video's clock; where sound is missing, start anew."""
    start_s, num = 0.0, 0
    waiting: list[Samples] = []
    for block in blocks:
        if num and abs(block.start_s - start_s - num / SAMPLE_RATE) > 1 / SAMPLE_RATE:
            yield from _listen(start_s, np.concatenate(waiting), hear, is_last=True)[0]
            waiting, num = [], 0
        if not num:
            start_s = block.start_s
        waiting.append(block.samples)
        num += len(block.samples)
        while num >= _WINDOW:
            samples = np.concatenate(waiting)
            cues, used = _listen(start_s, samples[:_WINDOW], hear, is_last=False)
            yield from cues
            start_s, waiting, num = start_s + used / SAMPLE_RATE, [samples[used:]], num - used
    if num:
        yield from _listen(start_s, np.concatenate(waiting), hear, is_last=True)[0]


def _listen(start_s: float, window: Samples, hear: Hear, *, is_last: bool) -> tuple[list[Cue], int]:
    """Hear one window: (its sentences, the number of samples that need not be heard again)."""
    if float(np.abs(window).max()) < _SILENCE:
        return [], len(window)
    length_s = len(window) / SAMPLE_RATE
    heard, used = [one for one in hear(window) if one.start_s < length_s], len(window)
    cut_off = heard and (heard[-1].end_s is None or heard[-1].end_s >= length_s)
    if not is_last and cut_off and heard[-1].start_s >= _SHORTEST_STEP_S:
        used = min(used, round(heard[-1].start_s * SAMPLE_RATE))
        heard = heard[:-1]
    return [_cue(start_s, length_s, one) for one in heard], used


def _cue(start_s: float, length_s: float, heard: Heard) -> Cue:
    """Put a sentence on the video's clock, which starts with the first picture; sound may start before that."""
    end_s = length_s if heard.end_s is None else min(length_s, heard.end_s)
    return Cue(max(0, round(1000 * (start_s + heard.start_s))), round(1000 * (start_s + end_s)), plain(heard.text))
