"""What is unusual in batches/."""

from collections.abc import Iterator
from pathlib import Path

from jan.ids import BatchId
from storage_service.store import jsonfile, layout
from storage_service.store.batches import forms
from storage_service.store.report import lines
from storage_service.store.report.findings import Finding, Kind
from storage_service.store.report.walk import entries, is_foreign

_ENDING, _RESULTS = ".json", ".results.jsonl"


def inspect(where: layout.Layout) -> Iterator[Finding]:
    """Everything directly below batches/."""
    found = entries(where.batches)
    names = {entry.name for entry in found}
    for entry in found:
        place, path = f"batches/{entry.name}", Path(entry.path)
        if entry.is_symlink():
            yield Finding(place, Kind.LINK)
        elif not entry.is_file() or not entry.name.endswith((_ENDING, _RESULTS)) or entry.name.startswith("."):
            yield Finding(place, Kind.STRAY_FILE)
        elif is_foreign(BatchId, entry.name.removesuffix(_RESULTS).removesuffix(_ENDING)):
            yield Finding(place, Kind.FOREIGN_NAME)
        elif entry.name.endswith(_ENDING):
            yield from _batch(where, path, place)
        elif f"{entry.name.removesuffix(_RESULTS)}{_ENDING}" not in names:
            yield Finding(place, Kind.ORPHAN)
        else:
            yield from lines.inspect(path, place, lambda raw: forms.result_from_json(raw) is not None)


def _batch(where: layout.Layout, path: Path, place: str) -> Iterator[Finding]:
    raw = jsonfile.read(path)
    if raw is None:
        yield Finding(place, Kind.UNREADABLE, "it is not one JSON object")
        return
    batch = forms.from_json(BatchId(path.stem), raw)
    if not batch.is_over and not (where.files / batch.input_file_id).is_file():
        yield Finding(place, Kind.MISSING_FILE, f"its input {batch.input_file_id[:128]!r}")
