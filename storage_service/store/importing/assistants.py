"""Assistants: a folder each. One that answers as one that is here is not made again; threads follow new names."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jan.errors import InvalidArgumentError
from jan.ids import AssistantId
from storage_service.store import jsonfile, jsontext, layout
from storage_service.store.archive import Entry
from storage_service.store.assistants import description_of
from storage_service.store.forms import assistants as form
from storage_service.store.importing import names
from storage_service.store.importing.contents import Folder
from storage_service.store.importing.references import with_stores
from storage_service.store.importing.sameness import is_same
from storage_service.store.importing.workshop import Steps, Workshop
from storage_service.store.records import Assistant, JsonObject
from storage_service.store.trash import Trash


class AssistantImport:
    """Builds assistants. `planned` has those that are to be published."""

    def __init__(self, shop: Workshop, where: layout.Layout, trash: Trash) -> None:
        self._shop = shop
        self._layout = where
        self._trash = trash
        self.planned: dict[AssistantId, Path] = {}

    def folder(self, old: str, source: Folder, stores: Mapping[str, str], renamed: dict[str, str]) -> Steps:
        """An assistant's folder, with new names of vector stores; its own is noted in `renamed`.

        One that cannot be read is set aside.
        """
        described = source.files.get(layout.ASSISTANT_FILE) or source.files.get(f"{old}.json")
        data = self._shop.read(described, jsonfile.MAX_FILE_BYTES) if described is not None else None
        raw = jsontext.load_object(data or b"")
        if described is None or data is None or raw is None:
            yield from self._shop.quarantine_all(source.files.values(), "Its assistant cannot be read.")
            return
        raw, before = with_stores(raw, stores), raw
        for name in names.candidates(names.usable(AssistantId, old)):
            if AssistantId(name) in self.planned:
                continue
            if not self._is_taken(name):
                break
            if self._is_here(name, raw):
                self._shop.report.already_here("assistant", old, name)
                self._note(renamed, old, name)
                yield from self._keep_others(source, name, described)
                return
        home = self._shop.new_folder("assistants")
        for inner, entry in source.files.items():
            if entry is not described:
                yield from self._shop.extract(entry, home / inner)
        if name != old and "id" in raw:
            raw |= {"id": name}
        if raw != before:
            data = jsontext.dumps(raw, indented=True)
        own_file = described.name.rpartition("/")[2]
        file = own_file if name == old else layout.ASSISTANT_FILE
        yield from self._shop.write(home / file, [data], described.changed_seconds)
        self.planned[AssistantId(name)] = home
        self._shop.report.came_in("assistant", old, name)
        self._note(renamed, old, name)

    def _keep_others(self, source: Folder, name: str, described: Entry) -> Steps:
        """Set aside the files beside an assistant's own, unless the one that is here has them too."""
        for inner, entry in source.files.items():
            if entry is described:
                continue
            is_here = yield from is_same(self._layout.assistants / name / inner, self._shop.pieces(entry))
            if not is_here:
                yield from self._shop.quarantine(entry, "Its assistant is here already, without this.")

    def _note(self, renamed: dict[str, str], old: str, name: str) -> None:
        if name != old:
            renamed[old] = name

    def _is_taken(self, name: str) -> bool:
        return self._trash.holds(name) or os.path.lexists(self._layout.assistants / name)

    def _is_here(self, name: str, raw: JsonObject) -> bool:
        try:
            here = jsonfile.read(description_of(self._layout.assistant(AssistantId(name))))
        except InvalidArgumentError:
            return False
        return here is not None and _what_answers(here) == _what_answers(raw)


def _what_answers(raw: JsonObject) -> Assistant:
    """All of an assistant that its name and its answers depend on: not its picture, its description, its age."""
    assistant = form.from_json(AssistantId("same"), raw, 0)
    return replace(
        assistant,
        created_ms=0,
        avatar="",
        thread_location="",
        name=assistant.name or None,
        description=None,
        instructions=assistant.instructions or None,
        tools=[tool for tool in assistant.tools if tool.get("enabled") is not False],
        parameters=assistant.parameters or None,
    )
