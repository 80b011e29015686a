"""Stories of any length at constant cost: each cache policy against the published algorithm, on the same weights.

The published algorithm, as its code runs it: for every segment the window of the last pictures is read anew from its
beginning, every picture of it goes through the input resampler again, and the text, begin-of-image, every image token
and end-of-image are produced one forward pass at a time. Weights are random, so that no text ends by itself and both
sides write the same number of words; what is timed is the language model with its resamplers, not the painting. Both
compute in one precision; the published code tells in half precision throughout.

Run it in the project's folder: `python -m benchmarks.long_stories --preset tiny`.
"""

import argparse
import gc
import json
import resource
import statistics
import time
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import get_args

import matplotlib.pyplot as plt
import torch
from torch import Tensor
from transformers import DynamicCache

from story_model.build import build_llama, build_mllm
from story_model.cache_policy import most_tokens
from story_model.config import load_config
from story_model.device import dtype_of
from story_model.generate import Opening, Teller, ToldPair, merged
from story_model.mllm import Mllm
from story_model.tell_config import Policy
from story_model.tokens import StoryTokenizer, train_tokenizer
from story_model.train_config import Precision

SENTENCE = "Pip the fox waves to a friend in the meadow while Luna the owl sleeps in the city late at night"
WORDS = SENTENCE.split()
WINDOW = 8
LENGTHS = (10, 25, 50, 100)


@dataclass(frozen=True)
class Cost:
    """What telling a batch of stories took."""

    side: str
    """The policy, or `published`."""
    mode: str
    batch: int
    segments: int
    seconds_per_segment: float
    """Of one story: the batch's time over its stories and segments."""
    forwards: float
    """Passes through the language model, of the whole batch, a segment."""
    prefilled: float
    """Tokens read that the model did not write, a segment of one story."""
    decoded: float
    """Tokens written, a segment of one story."""
    cache_tokens: int
    """Of one story at the end."""
    cache_mb: float
    """Room taken for keys and values, of the whole batch."""
    peak_memory_mb: float
    """Of the process so far."""


class Published:
    """The published algorithm at work on our networks, one story at a time."""

    def __init__(self, mllm: Mllm, tokenizer: StoryTokenizer, *, num_words: int) -> None:
        """Take what to tell with, and how long a text is."""
        self.mllm = mllm
        self.tokenizer = tokenizer
        self.num_words = num_words
        marks = [tokenizer.begin_of_story, tokenizer.end_of_story, tokenizer.pad, *tokenizer.picture]
        self._never = torch.tensor([*marks, *tokenizer.encode("[INST]")])
        self.forwards = self.prefilled = self.decoded = self.cache_tokens = 0

    @torch.inference_mode()
    def tell(self, opening: Opening, captions: list[str | None]) -> list[Tensor]:
        """Tell a story; gives the pictures' features."""
        texts = [self.tokenizer.encode(opening.caption)]
        features = [opening.features]
        for caption in captions:
            texts, features = texts[-WINDOW:], features[-WINDOW:]
            given = [] if caption is None else self.tokenizer.encode(f"[INST]{caption}")
            text, picture = self._segment(texts, features, given)
            texts.append(text)
            features.append(picture)
        return features[1:]

    def _segment(self, texts: list[list[int]], features: list[Tensor], given: list[int]) -> tuple[list[int], Tensor]:
        tokenizer, cache = self.tokenizer, DynamicCache()
        shown = self.mllm.input_resampler(torch.stack(features).to(self.mllm.llama.lm_head.weight))
        parts = [self._embed([tokenizer.begin_of_story])]
        for text, picture in zip(texts, shown, strict=True):
            parts += [self._embed([*text, tokenizer.begin_of_image]), picture, self._embed([tokenizer.end_of_image])]
        start = given or tokenizer.encode("[INST]")
        hidden = self._read(torch.cat([*parts, self._embed(start)]), cache)
        text = list(start)
        while not given and len(text) < self.num_words + len(start):
            logits = self.mllm.llama.lm_head(hidden[-1])
            text.append(int(logits.index_fill(-1, self._never, -torch.inf).argmax()))
            hidden = self._step(text[-1], cache)
            self.decoded += 1
        states = []
        for token in tokenizer.picture:
            hidden = self._step(token, cache)
            states.append(hidden[-1])
        self.cache_tokens = cache.get_seq_length()
        return text, self.mllm.predict_features(torch.stack(states[1:-1]))[0]

    def _step(self, token: int, cache: DynamicCache) -> Tensor:
        return self._read(self._embed([token]), cache, counted=False)

    def _read(self, embeds_SD: Tensor, cache: DynamicCache, *, counted: bool = True) -> Tensor:
        self.forwards += 1
        self.prefilled += len(embeds_SD) * counted
        out = self.mllm.llama.model(inputs_embeds=embeds_SD[None], past_key_values=cache, use_cache=True)
        return out.last_hidden_state[0]

    def _embed(self, ids: list[int]) -> Tensor:
        return self.mllm.embed(torch.tensor(ids))


