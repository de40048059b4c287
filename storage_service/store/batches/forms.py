"""batches/<id>.json and the lines of batches/<id>.results.jsonl. Jan had no such files; the forms are ours."""

from dataclasses import asdict

from jan.ids import BatchId
from storage_service.store.batches.records import Batch, BatchStatus, Counts, Result, Tokens
from storage_service.store.forms import fields
from storage_service.store.records import JsonObject


def from_json(batch_id: BatchId, raw: JsonObject) -> Batch:
    """A batch from its file; a status that nobody knows reads as failed, so that nobody executes it."""
    counts = fields.obj(raw, "request_counts")
    metadata = fields.obj(raw, "metadata")
    return Batch(
        id=batch_id,
        endpoint=fields.text(raw, "endpoint"),
        input_file_id=fields.text(raw, "input_file_id"),
        tenant=fields.text(raw, "tenant"),
        metadata={key: value for key, value in metadata.items() if isinstance(value, str)},
        lifetime_seconds=fields.integer(raw, "lifetime_seconds") or 0,
        output_expires_after_seconds=fields.integer(raw, "output_expires_after_seconds") or 0,
        status=fields.word(BatchStatus, fields.text(raw, "status"), BatchStatus.FAILED),
        created_ms=fields.time_ms(raw, "created_at") or 0,
        errors=tuple(fields.objects(raw, "errors")),
        model=fields.text(raw, "model"),
        total=_count(counts, "total"),
        counts=Counts(
            _count(counts, "completed"),
            _count(counts, "failed"),
            _tokens(fields.obj(raw, "usage")),
            _count(counts, "skipped"),
        ),
        output_file_id=fields.text(raw, "output_file_id"),
        error_file_id=fields.text(raw, "error_file_id"),
        steps=tuple(
            (status, at)
            for step in fields.objects(raw, "steps")
            if (status := fields.word(BatchStatus, fields.text(step, "status"), BatchStatus.VALIDATING))
            is not BatchStatus.VALIDATING
            and (at := fields.time_ms(step, "at"))
        ),
    )


def to_json(batch: Batch) -> JsonObject:
    """The file for a batch."""
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "input_file_id": batch.input_file_id,
        "tenant": batch.tenant,
        "metadata": batch.metadata,
        "lifetime_seconds": batch.lifetime_seconds,
        "output_expires_after_seconds": batch.output_expires_after_seconds,
        "status": batch.status.value,
        "created_at": batch.created_ms,
        "errors": list(batch.errors),
        "model": batch.model,
        "request_counts": {
            "total": batch.total,
            "completed": batch.counts.completed,
            "failed": batch.counts.failed,
            "skipped": batch.counts.skipped,
        },
        "usage": _tokens_to_json(batch.counts.tokens),
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "steps": [{"status": status.value, "at": at} for status, at in batch.steps],
    }


def result_from_json(raw: JsonObject) -> Result | None:
    """A result from its line; None for a line that holds none."""
    line = fields.integer(raw, "line")
    value = fields.optional_obj(raw, "result")
    if line is None or line < 1 or value is None:
        return None
    tokens = _tokens(fields.obj(raw, "usage"))
    return Result(line, raw.get("answered") is True, value, tokens, skipped=raw.get("skipped") is True)


def result_to_json(result: Result) -> JsonObject:
    """The line for a result."""
    return {
        "line": result.line,
        "answered": result.answered,
        "skipped": result.skipped,
        "usage": _tokens_to_json(result.tokens),
        "result": result.value,
    }


def _tokens(raw: JsonObject) -> Tokens:
    return Tokens(*(_count(raw, name) for name in ("prompt", "cached", "completion", "reasoning")))


def _tokens_to_json(tokens: Tokens) -> JsonObject:
    return asdict(tokens)


def _count(raw: JsonObject, key: str) -> int:
    return max(0, fields.integer(raw, key) or 0)
