"""A response's search of files: an item in front of its answer, a message of its own in the thread.

Runs of the Assistants API tell of theirs as a step (`gateway.runs.file_search`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal

from gateway.convert.items import found_by, item_from_message, search_part
from gateway.convert.json_fields import from_text, to_text
from gateway.queueing.priority import kept
from gateway.runs import derived_ids
from gateway.runs.file_search import file_search_tool, question_of
from gateway.runs.log import event_frame
from gateway.runs.messages import new_message
from gateway.runs.steps import now
from gateway.services.storage import StorageClient
from gateway.vector_stores.excerpts import Excerpt
from gateway.vector_stores.file_search import FILE_SEARCH, FileSearch, find_excerpts
from gateway.vector_stores.search import ChunkSearcher
from jan.storage.v1 import messages_pb2, runs_pb2

BEGUN = "response.file_search.begun"
ENDED = "response.file_search.ended"
"""The names of its events in a run's log, which readers of the response alone are told of, in other words."""


class SearchItem:
    """The search of one response. `message`: what is kept of it."""

    def __init__(self, run: runs_pb2.Run, search: FileSearch) -> None:
        self._run = run
        self._search = search
        item_id = derived_ids.search_item_id(run.id, run.thread_id)
        self.message = new_message(run, item_id, messages_pb2.MESSAGE_STATUS_IN_PROGRESS)
        self.message.created_at.CopyFrom(now())

    @classmethod
    def of(cls, run: runs_pb2.Run, said: Sequence[messages_pb2.Message]) -> SearchItem | None:
        """The search that a response makes, or has made; None when there is nothing to search for.

        said: all that was said so far, the newest last. What was looked for already, as in front of the calls whose
        outputs the response is given, is not looked for again, unless the choice says so.
        """
        tool = file_search_tool(run)
        if tool is None:
            return None
        before = [message for message in reversed(said) if message.run_id != run.id]
        question, options = question_of(before), tool[FILE_SEARCH]
        if not question or (_is_found(before) and not _must_search(run)):
            return None
        item = cls(run, FileSearch(options["vector_store_ids"], question, options))
        for message in said:
            if message.id == item.message.id:
                item.message.CopyFrom(message)
        return item

    @property
    def is_complete(self) -> bool:
        """Whether it was made."""
        return self.message.status == messages_pb2.MESSAGE_STATUS_COMPLETED

    async def make(
        self,
        storage: StorageClient,
        searcher: ChunkSearcher,
        must_stop: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """Search, unless that was done. Raises as `find_excerpts`."""
        if self.is_complete:
            return
        tenant, priority = self._run.tenant, kept(self._run.priority)
        found = await find_excerpts(
            storage, searcher, self._search, tenant=tenant, priority=priority, must_stop=must_stop
        )
        self.message.status = messages_pb2.MESSAGE_STATUS_COMPLETED
        self._write("completed", found)

    def cut(self, status: Literal["failed", "incomplete"]) -> None:
        """It ended before anything was found. status: as the item tells it."""
        self.message.status = messages_pb2.MESSAGE_STATUS_INCOMPLETE
        self._write(status, None)

    def begun_frame(self) -> bytes:
        """The event of its beginning."""
        return event_frame(BEGUN, {"id": self.message.id})

    def ended_frame(self) -> bytes:
        """The event of its end: the item, without what was found."""
        return event_frame(ENDED, item_from_message(self.message))

    def _write(self, status: str, found: Sequence[Excerpt] | None) -> None:
        self.message.content_json = to_text([search_part([self._search.question], found, status)])


def _must_search(run: runs_pb2.Run) -> bool:
    choice = from_text(run.tool_choice_json)
    return isinstance(choice, dict) and choice.get("type") == FILE_SEARCH


def _is_found(newest: Iterable[messages_pb2.Message]) -> bool:
    """Whether nobody has asked anything since the last search."""
    for message in newest:
        if found_by(message) is not None:
            return True
        if message.role == messages_pb2.MESSAGE_ROLE_USER:
            return False
    return False
