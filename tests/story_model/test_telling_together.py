"""Stories told together, interrupted, or beyond their memory: each is what it is alone, at the cost that is claimed."""

from collections import defaultdict

import pytest
import torch
from torch import Tensor, nn

from story_model.build import build_llama, build_mllm
from story_model.cache_policy import POLICIES, PairSpan, survivors
from story_model.checkpoint import load_tensors, save_tensors
from story_model.config import ModelConfig
from story_model.generate import Opening, Teller, Telling, ToldPair
from story_model.kv_cache import StoryCache
from story_model.mllm import Mllm
from story_model.tell_config import CacheConfig
from story_model.tokens import StoryTokenizer, train_tokenizer

CAPTIONS = ["The fox waves.", "The fox sleeps at the sea.", "The owl sings.", "The owl and the fox read."] * 3
NUM_IMAGE_TOKENS, NUM_FEATURES, WIDTH, LAYERS = 4, 9, 32, 2
SLOT_BYTES = 2 * LAYERS * WIDTH * 4
PAIR = NUM_IMAGE_TOKENS + 2
MEMORY = CacheConfig(window_segments=2, first_tokens=3, image_edge_tokens=2, text_edge_tokens=1)
TOLERANCE = {"atol": 1e-4, "rtol": 0}


@pytest.fixture(scope="module")
def tokenizer() -> StoryTokenizer:
    trained = train_tokenizer(CAPTIONS, vocab_size=300, num_image_tokens=NUM_IMAGE_TOKENS)
    return StoryTokenizer(trained, NUM_IMAGE_TOKENS)


def make_mllm(tokenizer: StoryTokenizer, layers: int = LAYERS) -> Mllm:
    """A network that likes to begin a picture, so that texts are of all lengths."""
    torch.manual_seed(0)
    model = ModelConfig.model_validate(
        {
            "image_encoder": {"output_dim": WIDTH, "num_queries": NUM_FEATURES},
            "mllm": {
                "language_model": {"hidden_size": WIDTH, "intermediate_size": 64, "layers": layers},
                "num_image_tokens": NUM_IMAGE_TOKENS,
                "lora": None,
            },
        }
    )
    mllm = build_mllm(model, build_llama(model, tokenizer)).eval().requires_grad_(False)
    for name, parameter in mllm.llama.named_parameters():
        if name.endswith("_proj.weight"):
            nn.init.normal_(parameter, std=0.2)
    head = mllm.llama.lm_head
    biased = nn.Linear(head.in_features, head.out_features).requires_grad_(False)
    biased.weight.copy_(head.weight * 10)
    biased.bias.zero_()
    biased.bias[tokenizer.begin_of_image] = 3.0
    mllm.llama.lm_head = biased
    return mllm


@pytest.fixture(scope="module")
def mllm(tokenizer) -> Mllm:
    return make_mllm(tokenizer)


@pytest.fixture(scope="module")
def openings() -> list[Opening]:
    generator = torch.Generator().manual_seed(2)
    captions = [
        "The fox.",
        "The fox looks at the hill and at the sea.",
        "An owl.",
        "The sea.",
        "A fox reads to an owl.",
    ]
    return [
        Opening(f"e{number}/0", caption, torch.randn(NUM_FEATURES, WIDTH, generator=generator))
        for number, caption in enumerate(captions)
    ]


GIVEN: list[list[str | None]] = [[*CAPTIONS[:7]], [*CAPTIONS[3:5]], [*CAPTIONS[2:8]], [], [*CAPTIONS[5:12]]]
FREE: list[list[str | None]] = [[None] * count for count in (5, 2, 6, 0, 4)]
MIXED: list[list[str | None]] = [[None, *CAPTIONS[:3], None], [*CAPTIONS[:5]], [None] * 4, [None, "The sea."], []]


def collect(telling: Telling) -> dict[int, list[ToldPair]]:
    told = defaultdict(list)
    for number, pair in telling:
        told[number].append(pair)
    return told


def assert_same(together: list[ToldPair], alone: list[ToldPair]) -> None:
    assert len(together) == len(alone)
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.features, other.features, **TOLERANCE)
        costs = ("index", "text", "text_ids", "forwards", "prefilled", "decoded", "cache_tokens", "was_cut")
        assert [getattr(one, name) for name in costs] == [getattr(other, name) for name in costs]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("captions", [GIVEN, FREE, MIXED], ids=["given", "free", "mixed"])
