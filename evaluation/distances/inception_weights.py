"""Weights of Inception from the user's file: one of the two published ones, known by their digests.

The weights file is a pickle and is read as tensors alone. The TorchScript file is a program: it runs only where it is
the published one, or the user has put its digest into the configuration.
"""

import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from evaluation.distances.inception import FEATURE_DIM, Inception
from story_model.manifest import sha256_of

NAME = "inception-2015-12-05"
PUBLISHED: Mapping[str, str] = {
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2": "pt_inception-2015-12-05-6726825d.pth",
    "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4": "inception-2015-12-05.pt",
}
"""By sha256: the weights file of pytorch-fid, and the TorchScript file of StyleGAN2-ADA and clean-fid."""
_CPU = torch.device("cpu")
_COUNTER = "num_batches_tracked"
"""A normalisation's count of training steps; some copies of the file leave it out."""


def open_inception(
    path: Path, *, allowed: str | None = None, device: torch.device = _CPU
) -> tuple[Callable[[Tensor], Tensor], str]:
    """Open the network: pictures [N, 3, 299, 299] to features [N, 2048], and the file's sha256.

    Args:
        path: a weights file or a TorchScript file.
        allowed: sha256 of a file that the user vouches for, besides the published ones.
        device: where the network computes.

    Raises:
        ValueError: the file is missing, unknown, or does not hold the network.
    """
    if not path.is_file():
        raise ValueError(f"{path}, named by evaluate.networks.inception, is no file")
    digest = sha256_of(path)
    if digest not in PUBLISHED and digest != allowed:
        raise ValueError(
            f"{path} is none of the published Inceptions, its sha256 is {digest}; if you trust it, set "
            f"evaluate.networks.inception_sha256={digest}"
        )
    return (_program(path, device) if _is_program(path) else _network(path, device)), digest


def _is_program(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _network(path: Path, device: torch.device) -> Callable[[Tensor], Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} holds no weights: {str(error).splitlines()[0]}") from None
    with torch.device("meta"):
        network = Inception()
    network.to_empty(device="cpu")
    expected = network.state_dict()
    fresh = {name: torch.zeros_like(value) for name, value in expected.items() if name.endswith(_COUNTER)}
    state = fresh | dict(state) if isinstance(state, Mapping) else {}
    differing = expected.keys() ^ state.keys()
    differing |= {name for name in expected.keys() & state.keys() if expected[name].shape != state[name].shape}
    if differing:
        raise ValueError(f"{path} is no Inception of 2015-12-05: {len(differing)} tensors differ, as {min(differing)}")
    network.load_state_dict(state)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a quarter faster on a CPU
    return network.to(device).eval().requires_grad_(False)


def _program(path: Path, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Take the program's layers alone: it would also scale pictures, which is the protocols' work."""
    try:
        program = torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as error:
        raise ValueError(f"{path} is no TorchScript file: {str(error).splitlines()[0]}") from None
    if not hasattr(program, "layers"):
        raise ValueError(f"{path} is no Inception of 2015-12-05: the program has no layers")

    def features(pictures: Tensor) -> Tensor:
        found: Tensor = program.layers(pictures)
        return found.reshape(len(pictures), FEATURE_DIM)

    return features
