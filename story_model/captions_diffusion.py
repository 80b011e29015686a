"""The baseline that stories are compared with: latent diffusion from a caption alone, without the story before it.

The network is the de-tokenizer's UNet with LoRA on its attention; in the place of the resampler of picture features
stands a condition made of what a frozen text encoder says of the caption's words. It is trained, and paints, through
the same code as the de-tokenizer. Letters: N captions, B batch, T places for words, D width of a word's state.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from story_model.tokens import StoryTokenizer

_ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


class TextEncoder(Protocol):
    """Says what captions mean, word by word."""

    @property
    def shape(self) -> tuple[int, int]:
        """T and D."""
        ...

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Give states (N, T, D), float32 on the CPU; places behind a caption's last word are zero."""
        ...

    def of_nothing(self) -> Tensor:
        """Give the states (1, T, D) of no caption, which guidance goes away from."""
        ...


class LanguageModelEncoder:
    """The run's own language model, frozen, as a text encoder: the input of its last layer, as SD-XL takes CLIP's.

    The last layer's output is about the word that follows; the one before still knows which word stands there.
    """

    def __init__(self, llama: LlamaForCausalLM, tokenizer: StoryTokenizer, *, max_words: int) -> None:
        """Take the parts, and how many of a caption's tokens are read."""
        self._llama = llama
        self._tokenizer = tokenizer
        self.shape = (max_words, int(llama.config.hidden_size))

    @torch.no_grad()
    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Run the language model over captions, each by itself from the begin of a story."""
        device, places = self._llama.device, self.shape[0]
        words = [self._tokenizer.encode(caption)[:places] for caption in captions]
        ids = torch.full((len(captions), 1 + places), self._tokenizer.pad)
        ids[:, 0] = self._tokenizer.begin_of_story
        for row, known in zip(ids, words, strict=True):
            row[1 : 1 + len(known)] = torch.tensor(known, dtype=torch.long)
        # What pads stands behind the words, which therefore never see it.
        hidden = self._llama.model(ids.to(device), output_hidden_states=True, use_cache=False).hidden_states[-2]
        states = hidden[:, 1:].float().cpu()
        ends = torch.tensor([len(known) for known in words])
        return states * (torch.arange(places) < ends[:, None])[:, :, None]

    def of_nothing(self) -> Tensor:
        """Give the states of no words."""
        return torch.zeros(1, *self.shape, device=self._llama.device)


class WordsCondition(nn.Module):
    """States of a caption's words -> the UNet's condition tokens (B, T, prompt_dim) and pooled embedding."""

    def __init__(self, width: int, *, prompt_dim: int, pooled_dim: int, dropout: float = 0.0) -> None:
        """Set up the projections; `dropout` is the share of captions that are hidden in training, for guidance."""
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.to_prompt = nn.Linear(width, prompt_dim)
        self.to_pooled = nn.Linear(width, pooled_dim)
        self.dropout = dropout

    def forward(self, states_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Project words; places without one become tokens too, all alike, as the text encoders of SD-XL pad theirs."""
        if self.training and self.dropout:
            is_shown = torch.rand(len(states_BTD), 1, 1, device=states_BTD.device) >= self.dropout
            states_BTD = states_BTD * is_shown
        is_word = (states_BTD != 0).any(-1, keepdim=True).to(states_BTD.dtype)
        normed = self.norm(states_BTD)
        mean = (normed * is_word).sum(1) / is_word.sum(1).clamp(min=1)
        return self.to_prompt(normed), self.to_pooled(mean)


def add_attention_lora(unet: UNet2DConditionModel, *, rank: int, alpha: int) -> None:
    """Put LoRA on a UNet's attention and freeze the rest; it changes nothing until it is trained."""
    unet.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=_ATTENTION), unet)
