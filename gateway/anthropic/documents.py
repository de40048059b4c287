"""Documents and search results in a message: what the model is shown in their place, taken out of files by storage.

A file at an address is fetched as images are, within the same policy (docs/security.md S18).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from gateway.fetching.fetch import Fetcher, Limits
from gateway.runs.conversation import around_file
from gateway.schemas.anthropic_blocks import (
    ContentSource,
    DocumentBlock,
    ImageBlock,
    Message,
    PdfSource,
    ReadDocument,
    SearchResultBlock,
    TextBlock,
    ToolResultBlock,
    UrlPdfSource,
)
from gateway.services.storage import StorageClient
from jan.errors import InvalidArgumentError, PermissionDeniedError
from jan.storage.v1 import texts_pb2

MAX_FETCHED: Final = 16
"""Documents at addresses, in one request; as many as images."""
_PDF_NAME: Final = "document.pdf"
# Readers look for it as far as there.
_PDF_MARK, _PDF_MARK_WITHIN = b"%PDF-", 1024
# Anthropic's bound for a PDF.
_LIMITS: Final = Limits(32 * 1024 * 1024, total_seconds=30.0, piece_seconds=10.0)

Shown = TextBlock | ImageBlock


class Documents:
    """Reads documents for models."""

    def __init__(self, fetcher: Fetcher, storage: StorageClient) -> None:
        self._fetcher = fetcher
        self._storage = storage

    async def read(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with what the model is shown of each document and search result in its place.

        Those that tools gave back too. Raises InvalidArgumentError, PermissionDeniedError: a document cannot be
        fetched, has no text, or too much.
        """
        _check_addresses(messages)
        return [
            message.model_copy(update={"content": await self._read(message.content, f"messages[{place}]")})
            for place, message in enumerate(messages)
        ]

    async def _read(self, blocks: Sequence[Any], name: str) -> list[Any]:
        """Blocks with their documents read. name: what the request calls what holds them."""
        return [await self._shown(block, f"{name}.content[{place}]") for place, block in enumerate(blocks)]

    async def _shown(self, block: Any, name: str) -> Any:
        if isinstance(block, ToolResultBlock):
            return block.model_copy(update={"content": await self._read(block.content, name)})
        if isinstance(block, SearchResultBlock):
            return _found(block)
        if not isinstance(block, DocumentBlock):
            return block
        try:
            shown = _framed(block, await self._content(block))
        except (InvalidArgumentError, PermissionDeniedError) as error:
            raise type(error)(error.message, code=error.code, param=f"{name}.source") from None
        return ReadDocument.model_construct(type="document", source=block.source, shown=shown)

    async def _content(self, document: DocumentBlock) -> Sequence[Shown]:
        match document.source:
            case PdfSource(data=data):
                return [await self._text_of(_decoded(data))]
            case UrlPdfSource(url=url):
                return [await self._text_of(await self._fetched(url))]
            case ContentSource(content=content):
                return content
        return [_text(document.source.data)]

    async def _text_of(self, pdf: bytes) -> TextBlock:
        if _PDF_MARK not in pdf[:_PDF_MARK_WITHIN]:  # a page that asks to sign in, say: storage reads HTML too
            raise InvalidArgumentError("The document is no PDF.")
        asked = texts_pb2.ExtractTextRequest(content=pdf, filename=_PDF_NAME)
        return _text((await self._storage.extract_text(asked)).text)

    async def _fetched(self, url: str) -> bytes:
        """What lies at an address. PermissionDeniedError says what the administrator can set."""
        try:
            return await self._fetcher.whole(url, _LIMITS)
        except (InvalidArgumentError, PermissionDeniedError) as error:
            raise type(error)(f"The document cannot be fetched. {error.message}", code=error.code) from None


def _check_addresses(messages: Sequence[Message]) -> None:
    """Refuse too many before any is fetched. Raises InvalidArgumentError."""
    blocks = [block for message in messages for block in message.content]
    given_back = [block for result in blocks if isinstance(result, ToolResultBlock) for block in result.content]
    documents = [block for block in (*blocks, *given_back) if isinstance(block, DocumentBlock)]
    count = sum(isinstance(document.source, UrlPdfSource) for document in documents)
    if count > MAX_FETCHED:
        message = f"The request names {count} documents by their URLs; {MAX_FETCHED} are the most."
        raise InvalidArgumentError(message, param="messages")


def _found(result: SearchResultBlock) -> TextBlock:
    text = "\n".join(block.text for block in result.content)
    return _text(f"Search result '{result.title}' from {result.source}:\n{text}\n(End of the search result.)")


def _framed(document: DocumentBlock, content: Sequence[Shown]) -> list[Shown]:
    """A document's content between its title and its end."""
    head, tail = around_file(document.title or "")
    before = f"{document.context}\n{head}" if document.context else head
    return list(_joined([before, *content, tail]))


def _joined(parts: Iterable[Shown | str]) -> Iterator[Shown]:
    """The same with texts that follow each other as one."""
    texts: list[str] = []
    for part in parts:
        if isinstance(part, ImageBlock):
            if texts:
                yield _text("\n".join(texts))
            yield part
            texts = []
        else:
            texts.append(part if isinstance(part, str) else part.text)
    if texts:
        yield _text("\n".join(texts))


def _text(text: str) -> TextBlock:
    return TextBlock.model_construct(type="text", text=text)


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data)
    except binascii.Error:
        raise InvalidArgumentError("The document is not in base64.") from None
