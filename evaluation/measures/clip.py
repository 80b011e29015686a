"""CLIP, from a folder of the user's: pictures and texts as rows whose cosines say how well they go together.

Weights are safetensors, and only classes of the installed `transformers` are used: nothing is downloaded, no code comes
with the folder. Texts longer than the network reads are cut, and it is told which.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from transformers import CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from evaluation.measures.features import Rows, unit
from story_model.manifest import sha256_of
from story_model.strict_json import read_json

_BATCH = 64
_DECIDES = ("config.json", "*.safetensors", "tokenizer*.json", "vocab.json", "merges.txt", "*processor_config.json")
"""Files on which a row depends."""
_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
"""Without either, `transformers` would make up a tokenizer to which all texts are alike."""


class Clip:
    """A CLIP network for inference; each text is read once."""

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        """Load the network.

        Args:
            folder: as `CLIPProcessor` and `CLIPModel` save themselves.
            device: where it computes.

        Raises:
            ValueError: the folder holds no CLIP, or one without some of its weights.
        """
        _check(folder)
        try:
            self._model = _open(folder).to(device)
            self._images = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
            self._tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"{folder} cannot be opened as CLIP: {str(error).splitlines()[0]}") from None
        reads = self._model.config.text_config
        if len(self._tokenizer) != reads.vocab_size:
            raise ValueError(
                f"{folder}: the tokenizer has {len(self._tokenizer)} tokens and the network {reads.vocab_size}; "
                "give the tokenizer that it was trained with"
            )
        self._device = device
        self._longest = int(reads.max_position_embeddings)
        self._said: dict[str, tuple[Rows, bool]] = {}
        self.fingerprint = _fingerprint(folder)
        """Names weights, tokenizer and preparation of pictures."""

    @torch.inference_mode()
    def pictures(self, images: Sequence[Image.Image]) -> Rows:
        """Map RGB pictures to rows of unit length, [N, D]."""
        found = [np.empty((0, self._model.config.projection_dim))]
        for start in range(0, len(images), _BATCH):
            inputs = self._images(images=list(images[start : start + _BATCH]), return_tensors="pt").to(self._device)
            found.append(_numbers(self._model.get_image_features(**inputs).pooler_output))
        return unit(np.concatenate(found))

    def texts(self, texts: Sequence[str]) -> tuple[Rows, NDArray[np.bool_]]:
        """Map texts to rows of unit length, [N, D], and tell which were too long to be read whole, [N].

        Equal texts have equal rows, to the last bit.
        """
        new = list(dict.fromkeys(text for text in texts if text not in self._said))
        for start in range(0, len(new), _BATCH):
            self._read(new[start : start + _BATCH])
        if not texts:
            return np.empty((0, self._model.config.projection_dim)), np.empty(0, dtype=np.bool_)
        rows, cut = zip(*(self._said[text] for text in texts), strict=True)
        return np.stack(rows), np.array(cut)

    @torch.inference_mode()
    def _read(self, texts: list[str]) -> None:
        lengths = [len(tokens) for tokens in self._tokenizer(texts, verbose=False)["input_ids"]]
        inputs = self._tokenizer(
            texts, truncation=True, max_length=self._longest, padding=True, return_tensors="pt"
        ).to(self._device)
        rows = unit(_numbers(self._model.get_text_features(**inputs).pooler_output))
        for text, row, length in zip(texts, rows, lengths, strict=True):
            self._said[text] = (row, length > self._longest)


def _open(folder: Path) -> CLIPModel:
    """Load the weights; what a file lacks would else be made up at random."""
    model, report = CLIPModel.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
    )
    if report["missing_keys"]:
        raise ValueError(f"{folder} lacks weights, among them {min(report['missing_keys'])}; save the network again")
    return model.eval().requires_grad_(False)


def _numbers(rows: torch.Tensor) -> Rows:
    numbers: Rows = rows.double().cpu().numpy()
    return numbers


def _check(folder: Path) -> None:
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} holds no network: there is no config.json; give a folder as `transformers` saves it"
        )
    try:
        config = read_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "clip":
        raise ValueError(f"{folder} holds a network of type {kind!r}, not a CLIP")
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"{folder} holds no weights as safetensors; convert them with `save_pretrained`")
    if not any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS):
        raise ValueError(f"{folder} holds no tokenizer: neither tokenizer.json nor vocab.json with merges.txt")
    if not any(folder.glob("*processor_config.json")):
        raise ValueError(f"{folder} does not say how pictures are prepared: there is no preprocessor_config.json")


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _DECIDES for path in folder.glob(pattern) if path.is_file()}):
        digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()[:16]
