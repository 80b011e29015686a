"""The baseline's network: what captions become, and a UNet that LoRA leaves as it was."""

import pytest
import torch
from torch import Tensor

from story_model.build import build_captions_diffusion, build_llama
from story_model.captions_diffusion import LanguageModelEncoder, WordsCondition
from story_model.config import load_config
from story_model.detokenizer import size_ids
from story_model.tokens import StoryTokenizer, train_tokenizer
from story_model.train_config import BaselineConfig

CAPTIONS = ["Pip runs.", "Luna sleeps in the city.", "Bolt waves at the beach.", "Tiko jumps."]
MODEL = load_config(
    "tiny",
    [
        "model.mllm.language_model={vocab_size: 300, hidden_size: 32, intermediate_size: 48, layers: 2}",
        "model.mllm.num_image_tokens=4",
        "model.detokenizer.picture_size=32",
        "model.detokenizer.unet_channels=[16, 32]",
        "model.detokenizer.unet_heads=[2, 2]",
    ],
).model
BASELINE = BaselineConfig(steps=1, batch_size=1, rank=4, alpha=4, max_words=12, caption_dropout=0.0)


@pytest.fixture(scope="module")
def encoder() -> LanguageModelEncoder:
    torch.manual_seed(0)
    tokenizer = StoryTokenizer(train_tokenizer(CAPTIONS, vocab_size=300, num_image_tokens=4), 4)
    return LanguageModelEncoder(build_llama(MODEL, tokenizer).eval(), tokenizer, max_words=12)


def answer(network: torch.nn.Module, states: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    sizes = MODEL.detokenizer
    side = sizes.picture_size // sizes.latent_factor
    latents = torch.randn(len(states), sizes.latent_channels, side, side, generator=generator)
    return network(latents, torch.full((len(states),), 500), states, size_ids(32, len(states)))


def test_a_caption_s_states_do_not_depend_on_what_is_read_beside_it(encoder) -> None:
    together, alone = encoder(CAPTIONS), torch.cat([encoder([caption]) for caption in CAPTIONS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert together.shape == (4, *encoder.shape)


def test_places_behind_the_last_word_are_zero_and_no_word_s_is(encoder) -> None:
    states = encoder(["Tiko jumps.", CAPTIONS[1]])
    ends = [len(encoder._tokenizer.encode(caption)) for caption in ("Tiko jumps.", CAPTIONS[1])]
    for state, end in zip(states, ends, strict=True):
        assert (state[:end] != 0).any(1).all()
        assert not state[end:].any()


def test_what_is_longer_than_its_places_is_cut_off(encoder) -> None:
    long = " ".join(CAPTIONS)
    torch.testing.assert_close(encoder([long]), encoder([long + " And more."]))


def test_no_caption_is_a_caption_without_words(encoder) -> None:
    torch.testing.assert_close(encoder.of_nothing(), encoder([""]))


def test_the_pooled_embedding_is_of_the_words_alone() -> None:
    condition = WordsCondition(8, prompt_dim=6, pooled_dim=4)
    words = torch.randn(1, 3, 8)
    short, long = (torch.cat([words, torch.zeros(1, pad, 8)], 1) for pad in (1, 9))
    torch.testing.assert_close(condition(short)[1], condition(long)[1])
    assert condition(long)[0].shape == (1, 12, 6)


def test_hidden_captions_are_hidden_in_training_alone() -> None:
    condition = WordsCondition(8, prompt_dim=6, pooled_dim=4, dropout=0.5)
    states, nothing = torch.randn(64, 3, 8), condition(torch.zeros(1, 3, 8))[1]
    torch.manual_seed(0)
    hidden = (condition.train()(states)[1] == nothing).all(1).sum()
    assert 16 < hidden < 48
    assert not (condition.eval()(states)[1] == nothing).all(1).any()


def test_only_lora_and_the_projections_are_trained_and_lora_sits_on_all_attention() -> None:
    network = build_captions_diffusion(MODEL, BASELINE)
    trained = [name for name, value in network.named_parameters() if value.requires_grad]
    assert all("lora_" in name or name.startswith("resampler.") for name in trained)
    attentions = [name for name, _ in network.unet.named_modules() if name.endswith((".attn1", ".attn2"))]
    for part in ("to_q", "to_k", "to_v", "to_out.0"):
        assert sum(f".{part}.lora_A" in name for name in trained) == len(attentions) > 0


def test_captions_decide_the_answer_and_every_trained_weight_gets_a_gradient(encoder) -> None:
    torch.manual_seed(0)
    network = build_captions_diffusion(MODEL, BASELINE)
    first, second = answer(network, encoder(CAPTIONS[:2]))
    assert not torch.allclose(first, second)
    answer(network, encoder(CAPTIONS[:2])).square().sum().backward()
    trained = {name: value for name, value in network.named_parameters() if value.requires_grad}
    # LoRA's second matrix is zero at the start, so that the first one's gradient is as well.
    assert all(value.grad is not None and value.grad.any() for name, value in trained.items() if "lora_A" not in name)


def test_at_the_published_size_it_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="text_encoder_2"):
        build_captions_diffusion(load_config("seed-story-7b").model, BASELINE)
