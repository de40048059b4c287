"""What the tools of an assistant or a thread are to work on, looked for when it is named."""

from __future__ import annotations

from gateway.schemas.tools import ToolResources
from gateway.services.storage import StorageClient
from jan.errors import InvalidArgumentError, NotFoundError
from jan.ids import FileId


async def check_resources(
    storage: StorageClient, resources: ToolResources | None, *, param: str = "tool_resources"
) -> None:
    """See that the vector stores and files are there: a run would find out only when it fails.

    param: what the request calls the resources. Raises InvalidArgumentError: one is not.
    """
    code = resources.code_interpreter if resources else None
    for index, file_id in enumerate((code.file_ids if code else None) or ()):
        try:
            await storage.get_file(FileId.parse(file_id))
        except (NotFoundError, InvalidArgumentError):
            raise InvalidArgumentError(
                f"No file found with id {file_id[:64]!a}.", param=f"{param}.code_interpreter.file_ids[{index}]"
            ) from None
    search = resources.file_search if resources else None
    for index, store_id in enumerate((search.vector_store_ids if search else None) or ()):
        try:
            await storage.vector_stores.get(store_id)
        except (NotFoundError, InvalidArgumentError):
            raise InvalidArgumentError(
                f"No vector store found with id {store_id[:64]!a}.",
                param=f"{param}.file_search.vector_store_ids[{index}]",
            ) from None