class Bench:
    """Networks of random weights, openings and captions of equal length."""

    def __init__(self, preset: str, overrides: list[str], *, num_words: int, precision: Precision = "float32") -> None:
        """Make everything that both sides are given."""
        config = load_config(preset, overrides)
        self.memory = config.tell.cache.model_copy(update={"window_segments": WINDOW, "max_evicted_images": 8})
        self.num_words = num_words
        size = config.model.mllm.num_image_tokens
        trained = train_tokenizer([" ".join(WORDS)], vocab_size=400, num_image_tokens=size)
        self.tokenizer = StoryTokenizer(trained, size)
        torch.manual_seed(0)
        model = build_mllm(config.model, build_llama(config.model, self.tokenizer)).eval().requires_grad_(False)
        self.mllm = merged(model)
        # A text is to end at its budget: nothing that was drawn at random may begin a picture.
        self.mllm.llama.lm_head.weight[self.tokenizer.begin_of_image] *= 0
        self.mllm.llama.lm_head.weight[self.tokenizer.begin_of_image] -= 1e-3
        for parameter in self.mllm.parameters():
            parameter.data = parameter.data.to(dtype_of(precision))  # and no buffer: rotary frequencies stay float32
        encoder = config.model.image_encoder
        generator = torch.Generator().manual_seed(1)
        features = torch.randn(8, encoder.num_queries, encoder.output_dim, generator=generator)
        self.openings = [Opening(f"story {row}", " ".join(WORDS[:12]), one) for row, one in enumerate(features)]

    def captions(self, mode: str, segments: int) -> list[str | None]:
        """Give what is given of each text."""
        turned = [" ".join(WORDS[place % 8 :][:12]) for place in range(segments)]
        return list(turned) if mode == "captions_given" else [None] * segments

    def ours(self, policy: Policy, mode: str, *, batch: int, segments: int) -> Cost:
        """Tell a batch of stories by one of the policies."""
        teller = Teller(self.mllm, self.tokenizer, policy=policy, memory=self.memory, max_text_tokens=self.num_words)
        captions = self.captions(mode, segments)
        started = time.perf_counter()
        telling = teller.tell_together(self.openings[:batch], [captions] * batch)
        told, cache_bytes = [], 0
        for _, pair in telling:
            told.append(pair)
            cache_bytes = max(cache_bytes, telling.cache_bytes)
        seconds = time.perf_counter() - started
        return self._cost(policy, mode, batch, segments, seconds, told, telling.forwards, cache_bytes)

    def published(self, mode: str, *, segments: int) -> Cost:
        """Tell one story by the published algorithm; it tells no two at once."""
        side = Published(self.mllm, self.tokenizer, num_words=self.num_words)
        started = time.perf_counter()
        side.tell(self.openings[0], self.captions(mode, segments))
        seconds = time.perf_counter() - started
        return Cost(
            "published",
            mode,
            1,
            segments,
            seconds / segments,
            side.forwards / segments,
            side.prefilled / segments,
            side.decoded / segments,
            side.cache_tokens,
            side.cache_tokens * self.bytes_per_token() / 2**20,
            peak_mb(),
        )

    def bytes_per_token(self) -> int:
        """Give the size of one token's keys and values over all layers."""
        sizes = self.mllm.llama.config
        return 2 * sizes.num_hidden_layers * sizes.hidden_size * self.mllm.llama.dtype.itemsize

    def _cost(
        self,
        policy: Policy,
        mode: str,
        batch: int,
        segments: int,
        seconds: float,
        told: list[ToldPair],
        forwards: int,
        cache_bytes: int,
    ) -> Cost:
        pairs = batch * segments
        return Cost(
            policy,
            mode,
            batch,
            segments,
            seconds / pairs,
            forwards / segments,
            sum(pair.prefilled for pair in told) / pairs,
            sum(pair.decoded for pair in told) / pairs,
            told[-1].cache_tokens,
            cache_bytes / 2**20,
            peak_mb(),
        )


def peak_mb() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory_growth_mb(bench: Bench, segments: int) -> float:
    """Tell one long story and give by how much the memory in use grows over its second half, in MB.

    `max_evicted_images` bounds what is remembered; the pairs told are let go as they come.
    """
    teller = Teller(bench.mllm, bench.tokenizer, policy="multimodal_sink", memory=bench.memory)
    captions = bench.captions("captions_given", segments)
    middle = 0.0
    for pair in teller.tell(bench.openings[0], captions):
        if pair.index == segments // 2:
            middle = resident_mb()
    return resident_mb() - middle


def resident_mb() -> float:
    """Memory in use by this process right now (Linux)."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def side_by_side(bench: Bench, mode: str, batch: int, rounds: int) -> float:
    """Compare a 25-segment story of ours with the published algorithm's, in turns; the median ratio per story."""
    ratios = []
    for _ in range(rounds):
        theirs = bench.published(mode, segments=25)
        ours = bench.ours("multimodal_sink", mode, batch=batch, segments=25)
        ratios.append(theirs.seconds_per_segment / ours.seconds_per_segment)
    return statistics.median(ratios)


