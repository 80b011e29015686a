"""The teller: told as by the published system, at the cost that it claims."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from story_model.build import build_llama, build_mllm
from story_model.cache_policy import POLICIES
from story_model.config import ModelConfig
from story_model.generate import Opening, Teller, merged
from story_model.mllm import Mllm
from story_model.tell_config import CacheConfig
from story_model.tokens import StoryTokenizer, train_tokenizer

CAPTIONS = ["The fox waves.", "The fox sleeps at the sea.", "The owl sings.", "The owl and the fox read."] * 3
NUM_IMAGE_TOKENS, NUM_FEATURES, WIDTH = 4, 9, 32


@pytest.fixture(scope="module")
def tokenizer() -> StoryTokenizer:
    trained = train_tokenizer(CAPTIONS, vocab_size=300, num_image_tokens=NUM_IMAGE_TOKENS)
    return StoryTokenizer(trained, NUM_IMAGE_TOKENS)


@pytest.fixture
def mllm(tokenizer) -> Mllm:
    return merged(with_lora(tokenizer))


def with_lora(tokenizer) -> Mllm:
    torch.manual_seed(0)
    model = ModelConfig.model_validate(
        {
            "image_encoder": {"output_dim": WIDTH, "num_queries": NUM_FEATURES},
            "mllm": {
                "language_model": {"hidden_size": WIDTH, "intermediate_size": 64, "layers": 2},
                "num_image_tokens": NUM_IMAGE_TOKENS,
                "lora": {"rank": 2, "alpha": 4},
            },
        }
    )
    mllm = build_mllm(model, build_llama(model, tokenizer)).eval().requires_grad_(False)
    for name, parameter in mllm.named_parameters():
        if name.endswith(("lora_B.default.weight", "_proj.base_layer.weight", "modules_to_save.default.weight")):
            nn.init.normal_(parameter, mean=float("norm" in name), std=0.2)
    return mllm


@pytest.fixture(scope="module")
def opening() -> Opening:
    features = torch.randn(NUM_FEATURES, WIDTH, generator=torch.Generator().manual_seed(2))
    return Opening("e1/0", "The fox looks at the hill.", features)


def prefer(mllm: Mllm, ids: list[int], score: float) -> None:
    """Have the model like some tokens most, whatever it read."""
    head = mllm.llama.lm_head
    biased = nn.Linear(head.in_features, head.out_features).requires_grad_(False)
    biased.weight.copy_(head.weight)
    biased.bias.zero_()
    biased.bias[ids] = score
    mllm.llama.lm_head = biased


def test_a_given_caption_costs_one_pass_over_what_is_new(mllm, tokenizer, opening) -> None:
    told = list(Teller(mllm, tokenizer).tell(opening, CAPTIONS))
    assert [pair.forwards for pair in told] == [1] * len(CAPTIONS)
    words = [len(tokenizer.encode(f"[INST]{caption}")) for caption in CAPTIONS]
    picture_and_end, begin_and_queries = NUM_IMAGE_TOKENS + 1, 1 + NUM_IMAGE_TOKENS
    before = 1 + len(tokenizer.encode(opening.caption)) + 1
    new = [picture_and_end + count + begin_and_queries for count in words]
    assert [pair.prefilled for pair in told] == [before + new[0], *new[1:]]
    assert {pair.decoded for pair in told} == {0}


def test_a_written_text_costs_a_pass_a_word(mllm, tokenizer, opening) -> None:
    prefer(mllm, [tokenizer.begin_of_image], 3.0)
    told = list(Teller(mllm, tokenizer, temperature=1.0, max_text_tokens=500).tell(opening, [None] * 6))
    assert len({pair.decoded for pair in told}) > 1
    assert [pair.forwards for pair in told] == [1 + pair.decoded + 1 for pair in told]
    assert not any(pair.was_cut for pair in told)
    assert {pair.prefilled for pair in told[1:]} == {NUM_IMAGE_TOKENS + 1 + 1 + 1 + NUM_IMAGE_TOKENS}


def test_the_cache_gives_what_reading_everything_anew_gives(mllm, tokenizer, opening) -> None:
    told = list(Teller(mllm, tokenizer).tell(opening, CAPTIONS[:4]))
    features = [opening.features, *(pair.features for pair in told)]
    picture = tokenizer.picture
    for index in range(1, 5):
        ids = [tokenizer.begin_of_story, *tokenizer.encode(opening.caption), *picture]
        for caption in CAPTIONS[: index - 1]:
            ids += [*tokenizer.encode(f"[INST]{caption}"), *picture]
        ids += [*tokenizer.encode(f"[INST]{CAPTIONS[index - 1]}"), *picture[:-1]]
        embeds = mllm.embed(torch.tensor(ids))
        starts = [place + 1 for place, token in enumerate(ids) if token == tokenizer.begin_of_image]
        for start, seen in zip(starts[:-1], features, strict=False):
            embeds[start : start + NUM_IMAGE_TOKENS] = mllm.input_resampler(seen[None])[0]
        hidden = mllm.llama.model(inputs_embeds=embeds[None], use_cache=False).last_hidden_state[0]
        whole = mllm.predict_features(hidden[-NUM_IMAGE_TOKENS:])[0]
        torch.testing.assert_close(told[index - 1].features, whole, atol=1e-5, rtol=0)


def test_a_text_holds_words_only(mllm, tokenizer, opening) -> None:
    marks = [tokenizer.begin_of_story, tokenizer.end_of_story, tokenizer.pad, *tokenizer.encode("[INST]")]
    marks += [tokenizer.end_of_image, *tokenizer.image_ids]
    prefer(mllm, marks, 1000.0)
    pair = next(Teller(mllm, tokenizer).tell(opening, [None]))
    assert pair.text_ids
    assert not set(pair.text_ids) & {*marks, tokenizer.begin_of_image}


def test_a_text_without_end_stops_at_its_budget_and_gets_its_picture(mllm, tokenizer, opening) -> None:
    prefer(mllm, tokenizer.encode("fox"), 1000.0)
    told = list(Teller(mllm, tokenizer, max_text_tokens=7).tell(opening, [None] * 3))
    assert [pair.decoded for pair in told] == [7] * 3
    assert [pair.forwards for pair in told] == [1 + 7] * 3
    assert all(pair.was_cut for pair in told)
    assert all(pair.features.shape == (NUM_FEATURES, WIDTH) for pair in told)


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_agree_until_something_is_let_go(mllm, tokenizer, opening, policy) -> None:
    memory = CacheConfig(window_segments=4, image_edge_tokens=1)
    dense, other = (
        list(Teller(mllm, tokenizer, policy=name, memory=memory).tell(opening, CAPTIONS)) for name in ("dense", policy)
    )
    differs = [not torch.equal(one.features, two.features) for one, two in zip(dense, other, strict=True)]
    assert differs == [policy != "dense" and one.index > 4 for one in dense]


def test_a_window_s_cache_does_not_grow(mllm, tokenizer, opening) -> None:
    memory = CacheConfig(window_segments=2)
    told = list(Teller(mllm, tokenizer, policy="window", memory=memory).tell(opening, ["The fox waves."] * 12))
    assert len({pair.cache_tokens for pair in told[3:]}) == 1


def test_a_multimodal_sink_grows_by_the_edges_of_one_picture(mllm, tokenizer, opening) -> None:
    memory = CacheConfig(window_segments=2, image_edge_tokens=2)
    told = list(Teller(mllm, tokenizer, policy="multimodal_sink", memory=memory).tell(opening, ["The fox waves."] * 12))
    sizes = [pair.cache_tokens for pair in told[3:]]
    assert {after - before for before, after in pairwise(sizes)} == {4}


@pytest.mark.parametrize("policy", POLICIES)
def test_forgetting_reads_nothing_anew(mllm, tokenizer, opening, policy) -> None:
    memory = CacheConfig(window_segments=1)
    told = list(Teller(mllm, tokenizer, policy=policy, memory=memory).tell(opening, ["The fox waves."] * 8))
    assert len({(pair.forwards, pair.prefilled) for pair in told[1:]}) == 1


def test_a_story_s_draws_depend_on_its_name_and_the_seed_alone(mllm, tokenizer, opening) -> None:
    teller = Teller(mllm, tokenizer, temperature=1.0, seed=3, max_text_tokens=8)
    alone = [pair.text_ids for pair in teller.tell(opening, [None] * 3)]
    list(teller.tell(replace(opening, story_id="another"), [None] * 2))
    assert [pair.text_ids for pair in teller.tell(opening, [None] * 3)] == alone
    others = [replace(opening, story_id="another"), opening]
    for other, seed in zip(others, (3, 4), strict=True):
        drawn = Teller(mllm, tokenizer, temperature=1.0, seed=seed, max_text_tokens=8).tell(other, [None] * 3)
        assert [pair.text_ids for pair in drawn] != alone


def test_merging_lora_changes_nothing_but_speed(tokenizer, opening) -> None:
    apart, together = with_lora(tokenizer), merged(with_lora(tokenizer))
    slow, fast = (list(Teller(mllm, tokenizer).tell(opening, CAPTIONS[:3])) for mllm in (apart, together))
    for one, two in zip(slow, fast, strict=True):
        torch.testing.assert_close(one.features, two.features, atol=1e-5, rtol=0)
