"""The vector stores that an assistant or a thread is to search, looked for when they are named."""

from __future__ import annotations

from gateway.schemas.tools import ToolResources
from gateway.services.storage import StorageClient
from jan.errors import InvalidArgumentError, NotFoundError


async def check_resources(
    storage: StorageClient, resources: ToolResources | None, *, param: str = "tool_resources"
) -> None:
    """See that the vector stores are there: a run would find out only when it fails.

    param: what the request calls the resources. Raises InvalidArgumentError: one is not.
    """
    search = resources.file_search if resources else None
    for index, store_id in enumerate((search.vector_store_ids if search else None) or ()):
        try:
            await storage.vector_stores.get(store_id)
        except (NotFoundError, InvalidArgumentError):
            raise InvalidArgumentError(
                f"No vector store found with id {store_id[:64]!a}.",
                param=f"{param}.file_search.vector_store_ids[{index}]",
            ) from None
