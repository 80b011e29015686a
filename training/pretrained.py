"""Parts that others have trained: taken over as steps of their own, or what a stage starts from (`train.pretrained`).

They come as published (the folder STORY_PRETRAINED) or from another run. What a part was made from stands in its
manifest, published files by their sampled digests; once it is made, they may go. No torch before a value is read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, SerializeAsAny

from story_model.config import ModelConfig, RunConfig, Settings
from story_model.manifest import Manifest, StepResult, digest_of, intact, read_manifest, run_step, write_atomically
from story_model.released.kinds import Kind, variant_of
from story_model.released.sources import Wanted, locate
from story_model.section import Section
from story_model.workspace import Part, RunFolder, run_folder

if TYPE_CHECKING:
    from torch import nn

    from story_model.released.plans import Plan, Shapes
    from training.steps import Job

_VERSION = 1
_KINDS: dict[Part, Kind] = {
    "image_encoder": "image encoder",
    "autoencoder": "autoencoder",
    "language_model": "LLaMA",
    "stage1": "de-tokenizer",
    "stage2": "MLLM",
}
"""What a part's file holds."""
_SECTIONS: dict[Part, Callable[[ModelConfig], Section]] = {
    "tokenizer": lambda model: model.mllm,
    "image_encoder": lambda model: model.image_encoder,
    "autoencoder": lambda model: model.detokenizer,
    "language_model": lambda model: model.mllm,
    "stage1": lambda model: model.detokenizer,
}
"""What a part has to fit."""


class TakenConfig(BaseModel):
    """All that decides a part that is taken over, besides where it comes from."""

    taken_over: bool = True
    fits: SerializeAsAny[Section]


@dataclass(frozen=True)
class _Origin:
    """Where a part's weights come from."""

    name: str
    """Of the manifest's input."""
    is_published: bool
    find: Callable[[], Path]
    """Gives the published file, or the part's folder in another run; a ValueError says what is not there."""
    digest: Callable[[], str]

    def known_digest(self, out_dir: Path) -> str:
        """Name the content; what has been made from files that are gone by now still knows what they were."""
        try:
            return self.digest()
        except ValueError:
            manifest = read_manifest(out_dir)
            if manifest is None or self.name not in manifest.inputs:
                raise
            return manifest.inputs[self.name]


def take_over(part: Part, folder: RunFolder, config: RunConfig, settings: Settings) -> Manifest:
    """Take a part over as it is, as a step like any other.

    Raises:
        ValueError: it is not where it should be, or does not fit the configured networks.
    """
    wanted: Wanted = "tokenizer" if part == "tokenizer" else _KINDS[part]
    origin, out_dir = _origin(wanted, (part,), config, settings), folder.part_dir(part)
    inputs: dict[str, Path | str] = {origin.name: origin.known_digest(out_dir)}
    if part == "language_model":
        inputs["tokenizer"] = folder.part_dir("tokenizer")

    def work(_: Path) -> StepResult:
        if part == "tokenizer":
            return _take_tokenizer(origin, folder, config.model)
        return _take_weights(_plan(origin, part, folder, config.model, settings), folder, part)

    decides = TakenConfig(fits=_SECTIONS[part](config.model))
    return run_step(out_dir, work, step=part.replace("_", " "), version=_VERSION, config=decides, inputs=inputs)


def start_inputs(part: Part, folder: RunFolder, config: RunConfig, settings: Settings) -> dict[str, Path | str]:
    """Name what a stage starts from, for its manifest; nothing where its weights start fresh."""
    if part not in config.train.pretrained.starts:
        return {}
    origin = _start_of(part, config, settings)
    return {origin.name: origin.known_digest(folder.part_dir(part))}


def start(job: "Job", part: Part, network: "nn.Module") -> None:
    """Give a stage's fresh network the weights that it is to start from, if any.

    Raises:
        ValueError: they are not there or do not fit.
    """
    if part not in job.config.train.pretrained.starts:
        return
    from story_model.parts import weights_path
    from story_model.released import plans

    origin = _start_of(part, job.config, job.settings)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if not origin.is_published:
        plan = plans.plan_copy(origin.find() / weights_path(job.folder, part).name, shapes, kind=_KINDS[part])
    elif part == "stage1":
        plan = plans.plan_unet(origin.find(), shapes)
    else:
        plan = plans.plan_mllm(origin.find(), shapes, base=_base(job.settings, "LLaMA"))
    plans.overlay(network, plan)


