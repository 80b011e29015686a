"""A LLaVA of a few thousand random weights, with the tokenizer and the templates that a real one has."""

from pathlib import Path

TEMPLATE = (
    "{% for turn in messages %}{{ turn['role'] }}: "
    "{% for part in turn['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)
SPECIAL = ("<pad>", "<s>", "</s>", "<image>")


def save_toy(folder: Path, *, seed: int = 0, template: str | None = TEMPLATE) -> Path:
    """Save a network whose vocabulary is bytes and whose answers depend on the picture."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer, num_words = _tokenizer()
    size = {"height": 16, "width": 16}
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=size),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    processor.save_pretrained(folder)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = LlamaConfig(
        **shape,
        vocab_size=num_words,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.5,
    )
    vision = CLIPVisionConfig(**shape, image_size=16, patch_size=8, projection_dim=16, initializer_range=0.5)
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_id=SPECIAL.index("<image>"))
    )
    for weights in model.model.multi_modal_projector.parameters():
        torch.nn.init.normal_(weights, std=0.5)
    model.save_pretrained(folder)
    return folder


def _tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate([*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    bytewise = Tokenizer(models.BPE(vocab=words, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    pad, begin, end, image = SPECIAL
    names = {"pad_token": pad, "bos_token": begin, "eos_token": end, "additional_special_tokens": [image]}
    return PreTrainedTokenizerFast(tokenizer_object=bytewise, **names), len(words)
