"""Our keys and passwords, kept out of what is written down: a server may repeat them in all that it says."""

import base64
import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit, urlunsplit

_SHORTEST = 8
"""What is shorter guards nothing, and may be a word of an answer."""


class Secrets:
    """What is blackened in a server's words, before these are cut, stored or shown."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Take the secrets; those of less than eight characters are none."""
        long = sorted({one for one in secrets if len(one) >= _SHORTEST}, key=len, reverse=True)
        said = "|".join("".join(map(_written, one)) for one in long)
        # From the first of a row of backslashes only, or a long row of them would be read again from each.
        self._pattern = re.compile(rf"(?<!\\)(?:{said})") if long else None

    def hide(self, said: bytes) -> bytes:
        """Blacken them in bytes, be they JSON, which may write any character by its number."""
        return self.hide_text(said.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def hide_text(self, said: str) -> str:
        """Blacken them in a text."""
        return said if self._pattern is None else self._pattern.sub("***", said)


def without_credentials(address: str) -> tuple[str, dict[str, str]]:
    """Take user and password out of an address, since addresses are shown; tell the header that says them instead.

    Raises:
        ValueError: the address cannot be read.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        raise ValueError("the endpoint's address cannot be read; give one like https://host/v1") from None
    if "@" not in parts.netloc:
        return address, {}
    said, _, place = parts.netloc.rpartition("@")
    user, _, password = said.partition(":")
    given = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    return urlunsplit(parts._replace(netloc=place)), {"Authorization": f"Basic {given}"}


def _written(sign: str) -> str:
    """Match a character as it is or as JSON may write it."""
    return rf"(?:\\*{re.escape(sign)}|\\+u(?i:{ord(sign):04x}))"
