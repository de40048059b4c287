"""An import from beginning to end: read and built in `staging/`, made durable, then published by renames.

Nothing is seen of it before it is published, and a failure before leaves nothing. Publishing moves whole things only,
those first that threads refer to, so that a crash in the middle leaves whole threads, and the same import once more
finds what is here and adds the rest. A dry run does all of it but the publishing.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from jan.errors import ConflictError, InvalidArgumentError
from jan.ids import ThreadId
from storage_service.store import atomic, layout
from storage_service.store.archive import Archive, ArchiveLimits, check_room
from storage_service.store.archive_directory import MEBIBYTE
from storage_service.store.bulk import Bulk
from storage_service.store.clock import Clock
from storage_service.store.files import OpenFile
from storage_service.store.importing import contents, conversations, others
from storage_service.store.importing.assistants import AssistantImport
from storage_service.store.importing.batches import RESULTS, BatchImport
from storage_service.store.importing.completions import CompletionImport
from storage_service.store.importing.contents import Contents, Root
from storage_service.store.importing.models import ModelImport
from storage_service.store.importing.references import Names
from storage_service.store.importing.report import Report
from storage_service.store.importing.threads import ThreadImport
from storage_service.store.importing.uploads import UploadImport
from storage_service.store.importing.vector_stores import VectorStoreImport
from storage_service.store.importing.workshop import Steps, Workshop
from storage_service.store.store import Store

GIBIBYTE = 1024 * MEBIBYTE
# Weights may be among it.
MAX_UPLOAD_BYTES = 16 * GIBIBYTE
# Their names are held in memory, about a kilobyte for each entry.
LIMITS = ArchiveLimits(
    entries=250_000, entry_bytes=MAX_UPLOAD_BYTES, total_bytes=2 * MAX_UPLOAD_BYTES, directory_bytes=64 * MEBIBYTE
)
# A file that is no archive is read in one pass; its conversations are far smaller.
MAX_JSON_BYTES = 2 * GIBIBYTE
_PIECE_BYTES = 256 * 1024
_PUBLISHED_AT_ONCE = 64

UNDERSTOOD = (
    "a zip of one thread as GET /v1/threads/{id}/export makes it, a zip of a Jan folder of any version, or the "
    "export of ChatGPT or Claude, as a zip or its conversations.json"
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import is. stage: `reading` (done and total in bytes) or `publishing` (in things)."""

    stage: str
    done: int
    total: int


class Importer:
    """One import of one file. Drive `steps` to its end, with `discard` in any case; one import at a time."""

    def __init__(self, store: Store, clock: Clock, folder: Path, source: Path, *, dry_run: bool) -> None:
        """`folder`: a name in `staging/` that is free. `source`: what was uploaded."""
        self._store = store
        self._clock = clock
        self._folder = folder
        self._source = source
        self.report = Report(dry_run)
        self.is_publishing = False
        """Whether some of it may be seen already."""

    def steps(self) -> Generator[Progress, None, None]:
        """Do it, a small piece of work at a time. Once the stage is `publishing`, it should be driven to its end.

        Raises InvalidArgumentError: it is refused, nothing is left. StorageFullError: the same. ConflictError:
        somebody took a name while it was published; what was published is whole, and the rest comes with a repetition.
        """
        with atomic.telling_no_room(), ExitStack() as stack:
            is_zip = _starts_as_zip(self._source)
            archive = stack.enter_context(Archive(self._source, LIMITS)) if is_zip else None
            found = contents.understand(archive.files()) if archive else None
            if archive is not None and found is None:
                raise InvalidArgumentError(
                    f"This cannot be imported. Understood are: {UNDERSTOOD}.", code="unknown_archive"
                )
            size = self._source.stat().st_size
            total = sum(entry.size_bytes for entry in archive.files()) if archive else size
            check_room(self._folder.parent, total)
            self._folder.mkdir()
            bulk = stack.enter_context(Bulk(self._folder))
            shop = Workshop(self._folder, archive, bulk, self.report)
            build = _Build(self._store, shop, self._clock())
            done = 0
            yield Progress("reading", 0, total)
            for length in build.contents(found) if found else build.json(self._source):
                done = min(done + length, total)
                yield Progress("reading", done, total)
            shop.quarantine_torn()
            if shop.quarantine_name:
                self.report.quarantine = f".server/quarantine/{shop.quarantine_name}"
            if not self.report.dry_run:
                shop.sync()
                self.is_publishing = True
                yield from build.publish()

    def discard(self) -> None:
        """Leave nothing of it behind but what was published."""
        atomic.remove_tree(self._folder)


