"""The teller against the published system: the same words, and the same features of each picture."""

from parity import PARITY_DIR, Fixture, assert_equal, resamplers_of
from transformers import LlamaConfig, LlamaForCausalLM

from story_model.generate import Opening, Teller
from story_model.mllm import Mllm
from story_model.tokens import load_tokenizer


def test_segments_are_told_as_by_the_published_system() -> None:
    fixture = Fixture("telling")
    sizes = fixture.config
    tokenizer = load_tokenizer(PARITY_DIR / "telling_tokenizer" / "tokenizer.json", sizes["image_tokens"])
    mllm = Mllm(LlamaForCausalLM(LlamaConfig(**sizes["llama"])), **resamplers_of(sizes)).eval()
    fixture.load(mllm)
    teller = Teller(mllm, tokenizer, separator="", max_text_tokens=500)
    opening = Opening("", sizes["caption"], fixture.tensors["in.opening_features"][0])
    told = list(teller.tell(opening, [None] * sizes["segments"]))
    numbers = range(sizes["segments"])
    ids = [fixture.tensors[f"out.segment_ids.{number}"].tolist() for number in numbers]
    assert [pair.text_ids + tokenizer.picture for pair in told] == ids
    assert [pair.text for pair in told] == sizes["texts"]
    for number in numbers:
        assert_equal(told[number].features, fixture.tensors[f"out.features.{number}"][0])
