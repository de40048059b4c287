"""Documents and search results in a message: their text takes their place, that of files taken out by storage."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from gateway.responses.files import errors_about
from gateway.runs.conversation import told_file
from gateway.schemas.anthropic_blocks import (
    ContentSource,
    DocumentBlock,
    Message,
    PdfSource,
    SearchResultBlock,
    TextBlock,
    ToolResultBlock,
)
from gateway.services.storage import StorageClient
from jan.errors import InvalidArgumentError
from jan.storage.v1 import texts_pb2

_PDF_NAME = "document.pdf"


async def with_documents_read(storage: StorageClient, messages: Sequence[Message]) -> list[Message]:
    """The messages with a text in the place of each document and search result, also of those that tools gave back.

    Raises InvalidArgumentError: a document has no text, or too much.
    """
    return [
        message.model_copy(update={"content": await _read(storage, message.content, f"messages[{place}]")})
        for place, message in enumerate(messages)
    ]


async def _read(storage: StorageClient, blocks: Sequence[Any], name: str) -> list[Any]:
    """Blocks with their documents read. name: what the request calls what holds them."""
    return [await _with_text(storage, block, f"{name}.content[{place}]") for place, block in enumerate(blocks)]


async def _with_text(storage: StorageClient, block: Any, name: str) -> Any:
    if isinstance(block, ToolResultBlock):
        return block.model_copy(update={"content": await _read(storage, block.content, name)})
    if isinstance(block, SearchResultBlock):
        return _found(block)
    if not isinstance(block, DocumentBlock):
        return block
    with errors_about(f"{name}.source"):
        return await _told(storage, block)


def _found(result: SearchResultBlock) -> TextBlock:
    text = "\n".join(block.text for block in result.content)
    told = f"Search result '{result.title}' from {result.source}:\n{text}\n(End of the search result.)"
    return TextBlock(type="text", text=told)


async def _told(storage: StorageClient, document: DocumentBlock) -> TextBlock:
    told = told_file(document.title or "", await _text(storage, document))
    return TextBlock(type="text", text=f"{document.context}\n{told}" if document.context else told)


async def _text(storage: StorageClient, document: DocumentBlock) -> str:
    match document.source:
        case PdfSource(data=data):
            asked = texts_pb2.ExtractTextRequest(content=_decoded(data), filename=_PDF_NAME)
            return (await storage.extract_text(asked)).text
        case ContentSource(content=content):
            return "\n".join(block.text for block in content)
    return document.source.data


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data)
    except binascii.Error:
        raise InvalidArgumentError("The document is not in base64.") from None
