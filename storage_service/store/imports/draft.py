"""A conversation while it is put together: one place for its limits, files and losses, and the order of its times."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from jan.ids import ThreadId
from storage_service.store.imports.archive_files import ArchiveFiles, file_name, id_in, is_image
from storage_service.store.imports.conversations import (
    ORIGINAL_FILE,
    Conversation,
    Loss,
    Note,
    Product,
    ThreadFile,
    digest,
    message_id_for,
    thread_id_for,
)
from storage_service.store.imports.text import cut, one_line
from storage_service.store.layout import FILES_FOLDER
from storage_service.store.records import JsonObject, Message, MessageStatus, Role

# A line of messages.jsonl may have 16 MiB, and JSON takes up to six bytes for a character.
_MAX_TEXT = 2_000_000
_MAX_PARTS = 10_000
_MAX_TITLE = 256
_MAX_NAME = 120
_MAX_URL = 2048
_MAX_CITATIONS = 100
# What stands in a message where the export names a file and does not hold it.
_MISSING = "[a file that is not in the export: {name}]"


@dataclass(frozen=True, slots=True)
class Source:
    """Where conversations come from."""

    archive: ArchiveFiles
    """The other files of the export."""
    made_ms: int
    """The time of a conversation that names none."""


@dataclass(frozen=True, slots=True)
class Original:
    """A conversation as the export has it; `is_mended` when it holds characters that could not be read."""

    data: bytes
    is_mended: bool = False


@dataclass(slots=True)
class Said:
    """What one message says, as far as it was read."""

    content: list[JsonObject] = field(default_factory=list)
    attachments: list[JsonObject] = field(default_factory=list)
    metadata: JsonObject = field(default_factory=dict)
    cited: dict[str, str] = field(default_factory=dict)
    room: int = _MAX_TEXT

    def cite(self, url: str, title: str) -> None:
        """Note a page that the message cites, once; the first hundred."""
        if url and url[:_MAX_URL] not in self.cited and len(self.cited) < _MAX_CITATIONS:
            self.cited[url[:_MAX_URL]] = one_line(title, _MAX_TITLE)

    def __bool__(self) -> bool:
        return bool(self.content or self.attachments)


class Draft:
    """One conversation. Parsers add to it in order, and finish it."""

    def __init__(self, product: Product, source_id: str, original: Original, source: Source) -> None:
        self.id: ThreadId = thread_id_for(product, source_id, original.data)
        self._product = product
        self._original = original.data
        self._source = source
        self._metadata: JsonObject = {"imported_from": product.value, "source_id": one_line(source_id, _MAX_TITLE)}
        self._losses: Counter[Loss] = Counter({Loss.MENDED: 1} if original.is_mended else {})
        self._files: dict[str, ThreadFile] = {}
        self._messages: dict[str, Message] = {}

    def lose(self, loss: Loss, count: int = 1) -> None:
        """Note that so much of something is not shown; 0 is nothing."""
        if count:
            self._losses[loss] += count

    def text(self, said: Said, value: str, kind: str = "text") -> None:
        """Add a text; blank ones say nothing, and what does not fit is cut off."""
        if not value.strip():
            return
        room = said.room if len(said.content) < _MAX_PARTS else 0
        if len(value) > room:
            self.lose(Loss.SHORTENED)
            value = cut(value, room) if room else ""
        said.room = max(0, said.room - len(value))
        if value:
            text = {"value": value.replace("\0", "\ufffd"), "annotations": []}
            said.content.append({"type": kind, "text": text})

    def reasoning(self, said: Said, value: str) -> None:
        """Add what the model thought before it answered; Jan's part for it, which no model is shown again."""
        self.text(said, value, "reasoning")

    def file(self, said: Said, reference: str, name: str = "", media_type: str = "") -> None:
        """Add a file of the archive: an image to be seen in its place, anything else as an attachment."""
        entry = self._source.archive.find(reference)
        if entry is None:
            self.lose(Loss.MISSING_FILE)
            self.text(said, _MISSING.format(name=one_line(name or id_in(reference) or reference, _MAX_NAME)))
            return
        stored = entry.rpartition("/")[2]
        placed = file_name(id_in(reference), name, media_type, stored)
        self._place(said, ThreadFile(placed, entry=entry), as_image=is_image(placed, media_type))

    def document(self, said: Said, name: str, value: str) -> None:
        """Add a text as a file of its own."""
        data = value.encode()
        placed = file_name(f"text-{digest(data)}", f"{name.removesuffix('.txt')}.txt")
        self._place(said, ThreadFile(placed, data=data), as_image=False)

    def _place(self, said: Said, file: ThreadFile, *, as_image: bool) -> None:
        if len(said.content) + len(said.attachments) >= _MAX_PARTS:
            self.lose(Loss.SHORTENED)
            return
        self._files[file.name] = file
        if as_image:
            path = f"threads/{self.id}/{FILES_FOLDER}/{file.name}"
            said.content.append({"type": "image", "text": {"value": "", "annotations": [path]}})
        else:
            said.attachments.append({"file_id": file.name, "tools": [{"type": "file_search"}]})

    def add(
        self,
        said: Said,
        role: Role,
        source_id: str,
        *,
        created_ms: int | None,
        completed_ms: int | None,
        incomplete_reason: str | None = None,
    ) -> None:
        """Add a message, unless it says nothing. incomplete_reason: None when it is whole; may be empty."""
        if not said:
            return
        message = Message(
            id=message_id_for(self.id, source_id, self._messages.keys()),
            thread_id=self.id,
            role=role,
            content=said.content,
            created_ms=created_ms or 0,
            completed_ms=completed_ms if incomplete_reason is None else None,
            attachments=said.attachments,
            metadata=said.metadata | ({"citations": _pages(said.cited)} if said.cited else {}),
        )
        if incomplete_reason is not None:
            message = replace(
                message,
                status=MessageStatus.INCOMPLETE,
                incomplete_ms=completed_ms,
                incomplete_reason=incomplete_reason,
            )
        self._messages[message.id] = message

    def finish(
        self, title: str, created_ms: int | None, updated_ms: int | None, metadata: JsonObject | None = None
    ) -> Conversation:
        """The conversation."""
        known = [message.created_ms for message in self._messages.values() if message.created_ms]
        created_ms = created_ms or min(known, default=updated_ms or self._source.made_ms)
        if self._losses:
            self._files[ORIGINAL_FILE] = ThreadFile(ORIGINAL_FILE, data=self._original)
        return Conversation(
            id=self.id,
            product=self._product,
            title=one_line(title, _MAX_TITLE),
            created_ms=created_ms,
            updated_ms=max(updated_ms or created_ms, created_ms),
            messages=tuple(_in_order(self._messages.values(), known[0] if known else created_ms)),
            metadata=self._metadata | (metadata or {}),
            files=tuple(self._files.values()),
            notes=tuple(Note(loss, self._losses[loss]) for loss in Loss if self._losses[loss]),
        )


def _pages(cited: dict[str, str]) -> list[JsonObject]:
    return [{"url": url, "title": title} for url, title in cited.items()]


def _in_order(messages: Iterable[Message], created_ms: int) -> Iterator[Message]:
    """The messages with times that never decrease; one without a time has that of the one in front of it."""
    for message in messages:
        created_ms = max(created_ms, message.created_ms)
        yield replace(message, created_ms=created_ms)