@pytest.mark.parametrize("policy", POLICIES)
def test_stories_told_together_are_each_told_as_alone(mllm, tokenizer, openings, policy, captions, temperature) -> None:
    teller = Teller(mllm, tokenizer, policy=policy, memory=MEMORY, temperature=temperature, max_text_tokens=12)
    together = collect(teller.tell_together(openings, captions))
    for number, opening in enumerate(openings):
        assert_same(together[number], list(teller.tell(opening, captions[number])))


def test_given_captions_cost_a_pass_a_segment_for_all_stories_together(mllm, tokenizer, openings) -> None:
    telling = Teller(mllm, tokenizer).tell_together(openings, GIVEN)
    collect(telling)
    assert telling.forwards == max(len(captions) for captions in GIVEN)


def test_written_texts_cost_a_pass_a_word_of_the_longest_and_finished_ones_nothing(
    mllm, tokenizer, openings, monkeypatch
) -> None:
    rows = []
    read = StoryCache.read

    def counted(cache: StoryCache, embeds: Tensor, counts: list[int]) -> Tensor:
        rows.append(len(counts))
        return read(cache, embeds, counts)

    monkeypatch.setattr(StoryCache, "read", counted)
    telling = Teller(mllm, tokenizer, temperature=1.0, max_text_tokens=12).tell_together(openings, FREE)
    told = collect(telling)
    segments = [[pairs[place] for pairs in told.values() if place < len(pairs)] for place in range(6)]
    assert len({pair.decoded for pair in segments[0]}) > 1
    assert {pair.was_cut for pairs in told.values() for pair in pairs} == {False, True}
    choices = [max(pair.decoded + (not pair.was_cut) for pair in pairs) for pairs in segments]
    assert telling.forwards == len(rows) == sum(choices) + len(segments)
    assert sum(rows) == sum(pair.forwards for pairs in told.values() for pair in pairs)


def whole_story(mllm: Mllm, tokenizer: StoryTokenizer, opening: Opening, told: list[ToldPair]) -> tuple[Tensor, list]:
    """Embeddings of all that was said (S, D), and where each pair lies."""
    parts, pairs, said = [], [], 0
    texts = [[tokenizer.begin_of_story, *tokenizer.encode(opening.caption)], *(pair.text_ids for pair in told)]
    for ids, features in zip(texts, [opening.features, *(pair.features for pair in told)], strict=True):
        words = mllm.embed(torch.tensor([*ids, tokenizer.begin_of_image]))
        parts += [words, mllm.input_resampler(features[None])[0], mllm.embed(torch.tensor([tokenizer.end_of_image]))]
        pairs.append(PairSpan(said, said + len(ids), said + len(ids) + NUM_IMAGE_TOKENS + 1))
        said += len(ids) + PAIR
    return torch.cat(parts), pairs


@pytest.mark.parametrize("policy", POLICIES)
def test_telling_is_full_attention_with_the_evicted_masked(mllm, tokenizer, openings, policy) -> None:
    teller = Teller(mllm, tokenizer, policy=policy, memory=MEMORY, positions="absolute")
    told = list(teller.tell(openings[0], CAPTIONS[:7]))
    embeds, pairs = whole_story(mllm, tokenizer, openings[0], told)
    queries = mllm.embed(torch.tensor(tokenizer.image_ids))
    total = len(embeds) + len(told) * NUM_IMAGE_TOKENS
    sees = torch.zeros(total, total, dtype=torch.bool)
    positions = torch.arange(total)
    read_from, held = 0, set()
    for number, pair in enumerate(pairs[1:], start=1):
        held &= set(survivors(policy, pairs[:number], MEMORY))
        read_to = pair.begin_of_image + 1
        for token in range(read_from, read_to):
            sees[token, [*held, *range(read_from, token + 1)]] = True
        held |= set(range(read_from, read_to))
        block = range(len(embeds) + (number - 1) * NUM_IMAGE_TOKENS, len(embeds) + number * NUM_IMAGE_TOKENS)
        positions[block.start : block.stop] = torch.arange(read_to, read_to + NUM_IMAGE_TOKENS)
        for query in block:
            sees[query, [*held, *range(block.start, query + 1)]] = True
        read_from = read_to
    sees[range(total), range(total)] = True
    hidden = mllm.llama.model(
        inputs_embeds=torch.cat([embeds, *[queries] * len(told)])[None],
        attention_mask=sees[None, None],
        position_ids=positions[None],
        use_cache=False,
    ).last_hidden_state[0]
    features = mllm.predict_features(hidden[len(embeds) :])
    torch.testing.assert_close(torch.stack([pair.features for pair in told]), features, **TOLERANCE)
    assert policy == "dense" or len(held) < read_from - PAIR


