"""Uploads: two files each, the bytes and what they are. Cortex kept the bytes alone, under the name that they had."""

import hashlib
import os
import zlib
from contextlib import closing
from pathlib import Path

from jan.errors import InvalidArgumentError
from jan.ids import FileId
from storage_service.store import jsonfile, jsontext, layout
from storage_service.store.archive import Entry
from storage_service.store.files import OpenFile
from storage_service.store.forms import files as form
from storage_service.store.importing.workshop import Steps, Workshop
from storage_service.store.records import File, JsonObject

_DESCRIPTION = ".json"
_PIECE_BYTES = 1024 * 1024
_PURPOSE = "assistants"


class UploadImport:
    """Builds uploads. `planned` has those that are to be published: each a folder with two files."""

    def __init__(self, shop: Workshop, where: layout.Layout) -> None:
        self._shop = shop
        self._layout = where
        self.planned: dict[FileId, Path] = {}

    def all(self, sources: dict[str, Entry], renamed: dict[str, str]) -> Steps:
        """The files of a files/ folder; new names are noted in `renamed`. What is no upload is set aside."""
        for name, entry in sources.items():
            stem = name.removesuffix(_DESCRIPTION)
            if stem != name and stem in sources:
                continue
            described = sources.get(f"{name}{_DESCRIPTION}")
            if described is None:
                raw = self._object(entry) if stem != name else None
                if raw is not None and raw.get("object") == "file":
                    yield from self._shop.quarantine(entry, "It describes an upload that is not there.")
                    continue
            yield from self._upload(name, entry, described, renamed)

    def _upload(self, old: str, entry: Entry, described: Entry | None, renamed: dict[str, str]) -> Steps:
        raw = self._object(described) if described is not None else None
        if described is not None and raw is None:
            yield from self._shop.quarantine(described, "It is not one JSON object.")
        told = {name: _described(name, old, raw, entry) for name in (old, _made_id(old, entry))}
        file_id = next((name for name in told if self._fits(name, entry, told[name])), None)
        if file_id is None:
            yield from self._shop.quarantine(entry, "Another upload has its name.")
            return
        if file_id != old:
            renamed[old] = file_id
        if file_id in self.planned or os.path.lexists(self._layout.files / file_id):
            self._shop.report.already_here("file", old, file_id)
            return
        home = self._shop.new_folder("files")
        yield from self._shop.extract(entry, home / file_id)
        yield from self._shop.write(home / f"{file_id}{_DESCRIPTION}", [told[file_id]])
        self.planned[FileId(file_id)] = home
        self._shop.report.came_in("file", old, file_id)

    def _fits(self, name: str, entry: Entry, told: bytes) -> bool:
        """Whether a name is free for these bytes, or has them already.

        A description without bytes is what a crash leaves of an import; only the same one may be replaced.
        """
        try:
            path = self._layout.file(FileId.parse(name))
        except InvalidArgumentError:
            return False
        if name in self.planned:
            path = self.planned[FileId(name)] / name
        if os.path.lexists(path):
            return _has_bytes(path, entry)
        description = path.with_name(f"{name}{_DESCRIPTION}")
        return not os.path.lexists(description) or jsonfile.read_bytes(description, len(told)) == told

    def _object(self, entry: Entry) -> JsonObject | None:
        return jsontext.load_object(self._shop.read(entry, jsonfile.MAX_FILE_BYTES) or b"")


def _described(name: str, old: str, raw: JsonObject | None, entry: Entry) -> bytes:
    """What says of an upload what it is: its own description, or one made of its name."""
    if raw is None:
        raw = form.to_json(File(FileId(name), old, _PURPOSE, entry.size_bytes, entry.changed_seconds * 1000))
    elif "id" in raw:
        raw = raw | {"id": name}
    return jsontext.dumps(raw, indented=True)


def _made_id(old: str, entry: Entry) -> str:
    """An id for bytes whose own name cannot be one here; the same at every import."""
    digest = hashlib.sha256(f"{old}\0{entry.crc}\0{entry.size_bytes}".encode()).hexdigest()
    return f"{FileId.prefix}{digest[:24]}"


def _has_bytes(path: Path, entry: Entry) -> bool:
    with closing(OpenFile()) as file:
        if not file.open(path) or file.size_bytes != entry.size_bytes:
            return False
        crc = 0
        for offset in range(0, file.size_bytes, _PIECE_BYTES):
            crc = zlib.crc32(file.read(offset, _PIECE_BYTES), crc)
        return crc == entry.crc
