"""What the tools of an assistant or a thread are to work on, looked for when it is named."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.schemas.tool_resources import ToolResources
from gateway.services.storage import StorageClient
from jan.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from jan.ids import FileId
from jan.storage.v1 import vector_stores_pb2 as pb


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
        name = f"{param}.file_search.vector_store_ids[{index}]"
        try:
            await _named_store(storage, store_id, name)
        except NotFoundError as error:
            raise InvalidArgumentError(error.message, param=name) from None


async def check_searchable(storage: StorageClient, store_ids: Sequence[str], *, param: str) -> None:
    """See that vector stores may be searched now. param: what the request calls their list.

    Raises NotFoundError: one is not there. FailedPreconditionError: one has expired.
    """
    for index, store_id in enumerate(store_ids):
        name = f"{param}[{index}]"
        if (await _named_store(storage, store_id, name)).state == pb.VECTOR_STORE_STATE_EXPIRED:
            raise FailedPreconditionError(
                f"Vector store {store_id} is expired.", param=name, code="vector_store_expired"
            )


async def _named_store(storage: StorageClient, store_id: str, param: str) -> pb.VectorStore:
    """The vector store. Raises NotFoundError: it is not there, or cannot be one."""
    try:
        return await storage.vector_stores.get(store_id)
    except (NotFoundError, InvalidArgumentError):
        raise NotFoundError(f"No vector store found with id {store_id[:64]!a}.", param=param) from None
