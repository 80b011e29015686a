"""A run -> the published form: files, names and places that SEED-Story's own code and `check` look for.

All that tells stories is written, the frozen parts with the trained ones, so that the folder is whole by itself.
"""

import logging
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from story_model.checkpoint import write_tensors
from story_model.config import RunConfig
from story_model.manifest import read_manifest, write_atomically
from story_model.parts import tokenizer_path, weights_path
from story_model.released.kinds import PLACES, TOKENIZER_PLACE, Kind
from story_model.released.names import published_in_mllm
from story_model.released.networks import networks
from story_model.released.pickled import write_pickle
from story_model.released.plans import Plan, Source
from story_model.tensor_files import SAFETENSORS, SafetensorsFile
from story_model.workspace import Part, RunFolder

log = logging.getLogger(__name__)

_SEED_X = "seed_detokenizer/first_stage/pytorch_model.bin"
_AUTOENCODER = "diffusion_pytorch_model.safetensors"


def export(folder: RunFolder, config: RunConfig, out_dir: Path, *, pickled: bool = False) -> list[Path]:
    """Write a run's tokenizer and networks below `out_dir`; `pickled` as the published code reads them (`torch.load`).

    Tensors pass one at a time, as they are, but for their names. What is there already is written anew.

    Raises:
        ValueError: a part is missing, or LoRA was folded in, which the published form keeps apart.
    """
    if config.model.mllm.lora is None:
        raise ValueError(f"{folder.root}: LoRA was folded into the language model; the published form keeps it apart")
    parts: dict[Kind, Part] = {kind: network.part for kind, network in networks(config.model).items()}
    for part in ("tokenizer", *parts.values()):
        if read_manifest(folder.part_dir(part)) is None:
            raise ValueError(f"{folder.root} has no finished {part}; train or convert it first")
    plans = {kind: _plan(kind, weights_path(folder, part)) for kind, part in parts.items()}
    places = _places(config, pickled=pickled)
    written = [out_dir / TOKENIZER_PLACE.path / "tokenizer.json"]
    written[0].parent.mkdir(parents=True, exist_ok=True)
    write_atomically(written[0], tokenizer_path(folder).read_bytes())
    for kind, plan in plans.items():
        path = out_dir / places[kind]
        path.parent.mkdir(parents=True, exist_ok=True)
        write = write_tensors if path.suffix == SAFETENSORS else write_pickle
        write(path, plan.infos, plan.tensors())
        written.append(path)
        log.info("%s: %d tensors", path, len(plan.slots))
    return written


def _plan(kind: Kind, path: Path) -> Plan:
    file = SafetensorsFile(path)
    slots = {published_in_mllm(name) if kind == "MLLM" else name: Source(file, name) for name in file.tensors}
    return Plan(kind, slots)


def _places(config: RunConfig, *, pickled: bool) -> Mapping[Kind, PurePosixPath]:
    """Name the file of each network; SEED-X's de-tokenizer is told apart by its folder alone."""
    places = {place.kind: PurePosixPath(place.path) for place in PLACES}
    if config.model.detokenizer.variant == "seed-x":
        places["de-tokenizer"] = PurePosixPath(_SEED_X)
    if not pickled:
        places = {kind: path.with_suffix(SAFETENSORS) if path.suffix else path for kind, path in places.items()}
    return places | {"autoencoder": places["autoencoder"] / _AUTOENCODER}
