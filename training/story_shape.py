"""How long stories are as sequences: positions, and which of them look at which, without any tokenizer.

`tokens.py` lays real stories out; here are the numbers that its layouts come to for captions of a mean length, from
which a training's work and memory follow.
"""

from dataclasses import dataclass, fields
from statistics import mean, pstdev

_EDGES = 2
"""Begin and end of a picture."""


@dataclass(frozen=True)
class StoryText:
    """The views of stories that training reads."""

    num_pairs: int
    """Picture-text pairs of a view."""
    image_tokens: int
    """Of a picture, its begin and end not counted."""
    caption_tokens: int
    """Of a caption, on average."""
    separator_tokens: int
    """Of what stands before each caption but the first: one where the tokenizer knows it as such, four with LLaMA's."""


@dataclass(frozen=True)
class SequenceShape:
    """One sample of the language model; fractions where it is a mean over samples."""

    tokens: float
    """Positions."""
    attended: float
    """(query, key) pairs of positions, causality and masks respected."""
    scored: float
    """Positions with a word to be predicted."""
    context_pictures: float
    target_pictures: float

    @property
    def pictures(self) -> float:
        """Uses of a picture's features."""
        return self.context_pictures + self.target_pictures


def prefix_shape(text: StoryText, target: int) -> SequenceShape:
    """Measure the sample whose last pair, `target`, is to be predicted, and it alone (`tokens.training_sample`)."""
    pair = text.caption_tokens + text.image_tokens + _EDGES
    tokens = 1 + (target + 1) * pair + target * text.separator_tokens + 1
    scored = text.separator_tokens + text.caption_tokens + 2  # the picture's begin, the story's end
    return SequenceShape(tokens, _causal(tokens), scored, target, 1)


def prefix_shapes(text: StoryText) -> list[SequenceShape]:
    """Measure the samples of every target; training draws them equally often."""
    return [prefix_shape(text, target) for target in range(1, text.num_pairs)]


def mean_prefix_shape(text: StoryText) -> SequenceShape:
    """Average over the targets."""
    shapes = prefix_shapes(text)
    return SequenceShape(*(mean(getattr(shape, field.name) for shape in shapes) for field in fields(SequenceShape)))


def all_targets_shape(text: StoryText) -> SequenceShape:
    """Measure the sample in which every pair but the first is to be predicted.

    The story as context runs up to its last picture's begin. Each pair but the first has a block besides: its picture
    as queries, the picture's end and the story's end, which look at the context up to their pair and at themselves.
    """
    picture, separated = text.image_tokens + _EDGES, text.separator_tokens + text.caption_tokens
    begins = [1 + text.caption_tokens + pair * picture + pair * separated + 1 for pair in range(text.num_pairs)]
    """Context up to and including the begin of each pair's picture."""
    context, block, targets = begins[-1], text.image_tokens + 2, text.num_pairs - 1
    attended = _causal(context) + sum(block * seen + _causal(block) for seen in begins[1:])
    return SequenceShape(context + targets * block, attended, targets * (separated + 2), targets, targets)


def words_shape(text: StoryText) -> SequenceShape:
    """Measure a view's captions alone, which the language model is pretrained on."""
    tokens = 2 + text.num_pairs * text.caption_tokens + (text.num_pairs - 1) * text.separator_tokens
    return SequenceShape(tokens, _causal(tokens), tokens, 0, 0)


def long_batch_tokens(text: StoryText, samples: int) -> float:
    """Give the positions that hardly any batch of prefixes exceeds: two deviations above the mean, or all longest."""
    lengths = [shape.tokens for shape in prefix_shapes(text)]
    return min(samples * mean(lengths) + 2 * samples**0.5 * pstdev(lengths), samples * max(lengths))


def _causal(tokens: int) -> int:
    return tokens * (tokens + 1) // 2
