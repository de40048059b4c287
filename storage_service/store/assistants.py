"""Assistants: a folder each, with an assistant.json."""

import os
from collections.abc import Callable, Collection
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
from storage_service.store.revisions import check_revision
from storage_service.store.signature import NOTHING


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
        assistant = replace(assistant, created_ms=self.claim_ms())
        folder = self._layout.assistant(assistant.id)
        atomic.make_dir(folder)
        revision = jsonfile.write(folder / layout.ASSISTANT_FILE, form.to_json(assistant))
        self._order.put(assistant.id, assistant.created_ms)
        return replace(assistant, revision=revision)

    def adopt(self, assistant_id: AssistantId) -> Assistant:
        """Answer an assistant whose folder just came to its place."""
        assistant = self.get(assistant_id)
        self._order.put(assistant_id, assistant.created_ms)
        return assistant

    def claim_ms(self) -> int:
        """A time of creation for a new assistant."""
        return self._order.claim_ms(self._clock())

    def all(self) -> list[Assistant]:
        """Every assistant; there are few."""
        found = map(self._read, self._order.ids())
        return [assistant for assistant in found if assistant is not None]

    def get(self, assistant_id: AssistantId) -> Assistant:
        """Read an assistant. Raises NotFoundError."""
        assistant = self._read(assistant_id)
        if assistant is None:
            raise _not_found(assistant_id)
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

    def change(
        self, assistant_id: AssistantId, change: Callable[[Assistant], Assistant], if_revision: Collection[str] = ()
    ) -> Assistant:
        """Rewrite an assistant's file with what `change` makes of it; id and creation time stay. Durable on return.

        Keys of the file that no field stands for are kept, and so is what somebody else writes meanwhile. Raises
        NotFoundError, StorageFullError. PreconditionFailedError: the revision is none of `if_revision`.
        """
        return atomic.again_if_changed(lambda: self._change(assistant_id, change, if_revision))

    def delete(self, assistant_id: AssistantId, if_revision: Collection[str] = ()) -> None:
        """Take an assistant away; its folder moves into `.server/trash/`. Durable on return.

        Raises NotFoundError. PreconditionFailedError: see `change`.
        """
        check_revision(self.get(assistant_id).revision, if_revision)
        deletion = self._trash.begin(trash.ASSISTANT)
        deletion.put(self._layout.assistant(assistant_id))
        deletion.finish()
        self._order.drop(assistant_id)

    def _change(
        self, assistant_id: AssistantId, change: Callable[[Assistant], Assistant], if_revision: Collection[str]
    ) -> Assistant:
        folder = self._layout.assistant(assistant_id)
        path, target = description_of(folder), folder / layout.ASSISTANT_FILE
        found = jsonfile.look(path)
        if found.value is None:
            raise _not_found(assistant_id)
        before = form.from_json(assistant_id, found.value, jsonfile.changed_ms(path) or 0)
        check_revision(found.revision, if_revision)
        after = replace(change(before), id=before.id, created_ms=before.created_ms)
        raw = form.change(found.value, before, after)
        return replace(after, revision=jsonfile.write(target, raw, found.signature if path == target else NOTHING))

    def _read(self, assistant_id: AssistantId) -> Assistant | None:
        path = description_of(self._layout.assistant(assistant_id))
        found = jsonfile.look(path)
        if found.value is None:
            self._order.drop(assistant_id)
            return None
        assistant = form.from_json(assistant_id, found.value, jsonfile.changed_ms(path) or 0)
        return replace(assistant, revision=found.revision)

    def _created_ms(self, assistant_id: AssistantId) -> int | None:
        assistant = self._read(assistant_id)
        return assistant.created_ms if assistant else None


def description_of(folder: Path) -> Path:
    """The file that describes an assistant; the draft of 2023 called it as its folder. Changes go to assistant.json."""
    usual, draft = folder / layout.ASSISTANT_FILE, folder / f"{folder.name}.json"
    return draft if not os.path.lexists(usual) and os.path.lexists(draft) else usual


def _not_found(assistant_id: AssistantId) -> NotFoundError:
    return NotFoundError(f"No assistant found with id '{assistant_id:.64}'.")
