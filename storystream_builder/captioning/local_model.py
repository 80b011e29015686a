"""A vision-language network in a local folder, in a process of its own: torch is known there alone.

`python -m storystream_builder.captioning.local_model FOLDER JOB` is what `local_captioner.py` starts. It reads a line
of questions from standard input and writes a line of answers to standard output, until its input ends.
"""

import base64
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import BaseModel

from story_model.asking.answers import Answer, encodable
from story_model.asking.replies import LENGTH
from storystream_builder.captioning.local_captioner import LocalJob


class LocalQuestion(BaseModel):
    """A picture (JPEG, base64) and what is asked about it."""

    picture: bytes
    text: str


@dataclass(frozen=True)
class LocalModel:
    """A network that is loaded and ready to answer."""

    model: Any
    processor: Any
    max_tokens: int

    def answer(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> list[Answer]:
        """Answer one question about each picture, all in one pass; two halves where the memory is too small.

        Raises:
            ValueError: it is too small for a single one.
        """
        import torch

        try:
            return self._answer(pictures, texts)
        except torch.OutOfMemoryError:
            half = len(pictures) // 2
            if not half:
                raise ValueError("the network runs out of memory over a single picture") from None
        torch.cuda.empty_cache()
        return self.answer(pictures[:half], texts[:half]) + self.answer(pictures[half:], texts[half:])

    def _answer(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> list[Answer]:
        import torch

        asked = [self.processor.apply_chat_template(_turn(text), add_generation_prompt=True) for text in texts]
        images = [[picture] for picture in pictures]
        inputs = self.processor(text=asked, images=images, return_tensors="pt", padding=True)
        inputs = inputs.to(self.model.device, dtype=self.model.dtype)
        with torch.inference_mode():
            tokens = self.model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=self.max_tokens)
        said = tokens[:, inputs["input_ids"].shape[1] :].tolist()
        sizes = inputs["attention_mask"].sum(dim=1).tolist()
        return [self._read(row, size) for row, size in zip(said, sizes, strict=True)]

    def _read(self, tokens: list[int], prompt_tokens: int) -> Answer:
        ends = self.model.generation_config.eos_token_id
        stops = set(ends) if isinstance(ends, list) else {ends}
        length = next((place + 1 for place, token in enumerate(tokens) if token in stops), None)
        text = self.processor.tokenizer.decode(tokens[:length], skip_special_tokens=True)
        reason = LENGTH if length is None else "stop"
        return Answer(encodable(text).strip(), reason, prompt_tokens, length or len(tokens))


def load_model(folder: Path, job: LocalJob) -> LocalModel:
    """Load a network; nothing is downloaded and no code in the folder is run.

    Raises:
        ValueError: it is no vision-language network, cannot be loaded, or the packages that run it are not installed.
    """
    try:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KINDS

        from story_model.device import chosen_device
    except ImportError as error:
        raise ValueError(f"a local captioner needs {error.name}; pip install -e '.[train]'") from None
    kind = _kind(folder)
    if kind not in KINDS:
        raise ValueError(
            f"{folder} holds a network of the kind {kind!r}, which transformers does not ask about pictures"
        )
    device = chosen_device(job.device)
    dtype = torch.float32 if device.type == "cpu" else "auto"
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        model = AutoModelForImageTextToText.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=dtype
        )
    except Exception as error:  # noqa: BLE001 - the libraries raise whatever comes for a damaged file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{folder} holds no network that can be loaded: {reason}") from None
    _prepare(processor, folder)
    return LocalModel(model.eval().to(device), processor, job.max_tokens)


def _kind(folder: Path) -> object:
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} holds no network: {error}") from None
    return config.get("model_type") if isinstance(config, dict) else None


def _prepare(processor: Any, folder: Path) -> None:  # noqa: ANN401 - transformers has no types
    """Have questions of different length end at the same place, where the answers begin."""
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or not getattr(processor, "chat_template", None):
        raise ValueError(f"{folder} has no chat template, so it is not known how its network is asked")
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token


def _turn(text: str) -> list[dict[str, Any]]:
    """Ask in one turn: many templates know no system's."""
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]


def main() -> None:
    """Answer questions until the input ends."""
    folder, job = Path(sys.argv[1]), LocalJob.model_validate_json(sys.argv[2])
    questions = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # the libraries may ask a person whether to run code of the folder: there is nobody
    os.dup2(2, 1)  # and may talk
    try:
        model = load_model(folder, job)
        for line in questions:
            asked = [LocalQuestion.model_validate(one) for one in json.loads(line)]
            pictures = [Image.open(io.BytesIO(base64.b64decode(one.picture))).convert("RGB") for one in asked]
            found = model.answer(pictures, [one.text for one in asked])
            answers.write(json.dumps([asdict(answer) for answer in found]) + "\n")
            answers.flush()
    except ValueError as error:
        answers.write(json.dumps({"error": str(error)}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
