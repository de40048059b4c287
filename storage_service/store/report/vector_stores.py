"""What is unusual in vector_stores/."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from jan.ids import FileBatchId, FileId, VectorStoreId
from storage_service.store import jsonfile, layout
from storage_service.store.report.findings import Finding, Kind
from storage_service.store.report.walk import entries, is_foreign
from storage_service.store.vector_stores import forms
from storage_service.store.vector_stores.records import Embedder, FileStatus, VectorStore
from storage_service.store.vector_stores.stores import BATCHES, FILES

_DESCRIPTION, _TEXT, _VECTORS = ".json", ".txt", ".vectors"
_NO_OBJECT = "it is not one JSON object"


@dataclass(frozen=True, slots=True)
class Embedders:
    """Every model that is here, as its vectors remember it, and the one that is to embed; empty when none is."""

    here: Collection[Embedder]
    wanted: str

    @property
    def current(self) -> Embedder | None:
        """The one that embeds."""
        return next((each for each in self.here if each.model == self.wanted), None)


def inspect(where: layout.Layout, embedders: Embedders | None = None) -> Iterator[Finding]:
    """Everything below vector_stores/, and the model that embeds it."""
    if embedders is not None and embedders.wanted and embedders.current is None:
        yield Finding(f"models/{embedders.wanted}", Kind.NO_EMBEDDER)
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
            yield from _store(where, Path(entry.path), place, embedders)


def _store(where: layout.Layout, folder: Path, place: str, embedders: Embedders | None) -> Iterator[Finding]:
    described = folder / layout.VECTOR_STORE_FILE
    if not os.path.lexists(described):
        yield Finding(place, Kind.GHOST_FOLDER)
        return
    raw = jsonfile.read(described)
    if raw is None:
        yield Finding(f"{place}/{described.name}", Kind.UNREADABLE, _NO_OBJECT)
    elif embedders is not None and entries(folder / FILES):  # one that has expired has none left
        store = forms.store_from_json(VectorStoreId(folder.name), raw)
        yield from _embedded(store, embedders, f"{place}/{described.name}")
    yield from _files(where, folder / FILES, f"{place}/{FILES}")
    for entry in entries(folder / BATCHES):
        inner = f"{place}/{BATCHES}/{entry.name}"
        if not entry.name.endswith(_DESCRIPTION) or is_foreign(FileBatchId, entry.name.removesuffix(_DESCRIPTION)):
            yield Finding(inner, Kind.STRAY_FILE)
        elif jsonfile.read(Path(entry.path)) is None:
            yield Finding(inner, Kind.UNREADABLE, _NO_OBJECT)


def _embedded(store: VectorStore, embedders: Embedders, place: str) -> Iterator[Finding]:
    """Whether the vectors of a store are of the model that embeds now, or of one that can still be asked."""
    if store.embedder is None:
        return
    if (current := embedders.current) is not None:
        if store.embedder != current:
            yield Finding(place, Kind.EMBEDDED_ANEW, f"of {store.embedder.model[:128]}; {current.model} embeds")
    elif store.embedder not in embedders.here:
        yield Finding(place, Kind.EMBEDDER_GONE, store.embedder.model[:128])


def _files(where: layout.Layout, folder: Path, place: str) -> Iterator[Finding]:
    found = entries(folder)
    names = {entry.name for entry in found}
    for entry in found:
        stem, ending = os.path.splitext(entry.name)
        inner = f"{place}/{entry.name}"
        if entry.is_symlink():
            yield Finding(inner, Kind.LINK)
        elif not entry.is_file() or ending not in (_DESCRIPTION, _TEXT, _VECTORS) or is_foreign(FileId, stem):
            yield Finding(inner, Kind.STRAY_FILE)
        elif ending != _DESCRIPTION:
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