def _start_of(part: Part, config: RunConfig, settings: Settings) -> _Origin:
    if part == "stage1":
        return _origin("SD-XL UNet", ("stage1", "stage3"), config, settings)
    return _origin(_KINDS[part], (part,), config, settings)


def _origin(wanted: Wanted, parts: Sequence[Part], config: RunConfig, settings: Settings) -> _Origin:
    """Say where weights come from: published as `wanted`, or the first of some parts that a run has finished."""
    run = config.train.pretrained.run
    if run is None:
        found = partial(locate, settings.pretrained, wanted)
        return _Origin(f"published {wanted}", True, lambda: found().path, lambda: found().digest())
    finished = partial(_finished, settings, run, parts)
    return _Origin(f"{parts[0]} of another run", False, finished, lambda: digest_of(finished()))


def _finished(settings: Settings, run: str, parts: Sequence[Part]) -> Path:
    folder = run_folder(settings.workspace, run)
    for part in parts:
        path, manifest = folder.part_dir(part), read_manifest(folder.part_dir(part))
        if manifest is not None and intact(path, manifest):
            return path
    raise ValueError(
        f"run {run!r} (train.pretrained.run) has no finished {' or '.join(parts)} in {folder.root}; make it first, or "
        "name another run"
    )


def _take_tokenizer(origin: _Origin, folder: RunFolder, model: ModelConfig) -> StepResult:
    from story_model.build import llama2_vocabulary
    from story_model.parts import tokenizer_path
    from story_model.released.tokenizer import read_tokenizer

    tokenizer = read_tokenizer(origin.find(), model.mllm.num_image_tokens)
    size, wanted = tokenizer.get_vocab_size(), llama2_vocabulary(model.mllm).vocab_size
    if origin.is_published and size != wanted:
        raise ValueError(f"{origin.find()} has {size} tokens; model.mllm wants {wanted}, those of pictures included")
    write_atomically(tokenizer_path(folder), tokenizer.to_str().encode())
    return StepResult(counts={"vocabulary": size})


def _take_weights(plan: "Plan", folder: RunFolder, part: Part) -> StepResult:
    from story_model.checkpoint import write_tensors
    from story_model.parts import weights_path

    write_tensors(weights_path(folder, part), plan.infos, plan.tensors())
    values = sum(info.num_bytes // info.dtype.itemsize for info in plan.infos.values())
    return StepResult(counts={"tensors": len(plan.infos), "values": values})


def _plan(origin: _Origin, part: Part, folder: RunFolder, model: ModelConfig, settings: Settings) -> "Plan":
    from story_model.parts import weights_path
    from story_model.released import plans

    path, shapes = origin.find(), _shapes(part, model, folder)
    if not origin.is_published:
        return plans.plan_copy(path / weights_path(folder, part).name, shapes, kind=_KINDS[part])
    if part == "image_encoder":
        return plans.plan_image_encoder(path, shapes)
    if part == "autoencoder":
        return plans.plan_autoencoder(path, shapes)
    if part == "language_model":
        return plans.plan_language_model(path, shapes, num_words=model.mllm.language_model.vocab_size)
    variant = variant_of(path)
    if variant != model.detokenizer.variant:
        raise ValueError(f"{path} is {variant}'s, and model.detokenizer.variant is {model.detokenizer.variant}")
    return plans.plan_detokenizer(path, shapes, variant=variant, base=_base(settings, "SD-XL UNet"))


def _base(settings: Settings, wanted: Wanted) -> Path | None:
    """Find what a file of trained weights alone lies upon; a file with all weights does without."""
    try:
        return locate(settings.pretrained, wanted).path
    except ValueError:
        return None


def _shapes(part: Part, model: ModelConfig, folder: RunFolder) -> "Shapes":
    """Give names and shapes of all that a part's file has to hold."""
    from accelerate import init_empty_weights

    from story_model import build
    from story_model.parts import load_tokenizer

    network: nn.Module
    with init_empty_weights(include_buffers=False):
        if part == "image_encoder":
            network = build.build_image_encoder(model.image_encoder)
        elif part == "autoencoder":
            network = build.build_autoencoder(model.detokenizer)
        elif part == "language_model":
            network = build.build_llama(model, load_tokenizer(folder, model))
        else:
            network = build.build_detokenizer(model)
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
