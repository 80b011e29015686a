"""The page to look at one story: its pictures and texts on a single HTML file that needs nothing beside it."""

import base64
import html
import io
from collections.abc import Sequence
from string import Template

from PIL import Image

from story_model.schema import ToldStory

_SHOWN_SIDE = 384
"""Pixels; larger pictures are scaled down, so that the page stays small."""

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root { --paper: #faf9f6; --card: #fff; --ink: #22222a; --soft: #6c6c78; --line: #e5e2da; --accent: #b8336a; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16161b; --card: #1f1f26; --ink: #ececf1; --soft: #a0a0ad; --line: #33333d; --accent: #f07aa8; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.45 system-ui, "Segoe UI", sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 32px 24px; }
h1 { font: 600 28px/1.2 Georgia, "DejaVu Serif", serif; margin: 0 0 6px; overflow-wrap: anywhere; }
p { margin: 0; } p.soft { color: var(--soft); margin-bottom: 22px; }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); }
li { background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
li.kept { border-color: var(--accent); }
img { display: block; width: 100%; aspect-ratio: $ratio; object-fit: fill; background: var(--line); }
div { padding: 9px 12px 12px; overflow-wrap: anywhere; }
b { color: var(--soft); font-size: 12.5px; font-weight: 600; } li.kept b, li.given b { color: var(--accent); }
</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="soft">$note</p>
<ol>
$cards
</ol>
</main>
</body>
</html>
""")


def strip_page(
    story: ToldStory,
    urls: Sequence[str],
    *,
    kept: int,
    given: Sequence[int],
    aspect_ratio: tuple[int, int],
    note: str,
) -> str:
    """Lay a story out, its pictures given as addresses.

    Marked are the first `kept` pairs, which were there before, and those numbers whose text was `given`. Pictures are
    stretched to the aspect ratio (width, height).
    """
    cards = []
    for segment, url in zip(story.segments, urls, strict=True):
        index = segment.index
        label = str(index) if index else "opening"
        label += " · kept" if 0 < index < kept else " · text given" if index in given else ""
        kind = ' class="kept"' if index < kept else ' class="given"' if index in given else ""
        text = html.escape(segment.text) or "<i>no text</i>"
        cards.append(f'<li{kind}><img src="{url}" alt=""><div><b>{label}</b><p>{text}</p></div></li>')
    return _PAGE.substitute(
        title=html.escape(story.segments[0].text),
        note=html.escape(note),
        ratio="{} / {}".format(*aspect_ratio),
        cards="\n".join(cards),
    )


def picture_url(picture: bytes) -> str:
    """Put an encoded picture into an address of its own."""
    with Image.open(io.BytesIO(picture), formats=["PNG"]) as image:
        shown = image.convert("RGB")
    shown.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
    buffer = io.BytesIO()
    shown.save(buffer, format="WEBP", quality=88)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
