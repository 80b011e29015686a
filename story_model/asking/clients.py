"""The client that asks an endpoint: what it is told of key and address stays there, and no reply goes on for ever."""

import logging
from typing import Any

import openai

from story_model.asking.secrecy import without_credentials

LARGEST_REPLY = 32 << 20
"""Bytes, unpacked: an answer has kilobytes, a list of models a megabyte."""
LARGEST_FILE = 1 << 30
"""Bytes of a batch's results."""
_TALKATIVE = ("httpx", "httpx2")
"""Loggers that write a line for every request at INFO, where a run is to be told in twenty."""


def open_client(address: str, key: str, *, retries: int, timeout_s: float) -> openai.OpenAI:
    """Open a client; a user and a password inside the address are sent and not shown.

    Raises:
        ValueError: the address cannot be read, or no header can hold the key.
    """
    place, credentials = without_credentials(address)
    if not (key.isascii() and key.isprintable() and key == key.strip()):
        raise ValueError(
            f"the key for {place} holds what no key has (a line end, a space around it, a typographic quote); copy it "
            "again"
        )
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    # An empty administrator's key, else the client takes one from the environment, which was given for another place.
    return openai.OpenAI(
        base_url=place,
        api_key=key,
        admin_api_key="",
        default_headers=credentials,
        max_retries=retries,
        timeout=timeout_s,
        http_client=openai.DefaultHttpxClient(event_hooks={"response": [_read]}),
    )


def _read(response: Any) -> None:  # noqa: ANN401 - httpx's, by whichever name openai brings it
    """Read a reply as far as one may go."""
    most = LARGEST_FILE if response.request.url.path.endswith("/content") else LARGEST_REPLY
    content = bytearray()
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > most:
            raise openai.APIConnectionError(message=f"a reply of more than {most >> 20} MB", request=response.request)
    response._content = bytes(content)  # as its own read() leaves it
