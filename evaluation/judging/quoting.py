"""A story's words as a judge is shown them: of bounded length, visible, and unable to leave their place."""

import json
import re
import unicodedata

from story_model.asking.answers import encodable

MAX_CHARACTERS = 4000
"""Of one text; a picture's has some hundred. It bounds what one question costs."""
_UNSEEN = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"))
"""Unicode's categories of control and format characters, line ends, and what has no meaning."""


def shortened(text: str, most: int = MAX_CHARACTERS) -> str:
    """Cut a text that is too long, and say so in it."""
    left_out = len(text) - most
    return text if left_out <= 0 else f"{text[:most]} … ({left_out} more characters)"


def quoted(text: str) -> str:
    """Write a text as a JSON string on one line: letters of all languages as they are, what no one sees by number."""
    return "".join(map(_seen, json.dumps(shortened(encodable(text)), ensure_ascii=False)))


def without_marks(text: str) -> str:
    """Part double brackets, by which a verdict is known: a judge that repeats the story must not give the story's."""
    return re.sub(r"\[(?=\[)", "[ ", text)


def _seen(sign: str) -> str:
    if unicodedata.category(sign) not in _UNSEEN:
        return sign
    units = sign.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
