"""Text that came from data, made fit to be shown: what is invisible, or turns a line around, is spelt out."""

import re
from urllib.parse import urlsplit

_DECEPTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Control characters, and those that override the direction of what follows: `gpj.exe` would read `exe.jpg`."""


def shown(text: str | None) -> str:
    """Spell out control characters and overrides of direction as `<U+202E>`; nothing of what is none."""
    return _DECEPTIVE.sub(lambda found: f"<U+{ord(found[0]):04X}>", text or "")


def link(address: str | None) -> str | None:
    """Give a web address that may be linked; none for anything else, such as a script."""
    try:
        parts = urlsplit(address or "")
    except ValueError:
        return None
    return address if parts.scheme in {"http", "https"} and parts.netloc else None
