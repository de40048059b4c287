"""Stored chats: a file each. Whose they are stays as it was: they are shown to the key that asked, here as there."""

import os
from pathlib import Path

from jan.ids import CompletionId
from storage_service.store import jsonfile, jsontext, layout
from storage_service.store.archive import Entry
from storage_service.store.forms import fields
from storage_service.store.importing import names
from storage_service.store.importing.workshop import Steps, Workshop
from storage_service.store.records import JsonObject

_KIND = "completion"
# What makes two of them the same: metadata may have changed since.
_SAME = ("owner", "created", "model", "messages")


class CompletionImport:
    """Builds stored chats. `planned` has those that are to be published."""

    def __init__(self, shop: Workshop, where: layout.Layout) -> None:
        self._shop = shop
        self._layout = where
        self.planned: dict[CompletionId, Path] = {}

    def file(self, old: str, entry: Entry) -> Steps:
        """A file of completions/. One that is no JSON object is set aside."""
        data = self._shop.read(entry, jsonfile.MAX_FILE_BYTES)
        raw = jsontext.load_object(data or b"")
        if data is None or raw is None:
            yield from self._shop.quarantine(entry, "It is not one JSON object.")
            return
        for name in names.candidates(names.usable(CompletionId, old)):
            path = self.planned.get(CompletionId(name), self._layout.completions / f"{name}.json")
            if not os.path.lexists(path):
                break
            if _same(jsonfile.read(path), raw):
                self._shop.report.already_here(_KIND, old, name)
                return
        if name != old:
            answer = fields.obj(raw, "completion")
            data = jsontext.dumps(raw | {"id": name, "completion": answer | {"id": name}}, indented=True)
        home = self._shop.new_folder("completions") / f"{name}.json"
        yield from self._shop.write(home, [data], entry.changed_seconds)
        self.planned[CompletionId(name)] = home
        self._shop.report.came_in(_KIND, old, name)


def _same(here: JsonObject | None, raw: JsonObject) -> bool:
    return here is not None and all(here.get(key) == raw.get(key) for key in _SAME)
