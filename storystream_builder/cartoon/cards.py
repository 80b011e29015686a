"""The cards around an episode: the title on a flat colour, and the end credits on black."""

from PIL import Image, ImageDraw, ImageFont

from storystream_builder.cartoon.pen import INK, WHITE
from storystream_builder.cartoon.world import character_named

CREDITS = ("THE END", "Drawn by a pen", "Told by a narrator", "With")


def draw_title(title: str, protagonist: str, size: tuple[int, int]) -> Image.Image:
    """Draw the title card in the colour of the one it is about; `size` is (width, height) in pixels."""
    card = Image.new("RGB", size, character_named(protagonist).colour)
    height = size[1]
    _write(card, title, 0.45 * height, 0.15 * height, outlined=True)
    return card


def draw_credits(cast: tuple[str, ...], phase: float, size: tuple[int, int]) -> Image.Image:
    """Draw the end credits as they have scrolled up by `phase` (0 to 1) of their time."""
    card = Image.new("RGB", size)
    height = size[1]
    for number, line in enumerate((*CREDITS, *cast)):
        _write(card, line, (0.35 + 0.16 * number - 0.6 * phase) * height, 0.09 * height)
    return card


def _write(card: Image.Image, text: str, middle: float, letter_px: float, *, outlined: bool = False) -> None:
    draw = ImageDraw.Draw(card)
    font = ImageFont.load_default(size=letter_px)
    place = (card.width / 2, middle)
    stroke = round(letter_px / 9) if outlined else 0
    draw.text(place, text, font=font, fill=WHITE, anchor="mm", stroke_width=stroke, stroke_fill=INK)