@pytest.mark.parametrize("policy", POLICIES)
def test_survivors_that_closed_up_are_a_story_of_the_survivors_alone(tokenizer, openings, policy) -> None:
    mllm = make_mllm(tokenizer, layers=1)  # with one layer, keys and values depend on nothing but token and position
    told = list(Teller(mllm, tokenizer, policy=policy, memory=MEMORY).tell(openings[0], CAPTIONS[:7]))
    embeds, pairs = whole_story(mllm, tokenizer, openings[0], told)
    for number, pair in enumerate(pairs[1:], start=1):
        kept = [*survivors(policy, pairs[:number], MEMORY), *range(pair.start, pair.begin_of_image + 1)]
        story = torch.cat([embeds[kept], mllm.embed(torch.tensor(tokenizer.image_ids))])
        hidden = mllm.llama.model(inputs_embeds=story[None], use_cache=False).last_hidden_state[0]
        alone = mllm.predict_features(hidden[-NUM_IMAGE_TOKENS:])[0]
        torch.testing.assert_close(told[number - 1].features, alone, **TOLERANCE)


@pytest.mark.parametrize("positions", ["slots", "absolute"])
def test_a_picture_in_one_pass_is_its_queries_one_by_one(mllm, tokenizer, openings, positions) -> None:
    teller = Teller(mllm, tokenizer, positions=positions)
    with torch.inference_mode():
        at_once, stepped = (teller.open_shelf([0], openings, GIVEN, {}) for _ in range(2))
        for shelf in (at_once, stepped):
            shelf.say(shelf.books[0], [*tokenizer.encode("The owl sings."), tokenizer.begin_of_image])
        stepped.read(1)
        hidden = []
        for query in tokenizer.image_ids:
            stepped.say(stepped.books[0], [query])
            hidden.append(stepped.read(1)[0, 0])
        features = mllm.predict_features(torch.stack(hidden))
        torch.testing.assert_close(at_once.imagine(), features, **TOLERANCE)


@pytest.mark.parametrize("captions", [GIVEN, FREE], ids=["given", "free"])
@pytest.mark.parametrize("positions", ["slots", "absolute"])
@pytest.mark.parametrize("policy", POLICIES)
def test_an_interrupted_story_goes_on_to_the_bit(
    mllm, tokenizer, openings, policy, positions, captions, tmp_path
) -> None:
    teller = Teller(mllm, tokenizer, policy=policy, memory=MEMORY, positions=positions, temperature=1.0)
    whole = list(teller.tell(openings[2], captions[2]))
    for stop in range(1, len(whole)):
        telling = teller.tell_together([openings[2]], [captions[2]])
        for _ in range(stop):
            next(telling)
        save_tensors(telling.state(0), tmp_path / "state.safetensors")
        states = {0: load_tensors(tmp_path / "state.safetensors")}
        rest = [pair for _, pair in teller.tell_together([openings[2]], [captions[2]], states)]
        assert [pair.index for pair in rest] == list(range(stop + 1, len(whole) + 1))
        for one, other in zip(rest, whole[stop:], strict=True):
            assert torch.equal(one.features, other.features)
            assert (one.text_ids, one.forwards, one.prefilled, one.cache_tokens) == (
                (other.text_ids, other.forwards, other.prefilled, other.cache_tokens)
            )


def test_a_state_is_handed_out_for_stories_in_hand_only(mllm, tokenizer, openings) -> None:
    telling = Teller(mllm, tokenizer).tell_together(openings, GIVEN)
    with pytest.raises(ValueError, match=r"story 0 .* not in hand"):
        telling.state(0)
    next(telling)
    assert telling.state(0)["pairs"].shape == (2, 3)
    with pytest.raises(ValueError, match=r"story 3 .* not in hand"):
        telling.state(3)


def test_captions_of_fewer_stories_than_openings_are_refused(mllm, tokenizer, openings) -> None:
    with pytest.raises(ValueError, match="5 openings and captions of 2 stories"):
        Teller(mllm, tokenizer).tell_together(openings, GIVEN[:2])


