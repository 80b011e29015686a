"""The language model that reads and predicts pictures: LLaMA with LoRA between two resamplers.

A picture enters as `num_image_tokens` vectors of the input resampler. A picture to be predicted stands in the sequence
as its learned image-token embeddings ("queries"); the output resampler turns the hidden states over them into image
features. Letters: B sequences, S positions, N pictures, F features of a picture, D width.
"""

from dataclasses import dataclass
from typing import cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from story_model.packed_attention import Packing, let_llama_attend_packed
from story_model.resampler import Resampler

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LORA_SAVED = ["input_layernorm", "post_attention_layernorm", "norm"]


@dataclass(frozen=True)
class MllmOutput:
    """Losses of a batch and the features predicted for its target pictures."""

    lm_loss: Tensor
    """Cross-entropy of the next token, mean over the labelled positions."""
    image_loss: Tensor
    """1 - cosine between predicted and true features, mean over all feature vectors."""
    predicted_features: Tensor
    """(number of target pictures, F, D)."""


class Mllm(nn.Module):
    """LLaMA, plain or with LoRA, with the resamplers of pictures into it and out of it."""

    def __init__(self, llm: nn.Module, *, input_resampler: Resampler, output_resampler: Resampler) -> None:
        """Take the parts; `llm` is a `LlamaForCausalLM` or a PEFT model around one."""
        super().__init__()
        self.llm = llm
        self.input_resampler = input_resampler
        self.output_resampler = output_resampler
        let_llama_attend_packed(self.llama)

    @property
    def llama(self) -> LlamaForCausalLM:
        """The LLaMA itself, whatever wraps it."""
        return cast(PeftModel, self.llm).get_base_model() if _is_wrapped(self.llm) else self.llm

    def embed(self, input_ids_BS: Tensor) -> Tensor:
        """Look up token embeddings (B, S, D)."""
        return self.llama.get_input_embeddings()(input_ids_BS)

    def forward(
        self,
        *,
        input_ids_BS: Tensor,
        labels_BS: Tensor,
        image_features_NFD: Tensor,
        features_are_context_N: Tensor,
        features_are_target_N: Tensor,
        context_positions_BS: Tensor,
        target_positions_BS: Tensor,
        attention_mask_BS: Tensor | None = None,
        packing: Packing | None = None,
    ) -> MllmOutput:
        """Predict the labelled words and the target pictures of sequences.

        The sequences are right-padded, one a row, or lie in one row (B = 1) as `packing` says, which also tells
        positions. Pictures lie in `image_features_NFD` in the order in which they appear, sequence by sequence; the
        masks tell which are context, which are targets (a picture may be both), and which positions are theirs.
        Labels of -100 are not scored. Right-padding alone needs no attention mask: nothing that is scored looks at
        what follows.
        """
        embeds_BSD = self.embed(input_ids_BS)
        context = self.input_resampler(image_features_NFD[features_are_context_N]).flatten(0, 1)
        embeds_BSD = embeds_BSD.masked_scatter(context_positions_BS[..., None], context.to(embeds_BSD.dtype))
        seen: dict[str, Tensor | Packing | None] = {"attention_mask": attention_mask_BS}
        if packing is not None:
            # transformers makes no mask of its own where it is handed one of four dimensions; nobody looks at this one.
            no_mask = embeds_BSD.new_empty(1, 1, 0, 0)
            seen = {"attention_mask": no_mask, "position_ids": packing.position_ids_BS, "packing": packing}
        hidden_BSD = self.llama.model(inputs_embeds=embeds_BSD, use_cache=False, **seen).last_hidden_state

        scored_BS = F.pad(labels_BS[:, 1:], (0, 1), value=-100)
        is_scored_BS = scored_BS != -100
        logits = self.llama.lm_head(hidden_BSD[is_scored_BS])
        predicted = self.predict_features(hidden_BSD[target_positions_BS])
        return MllmOutput(
            lm_loss=F.cross_entropy(logits.float(), scored_BS[is_scored_BS]),
            image_loss=feature_error(predicted, image_features_NFD[features_are_target_N]),
            predicted_features=predicted,
        )

    def predict_features(self, hidden: Tensor) -> Tensor:
        """Turn hidden states over image tokens, (pictures * num_image_tokens, D), into features (pictures, F, D)."""
        num_image_tokens = self.input_resampler.grid_size**2
        return self.output_resampler(hidden.reshape(-1, num_image_tokens, hidden.shape[-1]))


def feature_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Measure 1 - cosine over feature vectors (..., D), mean over all of them (SEED-Story's regression loss)."""
    return 1 - F.cosine_similarity(predicted.float(), target.float(), dim=-1).mean()


def add_lora(llama: LlamaForCausalLM, *, rank: int, alpha: int, dropout: float) -> nn.Module:
    """Wrap a LLaMA with LoRA as SEED-Story trains it: norms are trained copies, embeddings and head trained as well."""
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        task_type="CAUSAL_LM",
        target_modules=LORA_TARGETS,
        modules_to_save=LORA_SAVED,
    )
    model = get_peft_model(llama, config)
    base = model.get_base_model()
    base.get_input_embeddings().weight.requires_grad_(True)
    base.lm_head.weight.requires_grad_(True)
    return model


def trainable(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """List what an optimizer should move, by name; PEFT's stale originals of saved modules are not part of it."""
    named = module.named_parameters()
    return [(name, parameter) for name, parameter in named if parameter.requires_grad and "original_module" not in name]


@torch.no_grad()
def merged_llama(mllm: Mllm) -> LlamaForCausalLM:
    """Fold the LoRA updates and trained norms into a plain LLaMA, for telling; the Mllm is not to be used after."""
    return cast(PeftModel, mllm.llm).merge_and_unload() if _is_wrapped(mllm.llm) else mllm.llm


def _is_wrapped(llm: nn.Module) -> bool:
    return isinstance(llm, PeftModel)
