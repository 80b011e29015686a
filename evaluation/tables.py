"""The tables of an evaluation, in Parquet for DuckDB: told segments, values of measures, judgements."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.judging.questions import Judgement
from evaluation.material import System, Systems
from evaluation.measures.cartoon_world import Sight, Verdict, Verdicts
from evaluation.measures.measure import Values
from evaluation.pictures import Telling

ITEMS = pa.schema(
    [
        ("system", pa.string()),
        ("mode", pa.string()),
        ("policy", pa.string()),
        ("story_id", pa.string()),
        ("index", pa.int32()),
        ("text", pa.string()),
        ("reference_text", pa.string()),
        ("has_picture", pa.bool_()),
        ("named_characters", pa.list_(pa.string())),
        ("seen_character", pa.string()),
        ("character_confidence", pa.float32()),
        ("character_agrees", pa.bool_()),
        ("named_places", pa.list_(pa.string())),
        ("seen_place", pa.string()),
        ("place_confidence", pa.float32()),
        ("place_agrees", pa.bool_()),
    ]
)
"""One row a told segment; what the probe saw is empty without a picture, and on videos that were not drawn."""
VALUES = pa.schema(
    [
        ("system", pa.string()),
        ("mode", pa.string()),
        ("policy", pa.string()),
        ("story_id", pa.string()),
        ("index", pa.int32()),
        ("measure", pa.string()),
        ("value", pa.float64()),
    ]
)
"""One row a value: all that means, intervals, curves and tests are made of. Index 0: of the story as a whole."""
JUDGEMENTS = pa.schema(
    [
        ("judge", pa.string()),
        ("purpose", pa.string()),
        ("dimension", pa.string()),
        ("story_id", pa.string()),
        ("systems", pa.list_(pa.string())),
        ("repeat", pa.int32()),
        ("label", pa.string()),
        ("status", pa.string()),
        ("score", pa.float64()),
        ("choice", pa.string()),
        ("rationale", pa.string()),
        ("reason", pa.string()),
        ("words", pa.int32()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("usd", pa.float64()),
        ("paid_before", pa.bool_()),
        ("key", pa.string()),
    ]
)
"""One row a question of the judges; the stories were shown in the order of `systems`."""


def write_items(path: Path, systems: Systems, verdicts: Mapping[str, Verdicts]) -> list[dict[str, object]]:
    """Write a row for every told segment of every system, and hand the rows out."""
    rows = [row for name, system in systems.items() for row in _items(system, verdicts.get(name, {}))]
    pq.write_table(pa.Table.from_pylist(rows, schema=ITEMS), path)
    return rows


def write_values(path: Path, systems: Iterable[tuple[System, Mapping[str, Values]]]) -> int:
    """Write a row for every value of every measure, and count them."""
    rows = [row for system, measured in systems for row in _values(system, measured)]
    pq.write_table(pa.Table.from_pylist(rows, schema=VALUES), path)
    return len(rows)


def write_judgements(path: Path, judgements: Sequence[Judgement]) -> None:
    """Write a row for every question that judges were asked."""
    rows = [judgement.model_dump(mode="json") for judgement in judgements]
    pq.write_table(pa.Table.from_pylist(rows, schema=JUDGEMENTS), path)


def _items(system: System, verdicts: Verdicts) -> Iterator[dict[str, object]]:
    for telling in system.tellings:
        known = {pair.index: pair.text for pair in telling.reference}
        seen = {verdict.index: verdict for verdict in verdicts.get(telling.story_id, ())}
        for pair in telling.told:
            yield {
                **_place(system, telling),
                "index": pair.index,
                "text": pair.text,
                "reference_text": known.get(pair.index),
                "has_picture": pair.pixels is not None,
                **_sights(seen.get(pair.index)),
            }


def _values(system: System, measured: Mapping[str, Values]) -> Iterator[dict[str, object]]:
    for measure, values in measured.items():
        for story_id, found in values.items():
            for index, value in found:
                yield {
                    "system": system.name,
                    "mode": system.mode,
                    "policy": system.policy,
                    "story_id": story_id,
                    "index": index,
                    "measure": measure,
                    "value": value,
                }


def _place(system: System, telling: Telling) -> dict[str, object]:
    return {"system": system.name, "mode": system.mode, "policy": system.policy, "story_id": telling.story_id}


def _sights(verdict: Verdict | None) -> dict[str, object]:
    if verdict is None:
        return {}
    return _sight("character", verdict.character) | _sight("place", verdict.place)


def _sight(aspect: str, sight: Sight) -> dict[str, object]:
    return {
        f"named_{aspect}s": list(sight.named),
        f"seen_{aspect}": sight.seen,
        f"{aspect}_confidence": sight.confidence,
        f"{aspect}_agrees": sight.agrees,
    }
