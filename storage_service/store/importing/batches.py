"""Batches, with what there is of their results. One that was under way is stopped: nobody asked for it here."""

import os
from collections.abc import Mapping
from pathlib import Path

from jan.ids import BatchId
from storage_service.store import jsonfile, jsontext, layout
from storage_service.store.archive import Entry
from storage_service.store.batches.records import ENDS, NEXT, BatchStatus
from storage_service.store.forms import fields
from storage_service.store.importing import names
from storage_service.store.importing.workshop import Steps, Workshop
from storage_service.store.records import JsonObject

_KIND = "batch"
_ENDING, RESULTS = ".json", ".results.jsonl"
_FILES = ("input_file_id", "output_file_id", "error_file_id")
_SAME = ("endpoint", "created_at", "metadata", "tenant")


class BatchImport:
    """Builds batches. `planned` has those that are to be published: each a folder with one file, or two."""

    def __init__(self, shop: Workshop, where: layout.Layout, now_ms: int) -> None:
        self._shop = shop
        self._layout = where
        self._now_ms = now_ms
        self.planned: dict[BatchId, Path] = {}

    def all(self, sources: Mapping[str, Entry], files: Mapping[str, str]) -> Steps:
        """The files of a batches/ folder, with the new names of uploads. What is no batch is set aside."""
        for name, entry in sources.items():
            if name.endswith(RESULTS):
                if f"{name.removesuffix(RESULTS)}{_ENDING}" not in sources:
                    yield from self._shop.quarantine(entry, "Its batch is not there.")
            elif name.endswith(_ENDING):
                old = name.removesuffix(_ENDING)
                yield from self._batch(old, entry, sources.get(f"{old}{RESULTS}"), files)
            else:
                yield from self._shop.quarantine(entry, "It belongs to no batch.")

    def _batch(self, old: str, entry: Entry, results: Entry | None, files: Mapping[str, str]) -> Steps:
        raw = jsontext.load_object(self._shop.read(entry, jsonfile.MAX_FILE_BYTES) or b"")
        if raw is None:
            yield from self._shop.quarantine(entry, "It is not one JSON object.")
            return
        for name in names.candidates(names.usable(BatchId, old)):
            home = self.planned.get(BatchId(name), self._layout.batches)
            if not os.path.lexists(home / f"{name}{_ENDING}"):
                break
            if _same(jsonfile.read(home / f"{name}{_ENDING}"), raw):
                self._shop.report.already_here(_KIND, old, name)
                return
        home = self._shop.new_folder("batches")
        told = self._stopped(raw) | {key: files.get(raw[key], raw[key]) for key in _FILES if _is_text(raw, key)}
        told |= {"id": name} if "id" in raw else {}
        if results is not None and BatchStatus(told["status"]) not in ENDS:
            yield from self._shop.extract(results, home / f"{name}{RESULTS}")
        yield from self._shop.write(
            home / f"{name}{_ENDING}", [jsontext.dumps(told, indented=True)], entry.changed_seconds
        )
        self.planned[BatchId(name)] = home
        self._shop.report.came_in(_KIND, old, name)

    def _stopped(self, raw: JsonObject) -> JsonObject:
        """A batch that is being cancelled, unless it has ended or all of it is answered; its results become files."""
        status = fields.word(BatchStatus, fields.text(raw, "status"), BatchStatus.FAILED)
        if BatchStatus.CANCELLING not in NEXT[status]:
            return raw | {"status": status.value}
        step = {"status": BatchStatus.CANCELLING.value, "at": self._now_ms}
        return raw | {"status": BatchStatus.CANCELLING.value, "steps": [*fields.objects(raw, "steps"), step]}


def _same(here: JsonObject | None, raw: JsonObject) -> bool:
    return here is not None and all(here.get(key) == raw.get(key) for key in _SAME)


def _is_text(raw: JsonObject, key: str) -> bool:
    return isinstance(raw.get(key), str)
