"""JSON from outside, read strictly: what Python would let pass in silence is an error."""

import json
from typing import Any, NoReturn


def read_json(data: bytes | str) -> Any:  # noqa: ANN401
    """Read JSON.

    Raises:
        ValueError: it is none: not UTF-8, a key that comes twice, NaN, nested too deep.
    """
    text = data if isinstance(data, str) else data.decode()
    try:
        return json.loads(text, object_pairs_hook=_each_once, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice in one object")
    return found


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number in JSON")
