"""The files of a message: uploads that it names, and the images and documents that Jan put into the thread's folder."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from jan.errors import InvalidArgumentError, NotFoundError
from jan.ids import FileId, MessageFileId, MessageId, ThreadId
from storage_service.store import layout
from storage_service.store.files import Files, OpenFile, plain_size
from storage_service.store.forms import fields
from storage_service.store.messages import Messages
from storage_service.store.paging import Page, PageQuery, cut
from storage_service.store.records import Message, MessageFile

# Jan named a message's own file after it, always with one of these endings.
_OWN_SUFFIXES = (".png", ".pdf")


class MessageFiles:
    """Find and read the files of messages. `folder` gives the folder of a thread that exists."""

    def __init__(self, folder: Callable[[ThreadId], Path], messages: Messages, files: Files) -> None:
        self._folder = folder
        self._messages = messages
        self._files = files

    def page(self, thread_id: ThreadId, message_id: MessageId, query: PageQuery) -> Page[MessageFile]:
        """One page of a message's files, in the order in which it names them. What is gone is left out.

        Raises NotFoundError: no such thread or message. InvalidArgumentError: see `paging.cut`.
        """
        files = list(self._found(thread_id, message_id))
        index: dict[str, int] = {file.id: position for position, file in enumerate(files)}
        return cut(files, query, index.get)

    def get(self, thread_id: ThreadId, message_id: MessageId, file_id: MessageFileId) -> MessageFile:
        """What is known of one file of a message. Raises NotFoundError."""
        for file in self._found(thread_id, message_id):
            if file.id == file_id:
                return file
        raise NotFoundError(f"No message file found with id '{file_id:.64}'.")

    def open(self, thread_id: ThreadId, message_id: MessageId, file_id: MessageFileId, into: OpenFile) -> MessageFile:
        """Open a file of a message; answers what is known of it. Raises NotFoundError."""
        file = self.get(thread_id, message_id, file_id)
        path = self._own_path(thread_id, file_id)
        if path is not None and into.open(path):
            return replace(file, size_bytes=into.size_bytes)
        return replace(file, size_bytes=self._files.open(FileId.parse(file_id), into).size_bytes)

    def check(self, message: Message, *, before: str = "") -> None:
        """See that a new message names uploads that exist. Raises InvalidArgumentError, whose param is the place.

        before: what stands in front of it where the request has several messages, as `messages[0].`.
        """
        for place, file_id in _uploads_placed(message):
            if not self._files.exists(file_id):
                raise InvalidArgumentError(f"No file found with id {file_id[:64]!a}.", param=f"{before}{place}")

    def _found(self, thread_id: ThreadId, message_id: MessageId) -> Iterator[MessageFile]:
        message = self._messages.get(thread_id, message_id)
        seen = set()
        for file in (*self._uploads(message), *self._own(thread_id, message)):
            if file.id not in seen:
                seen.add(file.id)
                yield file

    def _uploads(self, message: Message) -> Iterator[MessageFile]:
        for file_id in uploads_named(message):
            if self._files.exists(file_id):
                file = self._files.get(FileId(file_id))
                yield MessageFile(MessageFileId(file.id), message.id, file.created_ms, file.filename, file.size_bytes)

    def _own(self, thread_id: ThreadId, message: Message) -> Iterator[MessageFile]:
        for name in _own_named(message):
            path = self._own_path(thread_id, name)
            size_bytes = None if path is None else plain_size(path)
            if size_bytes is not None:
                yield MessageFile(MessageFileId(name), message.id, message.created_ms, name, size_bytes)

    def _own_path(self, thread_id: ThreadId, name: str) -> Path | None:
        """A plain name in the thread's own folder; None for what could be anything else. Links are not followed."""
        folder = self._folder(thread_id) / layout.FILES_FOLDER
        try:
            return None if os.path.islink(folder) else folder / MessageFileId.parse(name)
        except InvalidArgumentError:
            return None


def uploads_named(message: Message) -> Iterator[str]:
    """What a message names like an upload; whether it is one is another question."""
    return (file_id for _, file_id in _uploads_placed(message))


def _uploads_placed(message: Message) -> Iterator[tuple[str, str]]:
    """The same, each with its place in the message."""
    for index, attachment in enumerate(message.attachments):
        if file_id := fields.text(attachment, "file_id"):
            yield f"attachments[{index}].file_id", file_id
    for index, part in enumerate(message.content):
        if file_id := fields.text(fields.obj(part, "image_file"), "file_id"):
            yield f"content[{index}].image_file.file_id", file_id


def _own_named(message: Message) -> Iterator[str]:
    """Jan's images and documents: named like an upload by what was read of their paths, or by the message's id."""
    yield from uploads_named(message)
    for suffix in _OWN_SUFFIXES:
        yield f"{message.id}{suffix}"
