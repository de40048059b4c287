"""The tool `file_search`: vector stores are searched for what a person said, before the model is asked.

Small models call tools badly or not at all, so nothing waits for a call (docs/decisions/0036). Runs tell of a search as
a step (`gateway.runs.file_search`), responses as an item (`gateway.runs.search_item`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.convert.json_fields import to_text
from gateway.queueing.priority import Priority
from gateway.services.storage import StorageClient
from gateway.vector_stores.excerpts import Excerpt, best
from gateway.vector_stores.search import ChunkSearcher
from jan.backoff import Backoff
from jan.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from jan.storage.v1 import vector_stores_pb2 as pb

FILE_SEARCH = "file_search"
# A few chunks of 800 tokens: small models have little room, and lose the question among more.
DEFAULT_RESULTS = 5
# As long as a search takes questions.
MAX_QUERY = 65_536
_PATIENCE_SECONDS = 60.0
# At most this long a cancel is not heard.
_LOOK_SECONDS = 0.5


class SearchStoppedError(Exception):
    """The run is to stop, so nothing was searched."""


@dataclass(frozen=True, slots=True)
class FileSearch:
    """What is looked for, and where. options: the tool's, as a run keeps them."""

    store_ids: Sequence[str]
    question: str
    options: dict[str, Any]

    @property
    def score_threshold(self) -> float:
        """From 0 to 1."""
        return float(self._ranking.get("score_threshold") or 0)

    @property
    def max_results(self) -> int:
        """At most so many are told."""
        return self.options.get("max_num_results") or DEFAULT_RESULTS

    def request(self, store_id: str) -> pb.SearchVectorStoreRequest:
        """The search of one of the stores."""
        weights = self._ranking.get("hybrid_search") or {}
        return pb.SearchVectorStoreRequest(
            vector_store_id=store_id,
            queries=[self.question],
            filters_json=to_text(self.options.get("filters")),
            max_results=self.max_results,
            score_threshold=self.score_threshold,
            embedding_weight=weights.get("embedding_weight") or 0,
            text_weight=weights.get("text_weight") or 0,
        )

    @property
    def _ranking(self) -> dict[str, Any]:
        return self.options.get("ranking_options") or {}


async def find_excerpts(
    storage: StorageClient,
    searcher: ChunkSearcher,
    search: FileSearch,
    *,
    tenant: str,
    priority: Priority,
    must_stop: Callable[[], Awaitable[bool]] | None = None,
) -> list[Excerpt]:
    """The best of all the stores, once their files are processed.

    must_stop: asked again and again while files are waited for. Raises SearchStoppedError: it said so.
    InvalidArgumentError: a vector store is gone, or has expired.
    """
    hits: list[pb.VectorStoreHit] = []
    with _asked_of_the_caller():
        for store_id in search.store_ids:
            await _until_processed(storage, store_id, must_stop)
        for store_id in search.store_ids:
            ranked = await searcher.search(search.request(store_id), tenant=tenant, priority=priority)
            hits += ranked.hits
    return best(hits, search.max_results)


async def _until_processed(
    storage: StorageClient, store_id: str, must_stop: Callable[[], Awaitable[bool]] | None
) -> None:
    """Wait for the store's files, as OpenAI's runs do for a minute; what is not ready then is not found.

    Raises SearchStoppedError. NotFoundError: the store is gone.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            backoff = Backoff(most_seconds=_LOOK_SECONDS)
            while (await storage.vector_stores.get(store_id)).state == pb.VECTOR_STORE_STATE_IN_PROGRESS:
                if must_stop is not None and await must_stop():
                    raise SearchStoppedError
                await backoff.wait()


@contextlib.contextmanager
def _asked_of_the_caller() -> Iterator[None]:
    """A vector store that is gone or has expired is no fault of the server, as runs would say of other errors."""
    try:
        yield
    except (NotFoundError, FailedPreconditionError) as error:
        raise InvalidArgumentError(f"The files cannot be searched: {error.message}") from error
