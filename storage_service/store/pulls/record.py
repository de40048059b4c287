"""What is known of one download, as a value and as its file `.server/pulls/<id>/pull.json`."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

from jan.errors import JanError
from jan.ids import ModelId, PullId
from jan.type.v1.error_pb2 import ErrorDetail
from storage_service.store.forms import fields
from storage_service.store.records import JsonObject


class PullState(StrEnum):
    """What is written down of a download's life; whether somebody works at it is known in memory alone."""

    ACTIVE = "active"
    COMPLETED = "completed"
    ERROR = "error"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class PullFile:
    """One file of a download. size_bytes: None while nobody has told. whole: all of it is here, checked and durable."""

    name: str
    url: str
    size_bytes: int | None = None
    sha256: str = ""
    validator: str = ""
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Pull:
    """A download. model_json: None for a model whose model.json is there already."""

    id: PullId
    model_id: ModelId
    source: str
    files: tuple[PullFile, ...]
    model_json: JsonObject | None
    created_ms: int
    state: PullState = PullState.ACTIVE
    error: JanError | None = None

    def file(self, name: str) -> PullFile | None:
        """The file of that name, if it is one of this download's."""
        return next((file for file in self.files if file.name == name), None)

    def with_file(self, changed: PullFile) -> Self:
        """The same download with one file changed."""
        return replace(self, files=tuple(changed if file.name == changed.name else file for file in self.files))

    def ended(self, state: PullState) -> Self:
        """The same download at its end. What its URLs asked besides, a key perhaps, was for the download alone."""
        files = tuple(replace(file, url=file.url.partition("#")[0].partition("?")[0]) for file in self.files)
        return replace(self, state=state, error=None, files=files)

    def is_same_as(self, other: Self) -> bool:
        """Whether both bring the same files from the same places."""
        return self.model_id == other.model_id and _what(self) == _what(other)


def _what(pull: Pull) -> list[tuple[str, str, str]]:
    return [(file.name, file.url, file.sha256) for file in pull.files]


def to_json(pull: Pull) -> JsonObject:
    """The download as it is written down."""
    error = pull.error and {"kind": pull.error.kind, "code": pull.error.code, "message": pull.error.message}
    return {
        "id": pull.id,
        "model_id": pull.model_id,
        "source": pull.source,
        "state": pull.state.value,
        "created": pull.created_ms,
        "error": error,
        "files": [_file_to_json(file) for file in pull.files],
        "model": pull.model_json,
    }


def from_json(pull_id: PullId, raw: JsonObject) -> Pull | None:
    """The download that a file describes; None when it does not."""
    try:
        return Pull(
            id=pull_id,
            model_id=ModelId.parse(fields.text(raw, "model_id")),
            source=fields.text(raw, "source"),
            files=tuple(map(_file_from_json, fields.objects(raw, "files"))),
            model_json=fields.optional_obj(raw, "model"),
            created_ms=fields.time_ms(raw, "created") or 0,
            state=PullState(fields.text(raw, "state")),
            error=_error(fields.obj(raw, "error")),
        )
    except (JanError, ValueError):
        return None


def _file_to_json(file: PullFile) -> JsonObject:
    return {
        "name": file.name,
        "url": file.url,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "validator": file.validator,
        "whole": file.whole,
    }


def _file_from_json(raw: JsonObject) -> PullFile:
    size: Any = raw.get("size_bytes")
    return PullFile(
        name=fields.text(raw, "name"),
        url=fields.text(raw, "url"),
        size_bytes=size if type(size) is int and size >= 0 else None,
        sha256=fields.text(raw, "sha256"),
        validator=fields.text(raw, "validator"),
        whole=raw.get("whole") is True,
    )


def _error(raw: JsonObject) -> JanError | None:
    if not raw:
        return None
    kind, code, message = (fields.text(raw, name) for name in ("kind", "code", "message"))
    return JanError.from_detail(ErrorDetail(kind=kind, code=code, message=message))
