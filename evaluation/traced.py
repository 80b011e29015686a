"""Questions to the judge as MLflow traces: what was asked, what came back, its cost; scores can be overruled there.

Traces are made from the answers' rows, after the fact: nothing global is switched on, and neither a picture nor a key
comes near them. A sample is kept, for whoever wants to look at a few answers; all of them are rows of a table.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence

from mlflow.entities import AssessmentSource, Feedback, TraceInfo
from mlflow.entities.assessment import Assessment
from mlflow.entities.span import Span
from mlflow.entities.trace_location import TraceLocation
from mlflow.entities.trace_state import TraceState
from mlflow.tracing.client import TracingClient
from mlflow.tracing.constant import SpanAttributeKey, TraceMetadataKey, TraceTagKey

from evaluation.judging.questions import Judgement
from story_model.tracking import Tracker

MAX_TRACES = 40
_MAX_FAILED = 10
_MAX_TEXT = 4000
_SCHEMA = "3"

Texts = Mapping[tuple[str, str], Sequence[str]]
"""What was told, by system and story id."""


def trace_judgements(
    tracker: Tracker, judgements: Sequence[Judgement], *, texts: Texts | None = None, limit: int = MAX_TRACES
) -> int:
    """Log a sample of the questions as traces of the tracker's run, each score as feedback; tell how many.

    A question goes by one id in a run: logging again adds nothing, and touches no score that a person overruled.
    """
    experiment = tracker.client.get_run(tracker.run_id).info.experiment_id
    client = TracingClient(tracker.client.tracking_uri)
    now_ms = int(time.time() * 1000)
    chosen = {_word(tracker.run_id, judgement): judgement for judgement in sample(judgements, limit)}
    known_ids = _known(tracker, experiment, limit)
    for word, judgement in chosen.items():
        if _trace_id(word) in known_ids:
            continue
        known = _texts(judgement, texts or {})
        client.start_trace(_info(judgement, word, tracker.run_id, experiment, now_ms, known))
        client.log_spans(experiment, [_span(judgement, word, now_ms, known)])
    return len(chosen)


def sample(judgements: Sequence[Judgement], limit: int) -> list[Judgement]:
    """Choose among the questions that were put: a quarter of failures at most, the rest evenly over answers."""
    failed = [one for one in judgements if one.status not in {"ok", "not_asked"}][: min(_MAX_FAILED, limit // 4)]
    answered = [one for one in judgements if one.status == "ok"]
    room = min(limit - len(failed), len(answered))
    return failed + [answered[number * len(answered) // room] for number in range(room)]


def _known(tracker: Tracker, experiment: str, limit: int) -> set[str]:
    found = tracker.client.search_traces(
        locations=[experiment], run_id=tracker.run_id, include_spans=False, max_results=2 * limit
    )
    return {trace.info.trace_id for trace in found}


def _info(
    judgement: Judgement, word: str, run_id: str, experiment: str, now_ms: int, texts: Mapping[str, Sequence[str]]
) -> TraceInfo:
    return TraceInfo(
        trace_id=_trace_id(word),
        trace_location=TraceLocation.from_experiment_id(experiment),
        request_time=now_ms,
        execution_duration=0,  # when an answer came is not kept
        state=TraceState.OK if judgement.status == "ok" else TraceState.ERROR,
        request_preview=f"{judgement.dimension} of {judgement.story_id} by {' : '.join(judgement.systems)}",
        response_preview=_said(judgement)[:_MAX_TEXT],
        trace_metadata={
            TraceMetadataKey.SOURCE_RUN: run_id,
            TraceMetadataKey.TOKEN_USAGE: json.dumps(_usage(judgement)),
            TraceMetadataKey.COST: json.dumps(_cost(judgement)),
            "mlflow.trace_schema.version": _SCHEMA,
        },
        tags={
            TraceTagKey.TRACE_NAME: f"{judgement.purpose} / {judgement.dimension}",
            "storystream.story_id": judgement.story_id,
            "storystream.systems": " : ".join(judgement.systems),
            "storystream.status": judgement.status,
        },
        assessments=_feedback(judgement, word),
    )


def _span(judgement: Judgement, word: str, now_ms: int, texts: Mapping[str, Sequence[str]]) -> Span:
    attributes = {
        SpanAttributeKey.REQUEST_ID: _trace_id(word),
        SpanAttributeKey.SPAN_TYPE: "CHAT_MODEL",
        SpanAttributeKey.MODEL: judgement.judge,
        SpanAttributeKey.INPUTS: _inputs(judgement, texts),
        SpanAttributeKey.OUTPUTS: _outputs(judgement),
        SpanAttributeKey.CHAT_USAGE: _usage(judgement),
        SpanAttributeKey.LLM_COST: _cost(judgement),
        "paid_before": judgement.paid_before,
        "ledger_key": judgement.key,
    }
    is_ok = judgement.status == "ok"
    return Span.from_dict(
        {
            "trace_id": _trace_id(word),
            "span_id": word[:16],
            "parent_span_id": None,
            "name": f"{judgement.purpose} / {judgement.dimension}",
            "start_time_unix_nano": now_ms * 1_000_000,
            "end_time_unix_nano": now_ms * 1_000_000,
            "status": {
                "code": "STATUS_CODE_OK" if is_ok else "STATUS_CODE_ERROR",
                "message": (judgement.reason or "")[:_MAX_TEXT],
            },
            "attributes": {name: json.dumps(value, ensure_ascii=False) for name, value in attributes.items()},
        }
    )


def _feedback(judgement: Judgement, word: str) -> list[Assessment]:
    value = judgement.score if judgement.score is not None else judgement.choice
    if value is None:
        return []
    source = AssessmentSource(source_type="LLM_JUDGE", source_id=judgement.judge)
    rationale = (judgement.rationale or "")[:_MAX_TEXT]
    return [
        Feedback(name=judgement.dimension, value=value, source=source, rationale=rationale, trace_id=_trace_id(word))
    ]


def _inputs(judgement: Judgement, texts: Mapping[str, Sequence[str]]) -> dict[str, object]:
    asked = judgement.model_dump(include={"purpose", "dimension", "story_id", "systems", "repeat", "label", "words"})
    return asked | ({"texts": texts} if texts else {})


def _outputs(judgement: Judgement) -> dict[str, object]:
    said = judgement.model_dump(include={"status", "score", "choice", "rationale", "reason"}, exclude_none=True)
    return {name: value[:_MAX_TEXT] if isinstance(value, str) else value for name, value in said.items()}


def _said(judgement: Judgement) -> str:
    """Put an answer into a line."""
    verdict = judgement.status if judgement.status != "ok" else judgement.score or judgement.choice
    return f"{verdict}: {judgement.rationale or judgement.reason or ''}"


def _texts(judgement: Judgement, texts: Texts) -> dict[str, Sequence[str]]:
    return {
        system: [text[:_MAX_TEXT] for text in texts[system, judgement.story_id]]
        for system in judgement.systems
        if (system, judgement.story_id) in texts
    }


def _usage(judgement: Judgement) -> dict[str, int]:
    return {
        "input_tokens": judgement.prompt_tokens,
        "output_tokens": judgement.completion_tokens,
        "total_tokens": judgement.prompt_tokens + judgement.completion_tokens,
    }


def _cost(judgement: Judgement) -> dict[str, float]:
    return {"total_cost": judgement.usd}


def _word(run_id: str, judgement: Judgement) -> str:
    """Name a question in a run, in 32 hexadecimal digits."""
    asked = judgement.model_dump(include={"judge", "purpose", "dimension", "story_id", "systems", "repeat", "label"})
    return hashlib.sha256(json.dumps([run_id, asked], sort_keys=True).encode()).hexdigest()[:32]


def _trace_id(word: str) -> str:
    return f"tr-{word}"
