"""Documents in the input of a response: their text takes their place, taken out by storage within limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gateway.schemas.response_items import AnyItem, FilePart, ImagePart, MessageItem, ReadFilePart, TextPart
from gateway.schemas.sent_files import SentFile
from gateway.services.storage import StorageClient
from jan.errors import InvalidArgumentError, NotFoundError
from jan.storage.v1 import texts_pb2


async def with_files_read(storage: StorageClient, items: Sequence[AnyItem], *, field: str = "input") -> list[AnyItem]:
    """The items with every document read, one after another. field: what the request calls them.

    Raises NotFoundError: an upload is not there. InvalidArgumentError: it has no text, or too much.
    """
    return [
        await _read(storage, item, f"{field}[{place}]") if isinstance(item, MessageItem) else item
        for place, item in enumerate(items)
    ]


async def _read(storage: StorageClient, item: MessageItem, name: str) -> MessageItem:
    if not any(isinstance(part, FilePart) for part in item.content):
        return item
    content: list[TextPart | ImagePart | FilePart] = []
    for place, part in enumerate(item.content):
        with errors_about(f"{name}.content[{place}]"):
            content.append(await _with_text(storage, part) if isinstance(part, FilePart) else part)
    return item.model_copy(update={"content": content})


@contextmanager
def errors_about(name: str) -> Iterator[None]:
    """Have what cannot be read named as the request calls it. Raises NotFoundError, InvalidArgumentError."""
    try:
        yield
    except (NotFoundError, InvalidArgumentError) as error:
        raise type(error)(error.message, code=error.code, param=name) from None


async def extracted(storage: StorageClient, file: SentFile) -> texts_pb2.ExtractTextResponse:
    """A document's text and name. Raises NotFoundError, InvalidArgumentError as above."""
    asked = texts_pb2.ExtractTextRequest(filename=file.filename or "")
    if file.file_id is not None:
        asked.file_id = file.file_id
    else:
        asked.content = file.data
    return await storage.extract_text(asked)


async def _with_text(storage: StorageClient, part: FilePart) -> ReadFilePart:
    told = await extracted(storage, part)
    return ReadFilePart(type="input_file", file_id=part.file_id, filename=told.filename, text=told.text)
