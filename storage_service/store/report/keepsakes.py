"""What else a Jan folder holds: keys in plain text, and what this server set aside."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from storage_service.store import jsonfile, layout
from storage_service.store.report.findings import Finding, Kind
from storage_service.store.report.walk import entries, some

_SECRET = re.compile(r"key|token|secret|password", re.IGNORECASE)
# `max_tokens` is no secret, and neither is a number.
_HARMLESS = re.compile(r"tokens|^key$", re.IGNORECASE)
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
            names = sorted(set(_secret_names(_load(Path(entry.path)))))
            if names:
                yield Finding(inner, Kind.SECRET, some(names))


def _load(path: Path) -> Any:
    data = jsonfile.read_bytes(path, jsonfile.MAX_FILE_BYTES)
    try:
        return orjson.loads(data) if data else None
    except orjson.JSONDecodeError:
        return None


def _secret_names(value: Any, depth: int = 0) -> Iterator[str]:
    """The names of the fields that hold a secret; an extension's setting has its name and its value side by side."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for item in value:
            yield from _secret_names(item, depth + 1)
    elif isinstance(value, dict):
        named, controller = value.get("key"), value.get("controllerProps")
        if isinstance(named, str) and isinstance(controller, dict):
            yield from _secret_names({named: controller.get("value")}, depth + 1)
            return
        for key, item in value.items():
            if isinstance(item, str) and item and _SECRET.search(key) and not _HARMLESS.search(key):
                yield key
            else:
                yield from _secret_names(item, depth + 1)
