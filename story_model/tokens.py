"""Special tokens and the layouts of a story as one sequence: the one place that knows either.

One target, SEED-Story's training sample:

    <s> caption_0 <img> x 64 </img> [INST]caption_1 <img> x 64 </img> ... [INST]caption_t <img> q 64 </img> </s>

`x` are pictures that are given (context), `q` the picture to be predicted. Only the last caption, its `<img>` and the
end of the sequence are supervised, and the last picture's features.

All targets, which a story of n pairs has n - 1 of: a stream that the pictures are given in, then a block a target

    <s> caption_0 <img> x 64 </img> [INST]caption_1 <img> x 64 </img> ... [INST]caption_(n-1) <img>
        q 64 </img> </s>      after caption_1's <img>: sees the stream up to there, and itself
        ...
        q 64 </img> </s>      after caption_(n-1)'s

Nothing sees a block but itself, and its positions are those that follow that `<img>`. To a block, and to a word of the
stream, all is then as in the sample of that one target; so the losses are the sums of those samples' losses.
"""

from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

BEGIN_OF_STORY = "<s>"
END_OF_STORY = "</s>"
PAD = "<pad>"
UNKNOWN = "<unk>"
BEGIN_OF_IMAGE = "<img>"
END_OF_IMAGE = "</img>"
SEPARATOR = "[INST]"
IGNORED = -100
"""Label of a position that is not scored."""


def image_token(index: int) -> str:
    """Name the token of a picture's part."""
    return f"<img_{index:05d}>"


class StoryTokenizer:
    """A tokenizer that knows the tokens of pictures."""

    def __init__(self, tokenizer: Tokenizer, num_image_tokens: int) -> None:
        """Look the special tokens up by name; their order in the vocabulary is the file's own affair."""
        self._tokenizer = tokenizer
        self.num_image_tokens = num_image_tokens
        self.begin_of_story = self._id(BEGIN_OF_STORY)
        self.end_of_story = self._id(END_OF_STORY)
        # LLaMA 2 has no token for padding; what pads is never looked at.
        self.pad = self._id(PAD if tokenizer.token_to_id(PAD) is not None else UNKNOWN)
        self.begin_of_image = self._id(BEGIN_OF_IMAGE)
        self.end_of_image = self._id(END_OF_IMAGE)
        self.image_ids = [self._id(image_token(index)) for index in range(num_image_tokens)]
        self.vocab_size = tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def picture(self) -> list[int]:
        """Ids of a whole picture: begin, parts, end."""
        return [self.begin_of_image, *self.image_ids, self.end_of_image]

    def encode(self, text: str) -> list[int]:
        """Encode text (special tokens in it by their names); nothing is added around it."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: list[int]) -> str:
        """Decode the words among ids; special tokens and separators are left out."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True)).replace(SEPARATOR, " ").strip()

    def _id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise ValueError(f"the tokenizer has no token {token}; it was made for other pictures or not by us")
        return int(found)


def load_tokenizer(path: Path, num_image_tokens: int) -> StoryTokenizer:
    """Read a `tokenizer.json`.

    Raises:
        ValueError: it lacks a token that pictures need.
    """
    return StoryTokenizer(Tokenizer.from_file(str(path)), num_image_tokens)


def train_tokenizer(texts: list[str], *, vocab_size: int, num_image_tokens: int) -> Tokenizer:
    """Train a byte-level BPE of `vocab_size` words on texts, and add the tokens of stories and pictures."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[UNKNOWN, BEGIN_OF_STORY, END_OF_STORY, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(SEPARATOR, normalized=False)])
    pictures = [BEGIN_OF_IMAGE, *(image_token(index) for index in range(num_image_tokens)), END_OF_IMAGE]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in pictures])
    return tokenizer


@dataclass(frozen=True)
class TrainingSample:
    """One sequence and what is to be predicted of it; lists run over its positions."""

    input_ids: list[int]
    labels: list[int]
    """What stands at a position, to be predicted by the one before it; IGNORED where that is not scored."""
    context_positions: list[bool]
    target_positions: list[bool]
    position_ids: list[int]
    """Places in the story: a block goes on where the stream was left."""
    blocks: list[int]
    """0 in the stream, then 1, 2, ..."""
    last_seen: list[int]
    """Index of the last position of the stream that a position sees; in the stream its own."""


def training_sample(tokenizer: StoryTokenizer, captions: list[str], target: int) -> TrainingSample:
    """Lay out pairs 0..target of a story, the last of them to be predicted.

    Raises:
        ValueError: there is no pair before the target, or none at it.
    """
    if not 1 <= target < len(captions):
        raise ValueError(f"target {target} is not one of pairs 1..{len(captions) - 1}")
    *given, response = _pairs(tokenizer, captions[: target + 1])
    context = [token for pair in given for token in pair]
    response = [*response, tokenizer.end_of_story]
    input_ids = context + response
    is_image = set(tokenizer.image_ids)
    return TrainingSample(
        input_ids=input_ids,
        labels=[IGNORED] * len(context) + _labels(tokenizer, response),
        context_positions=[token in is_image for token in context] + [False] * len(response),
        target_positions=[False] * len(context) + [token in is_image for token in response],
        position_ids=list(range(len(input_ids))),
        blocks=[0] * len(input_ids),
        last_seen=list(range(len(input_ids))),
    )


def all_targets_sample(tokenizer: StoryTokenizer, captions: list[str]) -> TrainingSample:
    """Lay out a story with all of its pairs but the first to be predicted.

    Raises:
        ValueError: there is no pair but the first.
    """
    if len(captions) < 2:
        raise ValueError(f"a story of {len(captions)} pairs has nothing to be predicted; it takes two or more")
    pairs = _pairs(tokenizer, captions)
    block = [*tokenizer.image_ids, tokenizer.end_of_image, tokenizer.end_of_story]
    after_mark = tokenizer.num_image_tokens + 1  # the last picture is nobody's context
    stream = [token for pair in pairs for token in pair][:-after_mark]
    ends = accumulate(len(pair) for pair in pairs)
    marks = [end - after_mark - 1 for end in ends][1:]
    is_image = set(tokenizer.image_ids)
    return TrainingSample(
        input_ids=stream + block * len(marks),
        labels=[IGNORED] * len(pairs[0])
        + _labels(tokenizer, stream[len(pairs[0]) :])
        + _labels(tokenizer, block) * len(marks),
        context_positions=[token in is_image for token in stream] + [False] * len(block) * len(marks),
        target_positions=[False] * len(stream) + [token in is_image for token in block] * len(marks),
        position_ids=[*range(len(stream)), *(mark + 1 + place for mark in marks for place in range(len(block)))],
        blocks=[0] * len(stream) + [number for number in range(1, len(pairs)) for _ in block],
        last_seen=[*range(len(stream)), *(mark for mark in marks for _ in block)],
    )


def _pairs(tokenizer: StoryTokenizer, captions: list[str]) -> list[list[int]]:
    """Encode each caption with its picture and what stands before it."""
    picture = "".join([BEGIN_OF_IMAGE, *(image_token(i) for i in range(tokenizer.num_image_tokens)), END_OF_IMAGE])
    first, *others = captions
    encoded = [tokenizer.encode(f"{SEPARATOR}{caption}{picture}") for caption in others]
    return [[tokenizer.begin_of_story, *tokenizer.encode(f"{first}{picture}")], *encoded]


def _labels(tokenizer: StoryTokenizer, ids: list[int]) -> list[int]:
    unscored = {*tokenizer.image_ids, tokenizer.end_of_image}
    return [IGNORED if token in unscored else token for token in ids]
