"""What is unusual in completions/."""

from collections.abc import Iterator
from pathlib import Path

from jan.ids import CompletionId
from storage_service.store import jsonfile, layout
from storage_service.store.report.findings import Finding, Kind
from storage_service.store.report.walk import entries, is_foreign


def inspect(where: layout.Layout) -> Iterator[Finding]:
    """Everything directly below completions/."""
    for entry in entries(where.completions):
        place = f"completions/{entry.name}"
        if entry.is_symlink():
            yield Finding(place, Kind.LINK)
        elif not entry.is_file() or not entry.name.endswith(".json") or entry.name.startswith("."):
            yield Finding(place, Kind.STRAY_FILE)
        elif is_foreign(CompletionId, entry.name.removesuffix(".json")):
            yield Finding(place, Kind.FOREIGN_NAME)
        elif jsonfile.read(Path(entry.path)) is None:
            yield Finding(place, Kind.UNREADABLE, "it is not one JSON object")
