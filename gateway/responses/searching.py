"""The tool `file_search` where a response is asked for: its stores must be there; it searches if nothing is kept."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.runs.search_item import SearchItem
from gateway.schemas.response_tools import FileSearchTool
from gateway.schemas.responses import CreateResponse
from gateway.services.storage import StorageClient
from gateway.vector_stores.resources import check_searchable
from gateway.vector_stores.search import ChunkSearcher
from jan.storage.v1 import messages_pb2, runs_pb2


async def check_stores(storage: StorageClient, body: CreateResponse) -> None:
    """See that what a request would have searched is there, before anything is made.

    Raises NotFoundError: a vector store is not. FailedPreconditionError: one has expired.
    """
    for place, tool in enumerate(body.tools or ()):
        if isinstance(tool, FileSearchTool):
            await check_searchable(storage, tool.vector_store_ids, param=f"tools[{place}].vector_store_ids")


async def with_search(
    storage: StorageClient, searcher: ChunkSearcher, run: runs_pb2.Run, said: Sequence[messages_pb2.Message]
) -> list[messages_pb2.Message]:
    """What was said so far and, behind it, the search of files that a response which is not stored makes, if any.

    Raises InvalidArgumentError: a vector store is gone, or has expired.
    """
    item = SearchItem.of(run, said)
    if item is None:
        return list(said)
    await item.make(storage, searcher)
    return [*said, item.message]
