"""Stored chat completions: `completions/<id>.json`, one file each, whole or not there."""

import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from jan.errors import InvalidArgumentError, NotFoundError
from jan.ids import CompletionId
from storage_service.store import atomic, jsonfile, layout
from storage_service.store.clock import Clock
from storage_service.store.forms import completions as form
from storage_service.store.paging import Page, PageQuery, cut
from storage_service.store.records import Completion

_ENDING = ".json"

Signature = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which completions a list is to hold: one's own and everybody's, of a model, with these pairs of metadata."""

    owner: str = ""
    model: str = ""
    metadata: Mapping[str, str] | None = None

    def has(self, one: Completion) -> bool:
        """Whether the list holds it."""
        return (
            one.is_for(self.owner)
            and self.model in ("", one.model)
            and all(one.metadata.get(key) == value for key, value in (self.metadata or {}).items())
        )


class Completions:
    """Keep, read, list, change and remove completions. `owner` is who asks; what is another's is not there for him."""

    def __init__(self, where: layout.Layout, clock: Clock) -> None:
        self._layout = where
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[CompletionId, tuple[Signature, Completion]] = {}
        self._last_ms = 0

    def create(self, completion: Completion) -> None:
        """Keep a completion; nothing happens when it is kept already. Durable on return.

        Raises TooLargeError, StorageFullError: nothing was kept.
        """
        if self._read(completion.id) is not None:
            return
        if not os.path.lexists(self._layout.completions):
            atomic.make_dir(self._layout.completions)
        self._write(replace(completion, stored_ms=self._claim_ms()))

    def get(self, completion_id: CompletionId, owner: str) -> Completion:
        """A completion. Raises NotFoundError: there is none, or it is another's."""
        found = self._read(completion_id)
        if found is None or not found.is_for(owner):
            raise NotFoundError(f"No chat completion found with id '{completion_id}'.")
        return found

    def page(self, query: PageQuery, wanted: Wanted) -> Page[Completion]:
        """One page, in order of creation, of what is wanted. Raises InvalidArgumentError: see `paging.cut`."""
        listed = [(size, one) for size, one in self._scan() if wanted.has(one)]
        index: dict[str, int] = {one.id: position for position, (_, one) in enumerate(listed)}
        page = cut(listed, query, index.get, lambda item: item[0])
        # What was removed since the scan is left out; `has_more` speaks of what follows all the same.
        whole = (self._read(one.id) for _, one in page.items)
        return Page(tuple(one for one in whole if one is not None), page.has_more)

    def update(self, completion_id: CompletionId, owner: str, metadata: dict[str, str]) -> Completion:
        """Replace a completion's metadata. Durable on return. Raises NotFoundError."""
        changed = replace(self.get(completion_id, owner), metadata=metadata)
        self._write(changed)
        return changed

    def delete(self, completion_id: CompletionId, owner: str) -> None:
        """Remove a completion for good. Durable on return. Raises NotFoundError."""
        self.get(completion_id, owner)
        self._layout.completion(completion_id).unlink(missing_ok=True)
        atomic.sync_dir(self._layout.completions)

    def _write(self, completion: Completion) -> None:
        """Keys of the file that no field stands for are kept."""
        path = self._layout.completion(completion.id)
        jsonfile.write(path, {**(jsonfile.read(path) or {}), **form.to_json(completion)})

    def _read(self, completion_id: CompletionId) -> Completion | None:
        raw = jsonfile.read(self._layout.completion(completion_id))
        return None if raw is None else form.from_json(completion_id, raw)

    def _scan(self) -> list[tuple[int, Completion]]:
        """Length of file and what a list needs of each, oldest first. Files are read when they are new or changed."""
        with self._lock:
            known, self._known = self._known, {}
            for completion_id, signature in self._present():
                before = known.get(completion_id)
                if before is not None and before[0] == signature:
                    self._known[completion_id] = before
                elif (found := self._read(completion_id)) is not None:
                    self._known[completion_id] = signature, replace(found, completion={}, messages=())
            in_order = sorted(
                self._known.values(), key=lambda item: (item[1].created_ms, item[1].stored_ms, item[1].id)
            )
        return [(signature[1], completion) for signature, completion in in_order]

    def _present(self) -> Iterator[tuple[CompletionId, Signature]]:
        for entry in self._entries():
            try:
                completion_id = CompletionId.parse(entry.name.removesuffix(_ENDING))
                status = entry.stat(follow_symlinks=False)
            except (InvalidArgumentError, FileNotFoundError):
                continue
            yield completion_id, (status.st_ino, status.st_size, status.st_mtime_ns)

    def _entries(self) -> list["os.DirEntry[str]"]:
        try:
            with os.scandir(self._layout.completions) as entries:
                return [one for one in entries if one.name.endswith(_ENDING) and one.is_file(follow_symlinks=False)]
        except FileNotFoundError:
            return []

    def _claim_ms(self) -> int:
        """A time that is later than that of every other that was kept by this process."""
        with self._lock:
            self._last_ms = max(self._clock(), self._last_ms + 1)
            return self._last_ms
