"""Vector stores: a folder each. One that was made here at the same time is the same one; threads follow new names."""

import os
from collections.abc import Mapping
from pathlib import Path

from jan.errors import InvalidArgumentError
from jan.ids import VectorStoreId
from storage_service.store import jsonfile, jsontext, layout
from storage_service.store.archive import Entry
from storage_service.store.forms import fields
from storage_service.store.importing import names
from storage_service.store.importing.contents import Folder
from storage_service.store.importing.sameness import is_same
from storage_service.store.importing.workshop import Steps, Workshop
from storage_service.store.records import JsonObject
from storage_service.store.vector_stores.records import FileStatus
from storage_service.store.vector_stores.stores import BATCHES, FILES

_KIND = "vector_store"
_ENDINGS = (".json", ".txt")


class VectorStoreImport:
    """Builds vector stores. `planned` has those that are to be published."""

    def __init__(self, shop: Workshop, where: layout.Layout) -> None:
        self._shop = shop
        self._layout = where
        self.planned: dict[VectorStoreId, Path] = {}

    def folder(self, old: str, source: Folder, files: Mapping[str, str], renamed: dict[str, str]) -> Steps:
        """A store's folder, with the new names of uploads; its own is noted in `renamed`. A broken one is set aside."""
        described = source.files.get(layout.VECTOR_STORE_FILE)
        raw = self._object(described)
        if described is None or raw is None:
            yield from self._shop.quarantine_all(source.files.values(), "Its vector store cannot be read.")
            return
        for name in names.candidates(names.usable(VectorStoreId, old)):
            if VectorStoreId(name) in self.planned:
                continue
            if not os.path.lexists(self._layout.vector_stores / name):
                break
            if self._is_here(name, raw):
                self._shop.report.already_here(_KIND, old, name)
                self._note(renamed, old, name)
                yield from self._keep_others(source, name, described, files)
                return
        home = self._shop.new_folder("vector_stores")
        for inner in (FILES, BATCHES):
            (home / inner).mkdir()
        for inner, entry in source.files.items():
            if entry is not described:
                yield from self._take(entry, home, inner, files)
        told = raw | {"id": name} if "id" in raw and name != old else raw
        yield from self._shop.write(
            home / layout.VECTOR_STORE_FILE, [jsontext.dumps(told, indented=True)], described.changed_seconds
        )
        self.planned[VectorStoreId(name)] = home
        self._shop.report.came_in(_KIND, old, name)
        self._note(renamed, old, name)

    def _take(self, entry: Entry, home: Path, inner: str, files: Mapping[str, str]) -> Steps:
        new = _renamed(inner, files)
        raw = self._object(entry) if new != inner and new.endswith(".json") else None
        if raw is None:
            yield from self._shop.extract(entry, home / new)
        else:
            told = jsontext.dumps(raw | {"id": Path(new).stem}, indented=True)
            yield from self._shop.write(home / new, [told], entry.changed_seconds)

    def _keep_others(self, source: Folder, name: str, described: Entry, files: Mapping[str, str]) -> Steps:
        """Set aside what the store that is here does not have, or has otherwise; not files that were yet to be read."""
        for inner, entry in source.files.items():
            if entry is described or fields.text(self._object(entry) or {}, "status") == FileStatus.IN_PROGRESS:
                continue
            new = _renamed(inner, files)
            here = self._layout.vector_stores / name / new
            if new != inner and new.endswith(".json"):
                told = (self._object(entry) or {}) | {"id": Path(new).stem}
                has_it = jsonfile.read(here) == told
            else:
                has_it = yield from is_same(here, self._shop.pieces(entry))
            if not has_it:
                yield from self._shop.quarantine(entry, "Its vector store is here, but without this file.")

    def _note(self, renamed: dict[str, str], old: str, name: str) -> None:
        if name != old:
            renamed[old] = name

    def _is_here(self, name: str, raw: JsonObject) -> bool:
        try:
            here = jsonfile.read(self._layout.vector_store(VectorStoreId(name)) / layout.VECTOR_STORE_FILE)
        except InvalidArgumentError:
            return False
        if here is None:
            return False
        made_ms = fields.time_ms(raw, "created_at")
        return (
            here == raw | {"id": here.get("id")} if made_ms is None else fields.time_ms(here, "created_at") == made_ms
        )

    def _object(self, entry: Entry | None) -> JsonObject | None:
        if entry is None or not entry.name.endswith(".json"):
            return None
        return jsontext.load_object(self._shop.read(entry, jsonfile.MAX_FILE_BYTES) or b"")


def _renamed(inner: str, files: Mapping[str, str]) -> str:
    """The place of a store's file under the new name of its upload."""
    folder, _, name = inner.rpartition("/")
    stem, ending = os.path.splitext(name)
    return f"{folder}/{files[stem]}{ending}" if folder == FILES and ending in _ENDINGS and stem in files else inner
