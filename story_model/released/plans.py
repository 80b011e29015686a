"""Which tensor of which published file goes where: decided and checked whole before a value is read.

A plan names a place for every tensor of one of our networks. Making it refuses, in one line, whatever does not fit: a
name too many or too few, another shape. Reading through it refuses values that are no numbers.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from story_model.config import ModelConfig
from story_model.released import names
from story_model.released.kinds import Kind, Variant, kind_of
from story_model.resampler import sincos_positions
from story_model.tensor_files import TensorFile, TensorInfo, is_finite, open_tensors

Shapes = Mapping[str, tuple[int, ...]]
"""Of a network's state dict."""

_POSITIONS = ".pos_embed"
_FROZEN_IN_MLLM = (".base_layer.weight", ".original_module.weight")


@dataclass(frozen=True)
class Source:
    """One tensor in a file."""

    file: TensorFile
    name: str

    @property
    def info(self) -> TensorInfo:
        """Shape and type."""
        return self.file.tensors[self.name]

    def read(self) -> Tensor:
        """Read the values.

        Raises:
            ValueError: one of them is not a number.
        """
        tensor = self.file.read(self.name)
        if not is_finite(tensor):
            raise ValueError(f"{self.file.path}: {self.name} has values that are no numbers; download it again")
        return tensor


@dataclass(frozen=True)
class Computed:
    """A constant that files of trained weights leave out."""

    make: Callable[[], Tensor]
    info: TensorInfo

    def read(self) -> Tensor:
        """Compute the values."""
        return self.make()


@dataclass(frozen=True)
class Plan:
    """Where each tensor of a network comes from."""

    kind: Kind
    slots: Mapping[str, Source | Computed]

    @property
    def infos(self) -> dict[str, TensorInfo]:
        """Shapes and types by our names."""
        return {name: slot.info for name, slot in self.slots.items()}

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Read all values, one tensor at a time."""
        for name, slot in self.slots.items():
            yield name, slot.read()


def plan_image_encoder(path: Path, wanted: Shapes) -> Plan:
    """Plan the image encoder from its own file or from a folder of Qwen-VL."""
    return _planned("image encoder", wanted, _found(path, names.of_image_encoder, "image encoder"), path)


def plan_autoencoder(path: Path, wanted: Shapes) -> Plan:
    """Plan SD-XL's autoencoder from its folder `vae`."""
    return _planned("autoencoder", wanted, _found(path, names.of_autoencoder, "autoencoder"), path)


def plan_language_model(path: Path, wanted: Shapes, *, num_words: int) -> Plan:
    """Plan a plain LLaMA; a file that knows `num_words` tokens is given rows for those that come on top.

    Each new row is the mean of the rows there are. A new token then begins as probable as tokens are on average, and
    words stay about as probable as they were; rows drawn at random would be far from any that LLaMA knows.
    """
    found: dict[str, Source | Computed] = dict(_found(path, names.of_language_model, "LLaMA"))
    for name in names.VOCABULARY:
        slot = found.get(name)
        if slot is not None and slot.info.shape == (num_words, *wanted[name][1:]):
            found[name] = Computed(_with_mean_rows(slot, wanted[name][0]), TensorInfo(wanted[name], slot.info.dtype))
    return _planned("LLaMA", wanted, found, path)


def plan_unet(path: Path, wanted: Shapes) -> Plan:
    """Plan the UNet of a de-tokenizer, named as there, from SD-XL's folder `unet`; `wanted` may hold more."""
    unet = {name: shape for name, shape in wanted.items() if name.startswith(names.UNET)}
    return _planned("SD-XL UNet", unet, _found(path, names.of_unet, "SD-XL UNet"), path)


def plan_copy(path: Path, wanted: Shapes, *, kind: Kind) -> Plan:
    """Plan a network from a file of our own, which names all as we do."""
    file = open_tensors(path)
    return _planned(kind, wanted, {name: Source(file, name) for name in file.tensors}, path)


def plan_mllm(path: Path, wanted: Shapes, *, base: Path | None = None) -> Plan:
    """Plan the language model; `base` is LLaMA's folder, needed where the file holds trained weights alone."""
    found: dict[str, Source | Computed] = dict(_found(path, names.of_mllm, "MLLM"))
    if any(name not in found and name.endswith(_FROZEN_IN_MLLM) for name in wanted):
        if base is None:
            raise ValueError(f"{path} holds trained weights alone; put meta-llama/Llama-2-7b-hf beside it")
        missing = {name for name in wanted if name.endswith(_FROZEN_IN_MLLM)} - found.keys()
        found |= _only(_found(base, names.of_llama, "LLaMA"), missing)
    for name in wanted:
        if name.endswith(_POSITIONS) and name not in found:
            found[name] = _positions(*wanted[name])
    return _planned("MLLM", wanted, found, path)


