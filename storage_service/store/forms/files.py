"""files/<id>.json: what is known of an upload. Jan had no such file; the form is ours, after assistant.json."""

from jan.ids import FileId
from storage_service.store.forms import fields
from storage_service.store.records import File, JsonObject


def from_json(file_id: FileId, raw: JsonObject, size_bytes: int) -> File:
    """An upload from its file; its length is that of its bytes, whatever the file says."""
    return File(
        id=file_id,
        filename=fields.text(raw, "filename"),
        purpose=fields.text(raw, "purpose"),
        size_bytes=size_bytes,
        created_ms=fields.time_ms(raw, "created_at") or 0,
        expires_ms=fields.time_ms(raw, "expires_at"),
    )


def to_json(file: File) -> JsonObject:
    """The file for a new upload."""
    return fields.without_none(
        {
            "id": file.id,
            "object": "file",
            "bytes": file.size_bytes,
            "created_at": file.created_ms,
            "expires_at": file.expires_ms,
            "filename": file.filename,
            "purpose": file.purpose,
        }
    )
