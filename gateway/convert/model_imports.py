"""Imports of models from storage's records to JSON."""

from __future__ import annotations

from typing import Any

from gateway.convert.models import model_from_proto
from jan.storage.v1 import model_imports_pb2


def progress_from_proto(progress: model_imports_pb2.ModelImportProgress, seconds: float) -> dict[str, Any]:
    """How far an import is, `seconds` after it began; in the shape of a download's progress."""
    copied = sum(file.copied_bytes for file in progress.files)
    total = sum(file.size_bytes for file in progress.files)
    speed = int(copied / seconds) if seconds > 0 else 0
    return {
        "id": progress.model_id,
        "state": "importing",
        "files": [
            {"name": file.name, "bytes": file.copied_bytes, "total_bytes": file.size_bytes} for file in progress.files
        ],
        "bytes": copied,
        "total_bytes": total,
        "bytes_per_second": speed,
        "eta_seconds": max(0, total - copied) // speed if speed else None,
    }


def imported_from_proto(imported: model_imports_pb2.ImportedModel, remark: str) -> dict[str, Any]:
    """The model that was taken in; a remark of the engine hosts is one of its warnings."""
    model = model_from_proto(imported.model)
    warnings = [*model["warnings"], *([remark] if remark else [])]
    return model | {"warnings": warnings, "left_out": [*imported.left_out]}
