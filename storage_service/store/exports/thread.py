"""One thread as a zip: its folder as it lies there, and beside it the uploads that its messages name."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass

from jan.errors import FailedPreconditionError, NotFoundError
from jan.ids import MessageId, ThreadId
from storage_service.store import jsonl, layout
from storage_service.store.exports import owners
from storage_service.store.exports.alone import Alone
from storage_service.store.exports.folders import OpenedFile, OpenedFolder
from storage_service.store.exports.zip_writer import ZipWriter
from storage_service.store.forms import messages as form
from storage_service.store.message_files import uploads_named
from storage_service.store.records import JsonObject
from storage_service.store.store import Store


@dataclass(frozen=True, slots=True)
class _Opened:
    """A thread's folder, None for a flat one; the files of it that change; the messages that lie in none of those."""

    folder: OpenedFolder | None
    files: Mapping[str, OpenedFile]
    messages_inside: bytes


def pieces(store: Store, thread_id: ThreadId, alone: Alone) -> Iterator[bytes]:
    """The bytes of the zip: `<thread id>/…` or the flat `<thread id>.json`, then `files/…` if there are any.

    Nothing is changed or converted, but runs name nobody (`owners`). Raises NotFoundError: no such thread.
    FailedPreconditionError: a file or folder of it is closed to us. OSError: one cannot be read. The zip has no end
    then, so that nobody takes it for whole.
    """
    try:
        yield from _pieces(store, thread_id, alone)
    except PermissionError as error:
        raise FailedPreconditionError(f"'{error.filename}' of this thread may not be read by the server.") from error


def _pieces(store: Store, thread_id: ThreadId, alone: Alone) -> Iterator[bytes]:
    writer = ZipWriter()
    with ExitStack() as stack:
        opened = alone(thread_id, lambda: _open(store, thread_id, stack))
        if opened.folder is None:
            for name, file in opened.files.items():
                yield from writer.file(file.item(name), file.size_bytes, file.pieces())
        else:
            yield from tree(writer, opened.folder, thread_id, opened.files)
        yield from _uploads(writer, store, thread_id, opened)
    yield from writer.finish()


def tree(writer: ZipWriter, folder: OpenedFolder, place: str, files: Mapping[str, OpenedFile]) -> Iterator[bytes]:
    """A folder with all that is in it, but for links and what is no plain file; `files` of it are open already."""
    yield from writer.folder(folder.item(place))
    for entry in folder.entries():
        name = f"{place}/{entry.name}"
        if entry.is_folder:
            with folder.inner(entry.name) as inner:
                yield from tree(writer, inner, name, {})
        elif entry.name in files:
            yield from _opened_file(writer, files[entry.name], entry.name, name)
        elif entry.is_file:
            yield from _file(writer, folder, entry.name, name)


def _file(writer: ZipWriter, folder: OpenedFolder, own_name: str, name: str) -> Iterator[bytes]:
    file = folder.file(own_name)
    if file is not None:
        with closing(file):
            yield from _opened_file(writer, file, own_name, name)


def _opened_file(writer: ZipWriter, file: OpenedFile, own_name: str, name: str) -> Iterator[bytes]:
    yield from writer.file(file.item(name), file.size_bytes, owners.pieces(own_name, file))


def _open(store: Store, thread_id: ThreadId, stack: ExitStack) -> _Opened:
    path = store.threads.folder(thread_id)
    is_flat = not path.is_dir()
    home = stack.enter_context(OpenedFolder.at(path.parent if is_flat else path))
    files = {}
    for name in (f"{thread_id}.json",) if is_flat else layout.LIVE_FILES:
        file = home.file(name)
        if file is not None:
            files[name] = stack.enter_context(closing(file))
    if is_flat and not files:
        raise NotFoundError(f"No thread found with id '{thread_id:.64}'.")
    inside = b"" if layout.MESSAGES_FILE in files else store.threads.messages_inside(thread_id)
    return _Opened(None if is_flat else home, files, inside)


def _uploads(writer: ZipWriter, store: Store, thread_id: ThreadId, opened: _Opened) -> Iterator[bytes]:
    """What the messages name and is still there, with its description, each once."""
    seen: set[str] = set()
    with OpenedFolder.at(store.layout.files) as home:
        for raw in _lines(opened):
            message = form.from_json(thread_id, MessageId("unnamed"), raw, 0)
            for file_id in uploads_named(message):
                if file_id in seen or not store.files.exists(file_id):
                    continue
                seen.add(file_id)
                for name in (file_id, f"{file_id}.json"):
                    yield from _file(writer, home, name, f"files/{name}")


def _lines(opened: _Opened) -> Iterator[JsonObject]:
    messages = opened.files.get(layout.MESSAGES_FILE)
    segments = (
        (segment for line in opened.messages_inside.splitlines() for segment in jsonl.split(0, line))
        if messages is None
        else jsonl.segments(messages.fd)
    )
    return (segment.value for segment in segments if segment.value is not None)
