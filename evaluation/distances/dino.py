"""DINOv2 from a local folder: features that see objects and style, where Inception's see ImageNet's classes.

Distances of generated pictures follow what people see better in these features (Stein et al. 2023). The folder is as
`transformers` saves it; nothing is fetched, and weights are safetensors.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import Dinov2Model

from evaluation.distances.protocols import imagenet, resized
from story_model.manifest import sha256_of
from story_model.strict_json import read_json

SIDE = 224
"""Side in pixels of the pictures; positions are interpolated where the network learnt on others."""
PROTOCOL = "224-bicubic-cls"
_CPU = torch.device("cpu")


def open_dino(folder: Path, *, device: torch.device = _CPU) -> tuple[Callable[[Tensor], Tensor], str]:
    """Open the network: pictures [N, 3, 224, 224] to the class token [N, D], and the sha256 of the weights.

    Raises:
        ValueError: the folder does not hold DINOv2 with safetensors.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights or not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder}, named by evaluate.networks.dino, must hold config.json and model.safetensors, as transformers "
            "saves a Dinov2Model"
        )
    kind = read_json((folder / "config.json").read_bytes())
    if not isinstance(kind, dict) or kind.get("model_type") != "dinov2":
        raise ValueError(f"{folder / 'config.json'} is not of a dinov2 model")
    network = _load(folder).to(device).eval().requires_grad_(False)

    def features(pictures: Tensor) -> Tensor:
        found: Tensor = network(pixel_values=pictures).last_hidden_state[:, 0]
        return found

    digests = [sha256_of(path) for path in weights]
    return features, digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _load(folder: Path) -> Dinov2Model:
    try:
        network, found = Dinov2Model.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder} cannot be opened as DINOv2: {str(error).splitlines()[0]}") from None
    if found["missing_keys"] or found["mismatched_keys"]:
        lacking = sorted(map(str, [*found["missing_keys"], *found["mismatched_keys"]]))
        raise ValueError(f"{folder} lacks {len(lacking)} tensors of what its config.json describes, as {lacking[0]}")
    return network


def prepare(image: Image.Image) -> Tensor:
    """Scale an RGB picture to 224 x 224 in float with Pillow's bicubic filter; ImageNet's mean and deviation."""
    return imagenet(resized(image, SIDE) / 255)