class _Build:
    """What an import is made of."""

    def __init__(self, store: Store, shop: Workshop, now_ms: int) -> None:
        self._store = store
        self._now_ms = now_ms
        self._shop = shop
        self._threads = ThreadImport(shop, store.threads, store.layout, now_ms)
        self._assistants = AssistantImport(shop, store.layout, store.trash)
        self._models = ModelImport(shop, store.layout)
        self._uploads = UploadImport(shop, store.layout)
        self._vector_stores = VectorStoreImport(shop, store.layout)
        self._completions = CompletionImport(shop, store.layout)
        self._batches = BatchImport(shop, store.layout, self._now_ms)

    def contents(self, found: Contents) -> Steps:
        """Build everything in an archive."""
        if found.conversations:
            taken = {entry.name for entry in found.conversations}
            rest = [entry for entry in found.others if entry.name not in taken]
            yield from conversations.all_of(self._shop, self._threads, found.conversations, rest)
            return
        self._shop.report.kind = found.kind
        for root in found.roots:
            yield from self._root(root)

    def json(self, source: Path) -> Steps:
        """Build the conversations in a file."""
        if source.stat().st_size > MAX_JSON_BYTES:
            raise InvalidArgumentError(
                f"A JSON file may have at most {MAX_JSON_BYTES} bytes.", code="archive_too_large"
            )
        with closing(OpenFile()) as file:
            file.open(source)
            pieces = (file.read(offset, _PIECE_BYTES) for offset in range(0, file.size_bytes, _PIECE_BYTES))
            yield from conversations.of_json(self._shop, self._threads, pieces, "conversations.json")

    def _root(self, root: Root) -> Steps:
        files: dict[str, str] = {}
        stores: dict[str, str] = {}
        assistants: dict[str, str] = {}
        yield from self._uploads.all(root.uploads, files)
        for name, folder in root.vector_stores.items():
            yield from self._vector_stores.folder(name, folder, files, stores)
        for name, folder in root.assistants.items():
            yield from self._assistants.folder(name, folder, stores, assistants)
        for place, folder in root.models.items():
            yield from self._models.folder(place, folder)
        kept = Names("", "", assistants, files, stores)
        # Those that lie where Jan looks for them keep their names; a copy in a folder of somebody's own comes after.
        for folder in sorted(root.threads.values(), key=lambda folder: folder.path.count("/")):
            yield from self._threads.folder(folder, kept)
        for name, entry in root.flat_threads:
            yield from self._threads.flat(name, entry, kept)
        for name, entry in root.completions.items():
            yield from self._completions.file(name, entry)
        yield from self._batches.all(root.batches, files)
        yield from others.set_aside(self._shop, root)

    def publish(self) -> Iterator[Progress]:
        """Move everything to its place, durably."""
        where = self._store.layout
        moves = [
            *self._quarantine(where),
            *((home / name, where.files / name) for home, name in self._files()),
            *((home, where.root / place) for place, home in self._models.planned.items()),
            *((home, where.vector_stores / name) for name, home in self._vector_stores.planned.items()),
            *((home, where.assistants / name) for name, home in self._assistants.planned.items()),
            *((home, where.completions / home.name) for home in self._completions.planned.values()),
            *((home, where.batches / home.name) for home in self._batch_files()),
        ]
        total = len(moves) + len(self._threads.planned)
        homes: set[Path] = set()
        # The description of an upload whose bytes never came may be there, from an import that a crash broke off.
        replaceable = {where.files / f"{file_id}.json" for file_id in self._uploads.planned}
        replaceable |= {where.batch_results(batch_id) for batch_id in self._batches.planned}
        for done, (source, target) in enumerate(moves):
            yield Progress("publishing", done, total)
            atomic.make_dir(target.parent)
            if os.path.lexists(target) and target not in replaceable:
                raise _taken(target.name)
            atomic.move(source, target)
            homes.add(target.parent)
        for home in homes:
            atomic.sync_dir(home)
        for store_id in self._vector_stores.planned:
            self._store.vector_store_files.on_change(store_id)
        self._store.batches.adopt(self._batches.planned)
        published: list[ThreadId] = []
        for done, (thread_id, source) in enumerate(self._threads.planned.items(), len(moves)):
            yield Progress("publishing", done, total)
            if not self._store.threads.adopt(source, thread_id):
                raise _taken(thread_id)
            published.append(thread_id)
            if len(published) == _PUBLISHED_AT_ONCE:
                self._show(published)
                published = []
        self._show(published)
        yield Progress("publishing", total, total)

    def _show(self, published: list[ThreadId]) -> None:
        """Make threads durable in their places, and let lists and search know of them."""
        if published:
            atomic.sync_dir(self._store.threads.home)
            self._store.census.visit_each(published)

    def _files(self) -> Iterator[tuple[Path, str]]:
        """The two files of every upload: what it is, then its bytes, which make it exist."""
        for file_id, home in self._uploads.planned.items():
            yield home, f"{file_id}.json"
            yield home, file_id

    def _batch_files(self) -> Iterator[Path]:
        """The files of every batch: its results, then what makes it exist."""
        for batch_id, home in self._batches.planned.items():
            yield from (path for ending in (RESULTS, ".json") if (path := home / f"{batch_id}{ending}").exists())

    def _quarantine(self, where: layout.Layout) -> Iterator[tuple[Path, Path]]:
        name = self._shop.quarantine_name
        if name and not os.path.lexists(where.quarantine / name):
            yield self._shop.quarantined, where.quarantine / name


def _starts_as_zip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"PK"


def _taken(name: str) -> ConflictError:
    return ConflictError(f"Somebody took the name '{name}' meanwhile; import the file again for the rest.")
