"""Documents in the messages of a chat: their text takes their place, taken out as that of a response's is."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.responses.files import errors_about, extracted
from gateway.runs.conversation import told_file
from gateway.schemas.chat import ChatCompletionRequest
from gateway.schemas.chat_messages import ChatMessage, Part
from gateway.services.storage import StorageClient


async def with_files_read(storage: StorageClient, request: ChatCompletionRequest) -> ChatCompletionRequest:
    """The request with every document read, one after another.

    Raises NotFoundError: an upload is not there. InvalidArgumentError: it has no text, or too much.
    """
    if not any(part.file is not None for message in request.messages for part in message.content or ()):
        return request
    read = [await _read(storage, message, f"messages[{place}]") for place, message in enumerate(request.messages)]
    return request.model_copy(update={"messages": read})


async def _read(storage: StorageClient, message: ChatMessage, name: str) -> ChatMessage:
    parts: Sequence[Part] = message.content or ()
    if all(part.file is None for part in parts):
        return message
    content = [await _with_text(storage, parts, place, name) for place in range(len(parts))]
    return message.model_copy(update={"content": content})


async def _with_text(storage: StorageClient, parts: Sequence[Part], place: int, name: str) -> Part:
    """A part, or the text of its document, on lines of its own."""
    file = parts[place].file
    if file is None:
        return parts[place]
    with errors_about(f"{name}.content[{place}].file"):
        told = await extracted(storage, file)
    before, behind = ("\n" if place else ""), ("\n" if place + 1 < len(parts) else "")
    return Part(type="text", text=f"{before}{told_file(told.filename, told.text)}{behind}")
