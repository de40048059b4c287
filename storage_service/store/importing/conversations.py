"""ChatGPT's and Claude's exports: their conversations, one after the other, as threads."""

from collections.abc import Collection, Iterable

from jan.errors import InvalidArgumentError
from storage_service.store.archive import Entry
from storage_service.store.importing.threads import ThreadImport
from storage_service.store.importing.workshop import Steps, Workshop
from storage_service.store.imports.archive_files import ArchiveFiles
from storage_service.store.imports.conversations import Conversation
from storage_service.store.imports.draft import Source
from storage_service.store.imports.exports import read as conversations_in

# Each is a file of its own in the quarantine.
MOST_UNREADABLE = 1_000


def all_of(shop: Workshop, threads: ThreadImport, files: Iterable[Entry], others: Collection[Entry]) -> Steps:
    """The conversations of an archive; `others` are its other files, which conversations may name."""
    archive = ArchiveFiles(entry.name for entry in others)
    used: set[str] = set()
    for file in files:
        source = Source(archive, file.changed_seconds * 1000)
        yield from _read(shop, threads, shop.pieces(file), source, name=file.name, used=used)
    _expect_some(shop)
    for entry in others:
        if entry.name not in used:
            shop.report.refused(entry.name, "No conversation names it.")


def of_json(shop: Workshop, threads: ThreadImport, pieces: Iterable[bytes], name: str) -> Steps:
    """The conversations of a file without an archive around it."""
    yield from _read(shop, threads, pieces, Source(ArchiveFiles(), 0), name=name, used=set())
    _expect_some(shop)


def _read(
    shop: Workshop, threads: ThreadImport, pieces: Iterable[bytes], source: Source, *, name: str, used: set[str]
) -> Steps:
    unreadable = 0
    for place, found in enumerate(conversations_in(pieces, source)):
        if isinstance(found, Conversation):
            shop.report.kind = found.product.value
            used.update(file.entry for file in found.files)
            yield from threads.conversation(found)
            continue
        unreadable += 1
        if unreadable > MOST_UNREADABLE:
            raise _none("More of it is no conversation than can be set aside")
        if found.data is None:
            shop.report.refused(f"{name}#{place}", found.reason)
        else:
            yield from shop.set_aside(f"{name}.{place}.json", found.data, found.reason)
        yield 0


def _expect_some(shop: Workshop) -> None:
    """Raises InvalidArgumentError: there is no conversation in it."""
    if not shop.report.kind:
        raise _none("There is no conversation in it that could be read")


def _none(reason: str) -> InvalidArgumentError:
    message = f"{reason}: it is no zip, the only kind of archive that is read, nor an export of ChatGPT or Claude."
    return InvalidArgumentError(message, code="unknown_archive")
