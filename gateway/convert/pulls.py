"""Downloads of models from storage's records to JSON."""

from __future__ import annotations

from typing import Any

from gateway.convert.json_fields import from_text
from gateway.convert.times import seconds
from gateway.http.errors import jan_error_body
from jan.errors import ConflictError, JanError
from jan.storage.v1 import pulls_pb2

_STATE_PREFIX = "PULL_STATE_"
ENDED = (pulls_pb2.PULL_STATE_COMPLETED, pulls_pb2.PULL_STATE_ERROR, pulls_pb2.PULL_STATE_CANCELLED)
UNFINISHED = (
    pulls_pb2.PULL_STATE_QUEUED,
    pulls_pb2.PULL_STATE_DOWNLOADING,
    pulls_pb2.PULL_STATE_CHECKING,
    pulls_pb2.PULL_STATE_ERROR,
)


def pull_from_proto(pull: pulls_pb2.Pull) -> dict[str, Any]:
    """A download; sizes in bytes, null where no server has told."""
    return {
        "id": pull.id,
        "object": "model.pull",
        "created": seconds(pull.created_at),
        "model": pull.model_id,
        "source": pull.source,
        **progress_from_proto(pull),
        "error": error_from_proto(pull),
    }


def progress_from_proto(pull: pulls_pb2.Pull) -> dict[str, Any]:
    """How far a download is."""
    files = [_file(file) for file in pull.files]
    received = sum(file.received_bytes for file in pull.files)
    total = _total(pull)
    speed = pull.bytes_per_second
    return {
        "id": pull.id,
        "state": pulls_pb2.PullState.Name(pull.state).removeprefix(_STATE_PREFIX).lower(),
        "files": files,
        "bytes": received,
        "total_bytes": total,
        "bytes_per_second": speed,
        "eta_seconds": max(0, total - received) // speed if speed and total is not None else None,
    }


def error_from_proto(pull: pulls_pb2.Pull) -> dict[str, Any] | None:
    """Why it was given up; None when it was not."""
    if not pull.HasField("error"):
        return None
    return {"code": pull.error.code or pull.error.kind, "message": pull.error.message}


def failure_body(pull: pulls_pb2.Pull) -> bytes:
    """OpenAI's error object for a download that brought no model."""
    return jan_error_body(failure_of(pull))


def failure_of(pull: pulls_pb2.Pull) -> JanError:
    """What ended it."""
    if pull.HasField("error"):
        return JanError.from_detail(pull.error)
    return ConflictError("The download was cancelled.", code="pull_cancelled")


def model_from_pull(pull: pulls_pb2.Pull) -> dict[str, Any]:
    """A model that is on its way, as `GET /v1/models` shows one."""
    described = from_text(pull.model_json, {})
    return {
        "id": pull.model_id,
        "object": "model",
        "created": seconds(pull.created_at),
        "owned_by": described.get("metadata", {}).get("author") or "you",
        **{key: described.get(key, "") for key in ("name", "description", "version", "engine", "format")},
        **{key: described.get(key, {}) for key in ("settings", "parameters", "metadata")},
        "size_bytes": _total(pull),
        "ctx_len": None,
        "sees": False,  # known when its files are here
        **life_from_pull(pull),
        "warnings": [],
        "placements": [],
    }


def life_from_pull(pull: pulls_pb2.Pull) -> dict[str, Any]:
    """The state of a model that is on its way."""
    failed = pull.state == pulls_pb2.PULL_STATE_ERROR
    total, received = _total(pull), sum(file.received_bytes for file in pull.files)
    return {
        "state": "error" if failed else "downloading",
        "progress": round(received / total, 2) if total else None,
        "activity": None if failed else f"downloading ({pull.id})",
        "error": error_from_proto(pull),
        "pull": pull.id,
    }


def _file(file: pulls_pb2.PullFile) -> dict[str, Any]:
    return {
        "name": file.name,
        "bytes": file.received_bytes,
        "total_bytes": file.size_bytes if file.HasField("size_bytes") else None,
    }


def _total(pull: pulls_pb2.Pull) -> int | None:
    known = all(file.HasField("size_bytes") for file in pull.files)
    return sum(file.size_bytes for file in pull.files) if known else None
