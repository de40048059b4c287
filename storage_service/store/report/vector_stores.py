"""What is unusual in vector_stores/."""

import os
from collections.abc import Iterator
from pathlib import Path

from jan.ids import FileBatchId, FileId, VectorStoreId
from storage_service.store import jsonfile, layout
from storage_service.store.report.findings import Finding, Kind
from storage_service.store.report.walk import entries, is_foreign
from storage_service.store.vector_stores import forms
from storage_service.store.vector_stores.records import FileStatus
from storage_service.store.vector_stores.stores import BATCHES, FILES

_DESCRIPTION, _TEXT = ".json", ".txt"
_NO_OBJECT = "it is not one JSON object"


def inspect(where: layout.Layout) -> Iterator[Finding]:
    """Everything below vector_stores/."""
    for entry in entries(where.vector_stores):
        place = f"vector_stores/{entry.name}"
        if entry.is_symlink():
            yield Finding(place, Kind.LINK)
        elif not entry.is_dir():
            yield Finding(place, Kind.STRAY_FILE)
        elif is_foreign(VectorStoreId, entry.name):
            yield Finding(place, Kind.FOREIGN_NAME)
        elif not os.access(entry.path, os.R_OK | os.X_OK):
            yield Finding(place, Kind.UNREADABLE)
        else:
            yield from _store(where, Path(entry.path), place)


def _store(where: layout.Layout, folder: Path, place: str) -> Iterator[Finding]:
    described = folder / layout.VECTOR_STORE_FILE
    if not os.path.lexists(described):
        yield Finding(place, Kind.GHOST_FOLDER)
        return
    if jsonfile.read(described) is None:
        yield Finding(f"{place}/{described.name}", Kind.UNREADABLE, _NO_OBJECT)
    yield from _files(where, folder / FILES, f"{place}/{FILES}")
    for entry in entries(folder / BATCHES):
        inner = f"{place}/{BATCHES}/{entry.name}"
        if not entry.name.endswith(_DESCRIPTION) or is_foreign(FileBatchId, entry.name.removesuffix(_DESCRIPTION)):
            yield Finding(inner, Kind.STRAY_FILE)
        elif jsonfile.read(Path(entry.path)) is None:
            yield Finding(inner, Kind.UNREADABLE, _NO_OBJECT)


def _files(where: layout.Layout, folder: Path, place: str) -> Iterator[Finding]:
    found = entries(folder)
    names = {entry.name for entry in found}
    for entry in found:
        stem, ending = os.path.splitext(entry.name)
        inner = f"{place}/{entry.name}"
        if entry.is_symlink():
            yield Finding(inner, Kind.LINK)
        elif not entry.is_file() or ending not in (_DESCRIPTION, _TEXT) or is_foreign(FileId, stem):
            yield Finding(inner, Kind.STRAY_FILE)
        elif ending == _TEXT:
            if f"{stem}{_DESCRIPTION}" not in names:
                yield Finding(inner, Kind.ORPHAN)
        else:
            yield from _described(where, Path(entry.path), inner, has_text=f"{stem}{_TEXT}" in names)


def _described(where: layout.Layout, path: Path, place: str, *, has_text: bool) -> Iterator[Finding]:
    raw = jsonfile.read(path)
    if raw is None:
        yield Finding(place, Kind.UNREADABLE, _NO_OBJECT)
        return
    if forms.file_from_json(FileId(path.stem), raw).status is FileStatus.COMPLETED and not has_text:
        yield Finding(place, Kind.MISSING_FILE, "its text")
    if not (where.files / path.stem).is_file():
        yield Finding(place, Kind.MISSING_FILE, "its upload")
