"""A CLIP of toy size and fresh weights, saved as `transformers` saves one."""

from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

LONGEST = 8


def save_clip(folder: Path, *, seed: int = 0) -> Path:
    """Save a network that reads lower-case letters."""
    letters = [chr(97 + number) for number in range(26)]
    tokens = ["<|startoftext|>", *letters, *(f"{letter}</w>" for letter in letters), "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=[])
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    end = len(tokens) - 1
    text = {"vocab_size": len(tokens), "max_position_embeddings": LONGEST, "eos_token_id": end, "bos_token_id": 0}
    config = CLIPConfig(
        text_config={**small, **text, "pad_token_id": end},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    torch.manual_seed(seed)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return folder
