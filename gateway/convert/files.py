"""Uploads and message files between storage's records and OpenAI's objects."""

from __future__ import annotations

from typing import Any

from gateway.convert.times import optional_seconds, seconds
from jan.storage.v1 import files_pb2


def file_from_proto(file: files_pb2.File) -> dict[str, Any]:
    """OpenAI's `file`. It is ready at once, so that the SDKs' `wait_for_processing` returns."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": seconds(file.created_at),
        "expires_at": optional_seconds(file, "expires_at"),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def message_file_from_proto(file: files_pb2.MessageFile) -> dict[str, Any]:
    """The seeds' `thread.message.file`; name and length follow."""
    return {
        "id": file.id,
        "object": "thread.message.file",
        "created_at": seconds(file.created_at),
        "message_id": file.message_id,
        "filename": file.filename,
        "bytes": file.size_bytes,
    }
