"""What else a Jan folder holds: keys in plain text, and what this server set aside."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from storage_service.store import jsonfile, layout, secrets
from storage_service.store.report.findings import Finding, Kind
from storage_service.store.report.walk import entries, some

_MAX_DEPTH = 4


def inspect(where: layout.Layout) -> Iterator[Finding]:
    """Secrets in engines/ and settings/, and the quarantine."""
    for home in ("engines", "settings"):
        yield from _secrets(where.root / home, home)
    kept = [entry.name for entry in entries(where.quarantine)]
    if kept:
        yield Finding(".server/quarantine", Kind.QUARANTINED, some(kept))


def _secrets(folder: Path, place: str, depth: int = 0) -> Iterator[Finding]:
    for entry in entries(folder):
        inner = f"{place}/{entry.name}"
        if entry.is_dir(follow_symlinks=False) and depth < _MAX_DEPTH:
            yield from _secrets(Path(entry.path), inner, depth + 1)
        elif entry.name.endswith(".json") and entry.is_file(follow_symlinks=False):
            names = sorted(set(secrets.names(_load(Path(entry.path)))))
            if names:
                yield Finding(inner, Kind.SECRET, some(names))


def _load(path: Path) -> Any:
    data = jsonfile.read_bytes(path, jsonfile.MAX_FILE_BYTES)
    try:
        return orjson.loads(data) if data else None
    except orjson.JSONDecodeError:
        return None
