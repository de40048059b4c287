"""Uploads in parts between storage's records and OpenAI's objects."""

from __future__ import annotations

from typing import Any

from gateway.convert.files import file_from_proto
from gateway.convert.times import seconds
from jan.storage.v1 import uploads_pb2


def upload_from_proto(upload: uploads_pb2.Upload) -> dict[str, Any]:
    """OpenAI's `upload`."""
    return {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.size_bytes,
        "created_at": seconds(upload.created_at),
        "expires_at": seconds(upload.expires_at),
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": uploads_pb2.UploadStatus.Name(upload.status).removeprefix("UPLOAD_STATUS_").lower(),
        "file": file_from_proto(upload.file) if upload.HasField("file") else None,
    }


def part_from_proto(part: uploads_pb2.UploadPart) -> dict[str, Any]:
    """OpenAI's `upload.part`."""
    return {
        "id": part.id,
        "object": "upload.part",
        "created_at": seconds(part.created_at),
        "upload_id": part.upload_id,
    }