def plan_detokenizer(path: Path, wanted: Shapes, *, variant: Variant | None, base: Path | None = None) -> Plan:
    """Plan the de-tokenizer; `base` is SD-XL's folder `unet`, needed where the file holds trained weights alone.

    `variant` has to be said by someone who knows: SEED-X's file has the same names and shapes.
    """
    if variant is None:
        raise ValueError(
            f"{path}: SEED-Story's and SEED-X's de-tokenizers have the same names and shapes; say whose it is with "
            "--variant seed-story or --variant seed-x"
        )
    found: dict[str, Source | Computed] = dict(_found(path, lambda name: name, "de-tokenizer"))
    conv_in = found.get("unet.conv_in.weight")
    if conv_in is not None and conv_in.info.shape[1] == 2 * wanted["unet.conv_in.weight"][1]:
        raise ValueError(
            f"{path} is SEED-X's second stage, which also takes a picture; use its first stage or SEED-Story's own"
        )
    missing = {name for name in wanted if name.startswith("unet.")} - found.keys()
    if missing:
        if base is None:
            raise ValueError(
                f"{path} holds trained weights alone; put stabilityai/stable-diffusion-xl-base-1.0 beside it"
            )
        found |= _only(_found(base, names.of_unet, "SD-XL UNet"), missing)
    return _planned("de-tokenizer", wanted, found, path)


def fill(module: nn.Module, plan: Plan, *, dtype: torch.dtype | None = None, device: str = "cpu") -> None:
    """Give a module made on the meta device its weights: one tensor after the other, in the wanted type and place.

    No second copy of the network is ever held.
    """
    bar = tqdm(plan.tensors(), total=len(plan.slots), desc=f"load {plan.kind}", unit="tensor", leave=False)
    weights = {name: tensor.to(device, dtype, copy=True) for name, tensor in bar}
    module.load_state_dict(weights, assign=True)


@torch.no_grad()
def overlay(module: nn.Module, plan: Plan) -> None:
    """Copy a plan's values over a module's, which keeps its types, its place and all that the plan leaves out."""
    state = module.state_dict(keep_vars=True)
    for name, tensor in tqdm(plan.tensors(), total=len(plan.slots), desc=f"load {plan.kind}", unit="tensor"):
        state[name].copy_(tensor)


def merged(plan: Plan, config: ModelConfig) -> Plan:
    """Plan a plain LLaMA between the resamplers, its LoRA folded in: W + alpha / rank * B A, in float32."""
    lora = config.mllm.lora
    assert lora is not None
    slots: dict[str, Source | Computed] = {}
    for name, slot in plan.slots.items():
        plain = "llm." + name.removeprefix(names.WRAPPED)
        if not name.startswith(names.WRAPPED):
            slots[name] = slot
        elif name.endswith(".base_layer.weight"):
            owner = name.removesuffix(".base_layer.weight")
            down, up = (plan.slots[f"{owner}.lora_{side}.default.weight"] for side in "AB")
            updated = _updated(slot, down, up, lora.alpha / lora.rank)
            slots[plain.replace(".base_layer.", ".")] = Computed(updated, slot.info)
        elif name.endswith(".modules_to_save.default.weight"):
            slots[plain.replace(".modules_to_save.default.", ".")] = slot
        elif not name.endswith((".original_module.weight", ".lora_A.default.weight", ".lora_B.default.weight")):
            slots[plain] = slot
    return Plan(plan.kind, slots)


def _updated(
    weight: Source | Computed, down: Source | Computed, up: Source | Computed, scale: float
) -> Callable[[], Tensor]:
    def make() -> Tensor:
        original = weight.read()
        return torch.addmm(original.float(), up.read().float(), down.read().float(), alpha=scale).to(original.dtype)

    return make


def _with_mean_rows(known: Source | Computed, count: int) -> Callable[[], Tensor]:
    def make() -> Tensor:
        rows = known.read()
        mean = rows.mean(0, keepdim=True, dtype=torch.float32).to(rows.dtype)
        return torch.cat([rows, mean.expand(count - len(rows), -1)])

    return make


def _found(path: Path, rename: Callable[[str], str | None], kind: Kind) -> dict[str, Source]:
    """Open a file and name what is in it as we do.

    Raises:
        ValueError: it is another network's, or has one tensor under two names.
    """
    file = open_tensors(path)
    actual = kind_of(file.tensors)
    if actual != kind:
        what = "no network known here" if actual == "other" else f"a file of the {actual}"
        raise ValueError(f"{path} is {what}, not of the {kind}")
    found: dict[str, Source] = {}
    for name in file.tensors:
        ours = rename(name)
        if ours in found:
            raise ValueError(f"{path} holds {ours} twice, also as {name}; is it the right file?")
        if ours is not None:
            found[ours] = Source(file, name)
    return found


def _only(found: Mapping[str, Source], wanted: Collection[str]) -> dict[str, Source]:
    return {name: source for name, source in found.items() if name in wanted}


def _planned(kind: Kind, wanted: Shapes, found: Mapping[str, Source | Computed], path: Path) -> Plan:
    missing, unknown = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    wrong = [
        f"{name} is {found[name].info.shape}, not {shape}"
        for name, shape in wanted.items()
        if name in found and found[name].info.shape != tuple(shape)
    ]
    complaints = [f"lacks {_some(missing)}"] if missing else []
    complaints += [f"has also {_some(unknown)}"] if unknown else []
    complaints += wrong[:1]
    if complaints:
        raise ValueError(f"{path} is not the {kind} that is configured: {'; '.join(complaints)}")
    return Plan(kind, {name: found[name] for name in wanted})


def _some(found: list[str]) -> str:
    return found[0] if len(found) == 1 else f"{found[0]} and {len(found) - 1} more"


def _positions(count: int, dim: int) -> Computed:
    return Computed(lambda: sincos_positions(dim, round(count**0.5)), TensorInfo((count, dim), torch.float32))