def new_tokens(bench: Bench, captions: list[str | None]) -> float:
    """Count what a segment of a story adds that has to be read: words given, the last picture, this one's queries."""
    tokenizer = bench.tokenizer
    opening = 1 + len(tokenizer.encode(bench.openings[0].caption)) + 1
    words = sum(len(tokenizer.encode(f"[INST]{caption or ''}")) for caption in captions)
    pictures = len(captions) * (tokenizer.num_image_tokens + 1 + 1 + tokenizer.num_image_tokens)
    return (opening + words + pictures) / len(captions)


def formula_mb(bench: Bench, cost: Cost) -> float:
    """Give the size of the keys and values that a policy has to hold at its fullest, for the whole batch."""
    tokenizer = bench.tokenizer
    texts = [len(tokenizer.encode(f"[INST]{caption or ''}")) for caption in bench.captions(cost.mode, cost.segments)]
    texts = [count + (bench.num_words if cost.mode == "free" else 0) for count in texts]
    opening = 1 + len(tokenizer.encode(bench.openings[0].caption))
    policy = next(policy for policy in get_args(Policy) if policy == cost.side)
    tokens = most_tokens(policy, opening, texts, tokenizer.num_image_tokens, bench.memory)
    return cost.batch * tokens * bench.bytes_per_token() / 2**20


def table(costs: list[Cost]) -> None:
    """Print a row a measurement."""
    heads = [head.name for head in fields(Cost)]
    rows = [[f"{value:.4g}" if isinstance(value, float) else str(value) for value in astuple(cost)] for cost in costs]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in [heads, *rows]:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def plot(costs: list[Cost], path: Path) -> None:
    """Draw seconds a segment and the cache's size against the length of the story (batch 1, text written)."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for side in dict.fromkeys(cost.side for cost in costs):
        chosen = [cost for cost in costs if cost.side == side and cost.batch == 1 and cost.mode == "free"]
        lengths = [cost.segments for cost in chosen]
        axes[0].plot(lengths, [1000 * cost.seconds_per_segment for cost in chosen], marker="o", label=side)
        axes[1].plot(lengths, [cost.cache_mb for cost in chosen], marker="o", label=side)
    axes[0].set(title="Language model's time", xlabel="segments told", ylabel="ms a segment", ylim=(0, None))
    axes[1].set(title="Keys and values held", xlabel="segments told", ylabel="MB", ylim=(0, None))
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--set", dest="overrides", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--image-tokens", type=int, default=64, help="tokens of a picture (default: the published 64; tiny's own are 9)"
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--words", type=int, default=14, help="tokens of a text (default: what a caption of tiny has)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=get_args(Precision), default="float32", help="of both sides")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--longest", type=int, default=1000, help="segments of the story whose memory is watched")
    parser.add_argument("--plot", type=Path, help="where to draw cost against length (PNG)")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    overrides = [*given.overrides, f"model.mllm.num_image_tokens={given.image_tokens}"]
    bench = Bench(given.preset, overrides, num_words=given.words, precision=given.precision)
    bench.ours("dense", "free", batch=1, segments=2)  # the libraries' first call
    costs = []
    for mode in ("free", "captions_given"):
        for segments in given.lengths:
            costs.append(bench.published(mode, segments=segments))
            costs += [
                bench.ours(policy, mode, batch=batch, segments=segments)
                for policy in get_args(Policy)
                for batch in (1, 8)
            ]
    table(costs)
    if given.plot:
        plot(costs, given.plot)

    ours = [cost for cost in costs if cost.side != "published"]
    longest, shorter = max(given.lengths), 25 if 25 in given.lengths else min(given.lengths)
    pairs = [
        (
            bench.ours("multimodal_sink", "free", batch=1, segments=longest),
            bench.ours("multimodal_sink", "free", batch=1, segments=shorter),
        )
        for _ in range(given.rounds)
    ]
    growth = statistics.median(long.seconds_per_segment / short.seconds_per_segment for long, short in pairs)
    found = {
        "speedup_text_batch1": side_by_side(bench, "free", 1, given.rounds),
        "speedup_text_batch8": side_by_side(bench, "free", 8, given.rounds),
        "speedup_captions_given": side_by_side(bench, "captions_given", 1, given.rounds),
        "speedup_captions_given_batch8": side_by_side(bench, "captions_given", 8, given.rounds),
        f"seconds_per_segment_{longest}_over_{shorter}": growth,
        "kv_bytes_over_formula": max(cost.cache_mb / formula_mb(bench, cost) for cost in ours),
        "prefill_tokens_over_new_tokens": max(
            cost.prefilled / new_tokens(bench, bench.captions(cost.mode, cost.segments)) for cost in ours
        ),
        f"memory_growth_mb_over_{given.longest // 2}_segments": memory_growth_mb(bench, given.longest),
        "parameters": sum(parameter.numel() for parameter in bench.mllm.parameters()),
        "image_tokens": bench.tokenizer.num_image_tokens,
        "threads": given.threads,
    }
    rounded: dict[str, float | str] = {name: round(value, 3) for name, value in found.items()}
    print(json.dumps(rounded | {"precision": given.precision}))


if __name__ == "__main__":
    main()
