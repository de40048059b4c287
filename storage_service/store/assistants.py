"""Assistants: a folder each, with an assistant.json."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from jan.errors import NotFoundError
from jan.ids import AssistantId
from storage_service.store import atomic, jsonfile, layout, trash
from storage_service.store.clock import Clock
from storage_service.store.forms import assistants as form
from storage_service.store.order import CreationOrder
from storage_service.store.paging import Page, PageQuery
from storage_service.store.records import Assistant


class Assistants:
    """Create, read, list, change and delete assistants. There are few, and one writer at a time is assumed."""

    def __init__(self, where: layout.Layout, clock: Clock, rubbish: trash.Trash) -> None:
        self._layout = where
        self._clock = clock
        self._trash = rubbish
        self._order = CreationOrder(where.assistants, AssistantId, self._created_ms)

    def create(self, assistant: Assistant) -> Assistant:
        """Make an assistant; `created_ms` is the store's. An id that exists answers the stored one.

        Durable on return. Raises StorageFullError.
        """
        stored = self._read(assistant.id)
        if stored is not None:
            return stored
        assistant = replace(assistant, created_ms=self._order.claim_ms(self._clock()))
        folder = self._layout.assistant(assistant.id)
        atomic.make_dir(folder)
        jsonfile.write(folder / layout.ASSISTANT_FILE, form.to_json(assistant))
        self._order.put(assistant.id, assistant.created_ms)
        return assistant

    def get(self, assistant_id: AssistantId) -> Assistant:
        """Read an assistant. Raises NotFoundError."""
        assistant = self._read(assistant_id)
        if assistant is None:
            raise NotFoundError(f"No assistant found with id '{assistant_id:.64}'.")
        return assistant

    def page(self, query: PageQuery) -> Page[Assistant]:
        """One page of assistants in order of creation. Raises InvalidArgumentError: see `paging.cut`."""
        while True:
            ids = self._order.page(query)
            assistants = [self._read(assistant_id) for assistant_id in ids.items]
            found = tuple(assistant for assistant in assistants if assistant is not None)
            moved = [self._order.put(assistant.id, assistant.created_ms) for assistant in found]
            if len(found) == len(assistants) and not any(moved):
                return Page(found, ids.has_more)

    def change(self, assistant_id: AssistantId, change: Callable[[Assistant], Assistant]) -> Assistant:
        """Rewrite an assistant's file with what `change` makes of it; id and creation time stay.

        Keys of the file that no field stands for are kept. Durable on return. Raises NotFoundError,
        StorageFullError.
        """
        before = self.get(assistant_id)
        after = replace(change(before), id=before.id, created_ms=before.created_ms)
        folder = self._layout.assistant(assistant_id)
        raw = jsonfile.read(description_of(folder)) or {}
        jsonfile.write(folder / layout.ASSISTANT_FILE, form.change(raw, before, after))
        return after

    def delete(self, assistant_id: AssistantId) -> None:
        """Take an assistant away; its folder moves into `.server/trash/`. Durable on return. Raises NotFoundError."""
        self.get(assistant_id)
        deletion = self._trash.begin(trash.ASSISTANT)
        deletion.put(self._layout.assistant(assistant_id))
        deletion.finish()
        self._order.drop(assistant_id)

    def _read(self, assistant_id: AssistantId) -> Assistant | None:
        path = description_of(self._layout.assistant(assistant_id))
        raw = jsonfile.read(path)
        if raw is None:
            self._order.drop(assistant_id)
            return None
        return form.from_json(assistant_id, raw, jsonfile.changed_ms(path) or 0)

    def _created_ms(self, assistant_id: AssistantId) -> int | None:
        assistant = self._read(assistant_id)
        return assistant.created_ms if assistant else None


def description_of(folder: Path) -> Path:
    """The file that describes an assistant; the draft of 2023 called it as its folder. Changes go to assistant.json."""
    usual, draft = folder / layout.ASSISTANT_FILE, folder / f"{folder.name}.json"
    return draft if not os.path.lexists(usual) and os.path.lexists(draft) else usual
