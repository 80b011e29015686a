"""Weights on disk: safetensors only, written atomically, loaded strictly."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from story_model.manifest import write_atomically


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write named tensors so that a kill at any moment leaves the old file or the new one."""
    write_atomically(path, save({name: tensor.detach().contiguous() for name, tensor in tensors.items()}))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors.

    Raises:
        ValueError: the file is absent or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise ValueError(f"no weights at {path}; run the step that trains them first") from None
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); delete its folder and run the step again") from None


def save_weights(module: nn.Module, path: Path) -> None:
    """Write all parameters and buffers of a module."""
    save_tensors(module.state_dict(), path)


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill a module from a file that holds exactly its parameters and buffers.

    Raises:
        ValueError: names or shapes differ; the message names the first ones.
    """
    ours, theirs = module.state_dict(), load_tensors(path)
    missing, unknown = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    wrong = [name for name in ours.keys() & theirs.keys() if ours[name].shape != theirs[name].shape]
    if missing or unknown or wrong:
        raise ValueError(
            f"{path} does not fit the configured network: missing {missing[:3]}, unknown {unknown[:3]}, "
            f"of another shape {sorted(wrong)[:3]}; it was made with another configuration"
        )
    module.load_state_dict(theirs)