def held_of(policy: str, memory: CacheConfig, *, told: int, opening: int, text: int) -> int:
    """Tokens that survive of the opening and so many told pairs of equal texts, counted by hand."""
    evicted = max(told + 1 - memory.window_segments, 0)
    window = (told + 1 - evicted) * (text + PAIR) + (opening - text) * (evicted == 0)
    remembered = evicted if memory.max_evicted_images is None else min(evicted, memory.max_evicted_images)
    of_sink = memory.first_tokens * (evicted > 0)
    return {
        "dense": opening + PAIR + told * (text + PAIR),
        "window": window,
        "attention_sink": window + of_sink,
        "multimodal_sink": window + of_sink + remembered * 2 * memory.image_edge_tokens,
    }[policy]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_cache_holds_the_policy_s_tokens_in_little_more_than_their_room(mllm, tokenizer, openings, policy) -> None:
    memory = CacheConfig(window_segments=8, image_edge_tokens=2)
    count, caption = 40, CAPTIONS[1]
    teller = Teller(mllm, tokenizer, policy=policy, memory=memory)
    telling = teller.tell_together([openings[1]] * 3, [[caption] * count] * 3)
    text, opening = len(tokenizer.encode(f"[INST]{caption}")), 1 + len(tokenizer.encode(openings[1].caption))
    most = 0
    for _, pair in telling:
        held = held_of(policy, memory, told=pair.index - 1, opening=opening, text=text) + text + 1
        assert pair.cache_tokens == held
        most = max(most, held + NUM_IMAGE_TOKENS)
        size = telling.cache_bytes
    assert 3 * most * SLOT_BYTES <= size <= 1.05 * 3 * most * SLOT_BYTES


@pytest.mark.parametrize("captions", [["The fox waves."] * 200, [None] * 200], ids=["given", "free"])
def test_two_hundred_segments_fit_in_the_room_of_the_first_ones(mllm, tokenizer, openings, captions) -> None:
    memory = CacheConfig(window_segments=4, image_edge_tokens=2, max_evicted_images=3)
    teller = Teller(mllm, tokenizer, policy="multimodal_sink", memory=memory, max_text_tokens=3)
    telling = teller.tell_together([openings[0]], [captions])
    sizes, tokens = zip(*((telling.cache_bytes, pair.cache_tokens) for _, pair in telling), strict=True)
    assert len(set(sizes[8:])) == 1
    assert max(tokens[100:]) <= max(tokens[8:100])


def test_a_story_that_is_no_longer_finite_is_named(mllm, tokenizer, openings) -> None:
    broken = Opening("e7/1", "The fox.", torch.full((NUM_FEATURES, WIDTH), torch.nan))
    with pytest.raises(ValueError, match=r"story e7/1, segment 1: .* not finite"):
        collect(Teller(mllm, tokenizer).tell_together([openings[0], broken], GIVEN[:2]))


def test_a_segment_that_is_no_longer_finite_is_named(tokenizer, openings) -> None:
    mllm = make_mllm(tokenizer)
    mllm.llama.get_input_embeddings().weight[tokenizer.encode("owl")] = torch.inf
    with pytest.raises(ValueError, match=r"story e1/0, segment 2: .* not finite"):
        collect(Teller(mllm, tokenizer).tell_together(openings[:2], [["The fox."] * 3, ["The fox.", "owl"]]))


@pytest.mark.parametrize("captions", [GIVEN, FREE], ids=["given", "free"])
def test_a_batch_that_memory_does_not_suffice_for_is_halved(
    mllm, tokenizer, openings, captions, monkeypatch, caplog
) -> None:
    read = StoryCache.read
    passes = 0

    def limited(cache: StoryCache, embeds: Tensor, counts: list[int]) -> Tensor:
        nonlocal passes
        passes += 1
        if len(counts) > 2 and passes > 4:
            raise torch.OutOfMemoryError
        return read(cache, embeds, counts)

    teller = Teller(mllm, tokenizer, policy="multimodal_sink", memory=MEMORY, temperature=1.0, max_text_tokens=6)
    with monkeypatch.context() as patch:
        patch.setattr(StoryCache, "read", limited)
        together = collect(teller.tell_together(openings, captions))
    assert "out of memory" in caplog.text
    for number, opening in enumerate(openings):
        assert_same(together[number], list(teller.tell(opening, captions[number])))
