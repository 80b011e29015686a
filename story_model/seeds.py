"""Seeds that depend on names, so that what is drawn at random does not depend on order, batches or restarts."""

import hashlib
import json

_BITS = 63


def seed_of(seed: int, *names: str | int) -> int:
    """Derive the seed of one named thing (a story's segment, say) from a run's seed."""
    digest = hashlib.sha256(json.dumps([seed, *names]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - _BITS)
