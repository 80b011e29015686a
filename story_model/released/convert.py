"""Published weights -> a run's folder in our layout: from there they tell stories like weights trained here.

Every network is a step with a manifest, so that a killed conversion goes on where it was; tensors pass one at a time.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import BaseModel

from story_model.checkpoint import write_tensors
from story_model.config import ModelConfig, RunConfig, override_config, save_config
from story_model.manifest import Manifest, StepResult, run_step, write_atomically
from story_model.parts import tokenizer_path, weights_path
from story_model.released.check import Findings
from story_model.released.networks import networks
from story_model.released.plans import Plan, Source, merged
from story_model.released.tokenizer import read_tokenizer
from story_model.tensor_files import ShardedFile, TensorFile, TensorInfo
from story_model.workspace import RunFolder

_VERSION = 1


class _Decides(BaseModel):
    """All that decides a converted network besides the published files."""

    model: ModelConfig
    dtype: str | None
    merge: bool = False


def convert(
    findings: Findings, folder: RunFolder, config: RunConfig, *, dtype: torch.dtype | None, merge: bool
) -> list[Manifest]:
    """Write configuration, tokenizer and networks; `merge` folds LoRA into LLaMA, `dtype` none keeps the file's.

    Raises:
        ValueError: something is missing or wrong, or the disk is full.
    """
    if not findings.is_complete:
        raise ValueError(findings.complaint)
    assert findings.variant is not None
    assert findings.tokenizer is not None
    overrides = [f"model.detokenizer.variant={findings.variant}"] + ["model.mllm.lora=null"] * merge
    save_config(override_config(config, overrides), folder.config_path)
    decides = _Decides(model=config.model, dtype=None if dtype is None else str(dtype), merge=merge)

    def tokenizer(out_dir: Path) -> StepResult:
        found = read_tokenizer(Path(str(findings.tokenizer)), config.model.mllm.num_image_tokens)
        write_atomically(out_dir / tokenizer_path(folder).name, found.to_str().encode())
        return StepResult(counts={"vocabulary": found.get_vocab_size()})

    inputs = {"tokenizer": findings.tokenizer}
    out = [
        run_step(folder.part_dir("tokenizer"), tokenizer, step="tokenizer", version=1, config=decides, inputs=inputs)
    ]
    for kind, network in networks(config.model).items():
        plan = findings.plans[kind]
        planned = merged(plan, config.model) if merge and kind == "MLLM" else plan
        out_dir = folder.part_dir(network.part)
        work = _writer(planned, weights_path(folder, network.part), dtype)
        files = {f"file {number}": path for number, path in enumerate(_files(plan))}
        out.append(run_step(out_dir, work, step=kind, version=_VERSION, config=decides, inputs=files))
    return out


def _writer(plan: Plan, path: Path, dtype: torch.dtype | None) -> Callable[[Path], StepResult]:
    infos = {name: TensorInfo(info.shape, dtype or info.dtype) for name, info in plan.infos.items()}

    def work(_: Path) -> StepResult:
        write_tensors(path, infos, plan.tensors())
        values = sum(torch.Size(info.shape).numel() for info in infos.values())
        return StepResult(counts={"tensors": len(infos), "values": values})

    return work


def _files(plan: Plan) -> list[Path]:
    """List the files that a plan reads, each once."""
    files: dict[Path, TensorFile] = {
        slot.file.path: slot.file for slot in plan.slots.values() if isinstance(slot, Source)
    }
    paths = [
        part
        for file in files.values()
        for part in ([shard.path for shard in file.shards] if isinstance(file, ShardedFile) else [file.path])
    ]
    return sorted(paths)
