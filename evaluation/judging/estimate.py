"""What questions will cost, before they are asked: an estimate, for tokens are counted by whoever charges for them."""

from collections.abc import Sequence
from math import ceil

from evaluation.judging.form import Message, pictures_in, texts_in
from story_model.asking.answers import Answer
from story_model.price_config import PriceConfig

BATCH_DISCOUNT = 0.5
"""Batch APIs charge half."""
_CHARACTERS_A_TOKEN = 4
_RATIONALE_TOKENS = 200
"""A few sentences and their JSON; thinking models write more."""
_BASE, _TILE, _TILE_SIDE = 85, 170, 512
_LONGEST, _SHORTEST = 2048, 768


def picture_tokens(width: int, height: int) -> int:
    """Estimate a picture's tokens as OpenAI's guide counts them for GPT-4o in high detail.

    The picture is made to fit 2048 x 2048, its shorter side is brought down to 768, and it costs 85 tokens and 170 for
    each tile of 512 x 512 that it touches. Models that count patches of 32 x 32 come close up to one tile.
    """
    scale = min(1.0, _LONGEST / max(width, height))
    scale *= min(1.0, _SHORTEST / (min(width, height) * scale))
    tiles = ceil(round(width * scale) / _TILE_SIDE) * ceil(round(height * scale) / _TILE_SIDE)
    return _BASE + _TILE * tiles


def prompt_tokens(messages: Sequence[Message]) -> int:
    """Estimate the tokens sent: a quarter of the characters, and the pictures."""
    characters = sum(len(text) for text in texts_in(messages))
    return ceil(characters / _CHARACTERS_A_TOKEN) + sum(picture_tokens(*one.size) for one in pictures_in(messages))


def answer_tokens(max_tokens: int) -> int:
    """Estimate the tokens of an answer."""
    return min(_RATIONALE_TOKENS, max_tokens)


def cost(price: PriceConfig, tokens: tuple[int, int], *, batch: bool) -> float:
    """Price (prompt tokens, completion tokens) in US dollars."""
    usd = (tokens[0] * price.prompt_usd + tokens[1] * price.completion_usd) / 1e6
    return usd * BATCH_DISCOUNT if batch else usd


def used(answer: Answer) -> tuple[int, int]:
    """Tell the tokens that an answer was charged for, as the server counts them."""
    return answer.prompt_tokens, answer.completion_tokens
