"""An upload in parts, and `.server/uploads/<id>/upload.json` that tells of it."""

from dataclasses import dataclass
from enum import StrEnum

from jan.ids import UploadId, UploadPartId
from storage_service.store.forms import fields
from storage_service.store.records import JsonObject


class UploadStatus(StrEnum):
    """What has become of an upload; `expired` is told, and not written."""

    PENDING = "pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload. part_ids, file_id: what it was completed of, and the file that it became."""

    id: UploadId
    filename: str
    purpose: str
    size_bytes: int
    mime_type: str
    file_lifetime_seconds: int = 0
    created_ms: int = 0
    expires_ms: int = 0
    status: UploadStatus = UploadStatus.PENDING
    part_ids: tuple[str, ...] = ()
    file_id: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One part that is whole."""

    id: UploadPartId
    upload_id: UploadId
    created_ms: int


def from_json(upload_id: UploadId, raw: JsonObject) -> Upload:
    """An upload from its file."""
    return Upload(
        id=upload_id,
        filename=fields.text(raw, "filename"),
        purpose=fields.text(raw, "purpose"),
        size_bytes=fields.integer(raw, "bytes") or 0,
        mime_type=fields.text(raw, "mime_type"),
        file_lifetime_seconds=fields.integer(raw, "file_lifetime_seconds") or 0,
        created_ms=fields.time_ms(raw, "created_at") or 0,
        expires_ms=fields.time_ms(raw, "expires_at") or 0,
        status=fields.word(UploadStatus, fields.text(raw, "status"), UploadStatus.CANCELLED),
        part_ids=tuple(name for name in raw.get("part_ids") or () if isinstance(name, str)),
        file_id=fields.text(raw, "file_id"),
    )


def to_json(upload: Upload) -> JsonObject:
    """The file for an upload."""
    return {
        "id": upload.id,
        "object": "upload",
        "filename": upload.filename,
        "purpose": upload.purpose,
        "bytes": upload.size_bytes,
        "mime_type": upload.mime_type,
        "file_lifetime_seconds": upload.file_lifetime_seconds,
        "created_at": upload.created_ms,
        "expires_at": upload.expires_ms,
        "status": upload.status.value,
        "part_ids": list(upload.part_ids),
        "file_id": upload.file_id,
    }
