"""What networks compute on, and in.

The device is no part of a run's configuration: Settings say what is wanted (`STORY_DEVICE`), the machine what there is.
"""

import torch
from torch import distributed

from story_model.config import Device
from story_model.train_config import Precision


def chosen_device(wanted: Device) -> torch.device:
    """Give the device of this process: of several on a machine, each has the GPU that its local rank counts to.

    Raises:
        ValueError: a GPU is asked for and there is none, or fewer than there are processes.
    """
    num_gpus = torch.cuda.device_count() if wanted != "cpu" and torch.cuda.is_available() else 0
    if num_gpus == 0:
        if wanted == "cuda":
            raise ValueError(
                "STORY_DEVICE is cuda, but torch sees no GPU here; set STORY_DEVICE=auto or cpu, or install a torch "
                "built for this machine's driver"
            )
        return torch.device("cpu")
    rank = distributed.get_node_local_rank(fallback_rank=0)
    if rank >= num_gpus:
        raise ValueError(
            f"process {rank} of this machine finds no GPU of its own among {num_gpus}; start at most {num_gpus} "
            "processes, or set STORY_DEVICE=cpu"
        )
    return torch.device("cuda", rank)


def dtype_of(precision: Precision) -> torch.dtype:
    """Give torch's name of a precision."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32
