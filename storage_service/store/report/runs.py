"""What is unusual in a thread's runs.jsonl: broken lines, and responses that do not say what they were asked."""

from collections.abc import Iterator
from pathlib import Path

from storage_service.store import layout
from storage_service.store.forms import fields
from storage_service.store.records import JsonObject
from storage_service.store.report import lines
from storage_service.store.report.findings import Finding

_OBJECTS = frozenset({"thread.run", "thread.run.step"})


def inspect(folder: Path, place: str) -> Iterator[Finding]:
    """The findings of a thread's runs."""
    return lines.inspect(folder / layout.RUNS_FILE, f"{place}/{layout.RUNS_FILE}", _is_known)


def _is_known(raw: JsonObject) -> bool:
    if raw.get("object") not in _OBJECTS or not fields.text(raw, "id"):
        return False
    response = raw.get("response")
    return response is None or _says_what_was_asked(fields.obj(raw, "response"))


def _says_what_was_asked(response: JsonObject) -> bool:
    is_asked = isinstance(response.get("told_back"), dict) and isinstance(response.get("input"), list)
    return is_asked or response.get("deleted") is True
