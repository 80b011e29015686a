"""A folder as SEED-Story's README lays it out, at toy size: random weights under the published names."""

import json
import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from story_model.build import build_detokenizer, build_image_encoder, build_llama, build_mllm, llama2_vocabulary
from story_model.config import ModelConfig, load_config
from story_model.mllm import Mllm
from story_model.tokens import train_tokenizer

WORDS = 300
OVERRIDES = [
    "model.image_encoder={image_size: 32, patch_size: 8, width: 32, layers: 2, heads: 2, mlp_ratio: 2.0, "
    "num_queries: 16, output_dim: 32, pool_heads: 2}",
    f"model.mllm.language_model={{vocab_size: {WORDS}, hidden_size: 32, intermediate_size: 48, layers: 2, heads: 2}}",
    "model.mllm.num_image_tokens=4",
    "model.detokenizer.unet_channels=[16, 16]",
    "model.detokenizer.resampler_dim=32",
]
MLLM = "seed_story/george_sft/pytorch_model.bin"
DETOKENIZER = "detokenizer/detokenizer_george_adapted/checkpoint-4000/pytorch_model.bin"
ENCODER = "visual_tokenizer/qwen_vit_G.pt"
TOKENIZER = "cvlm_llama2_tokenizer"


def toy_config() -> ModelConfig:
    return load_config("tiny", OVERRIDES).model


class Published:
    """The networks, and the folder that they are written to."""

    def __init__(self, root: Path) -> None:
        torch.manual_seed(0)
        self.root = root
        self.config = toy_config()
        self.encoder = build_image_encoder(self.config.image_encoder).eval()
        vocabulary = llama2_vocabulary(self.config.mllm)
        self.mllm = build_mllm(self.config, build_llama(self.config, vocabulary)).eval()
        for name, parameter in self.mllm.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                torch.nn.init.normal_(parameter, std=0.1)  # as training leaves them, unlike what they start from
        self.detokenizer = build_detokenizer(self.config).eval()

    def write_all(self) -> None:
        self.write_encoder()
        self.save(MLLM, old_names(self.mllm))
        self.save(DETOKENIZER, dict(self.detokenizer.state_dict()))
        self.write_tokenizer()

    def write_encoder(self) -> None:
        self.save(ENCODER, dict(self.encoder.state_dict()))

    def write_tokenizer(self, num_image_tokens: int | None = None) -> None:
        tokens = num_image_tokens or self.config.mllm.num_image_tokens
        tokenizer = train_tokenizer(["a fox at sea"], vocab_size=WORDS, num_image_tokens=tokens)
        padding = WORDS + 2 + tokens - tokenizer.get_vocab_size()
        tokenizer.add_tokens([f"word{number}" for number in range(padding)])
        path = self.path(f"{TOKENIZER}/tokenizer.json")
        path.write_text(tokenizer.to_str())

    def write_qwen(self) -> None:
        """Qwen-VL's folder: the encoder in two shards between the tensors of its language model."""
        state = {f"transformer.visual.{name}": tensor for name, tensor in self.encoder.state_dict().items()}
        names = sorted(state)
        shards = {"pytorch_model-1.bin": names[::2], "pytorch_model-2.bin": names[1::2]}
        places = {name: shard for shard, held in shards.items() for name in held}
        extra = {"transformer.wte.weight": torch.zeros(2, 2), "lm_head.weight": torch.zeros(2, 2)}
        for shard, held in shards.items():
            self.save(f"Qwen-VL-Chat/{shard}", {name: state[name] for name in held} | extra)
        places |= dict.fromkeys(extra, "pytorch_model-1.bin")
        self.path("Qwen-VL-Chat/pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))

    def write_llama(self) -> None:
        """LLaMA's folder, its vocabulary without the tokens of pictures."""
        state = {}
        for name, tensor in self.mllm.state_dict().items():
            plain = name.removeprefix("llm.base_model.model.").replace(".base_layer.", ".")
            if name.startswith("llm.") and "lora_" not in name and "modules_to_save" not in name:
                state[plain.replace(".original_module.", ".")] = tensor[:WORDS] if "embed_tokens" in name else tensor
        save_file(
            {name: tensor.clone() for name, tensor in state.items()}, self.path("Llama-2-7b-hf/model.safetensors")
        )

    def write_unet(self) -> None:
        state = {name: tensor.clone() for name, tensor in self.detokenizer.unet.state_dict().items()}
        save_file(state, self.path("stable-diffusion-xl-base-1.0/unet/diffusion_pytorch_model.safetensors"))

    def save(self, name: str, state: dict[str, Tensor]) -> Path:
        path = self.path(name)
        torch.save({key: tensor.detach().clone() for key, tensor in state.items()}, path)
        return path

    def path(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def old_names(mllm: Mllm) -> dict[str, Tensor]:
    """Name the language model's tensors as peft 0.4 did, with the buffers that transformers 4.34 kept."""
    state = {name.replace(".base_layer.", "."): tensor for name, tensor in mllm.state_dict().items()}
    layers = {found[1] for name in state if (found := re.match(r"(.*\.layers\.\d+\.)", name))}
    return state | {f"{layer}self_attn.rotary_emb.inv_freq": torch.ones(8) for layer in layers}


def trained_only(mllm: Mllm) -> dict[str, Tensor]:
    """Leave out what stage 2 does not train."""
    frozen = (".original_module.weight", ".inv_freq", ".pos_embed")
    return {
        name: tensor
        for name, tensor in old_names(mllm).items()
        if not name.endswith(frozen) and not re.match(r"llm\..*_proj\.weight$", name)
    }
