"""Going through a whole janroot while it is in use."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field

from storage_service.store import layout
from storage_service.store.exports.alone import Alone
from storage_service.store.exports.folders import Entry, OpenedFile, OpenedFolder
from storage_service.store.exports.rules import SERVER, Reason, Rules, Verdict

_THREADS = "threads"


@dataclass(frozen=True, slots=True)
class Found:
    """Something that is taken: a folder, open, or a file in an open folder, itself open if it had to be."""

    place: str
    entry: Entry
    folder: OpenedFolder
    is_blanked: bool = False
    opened: OpenedFile | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that is not taken, and why."""

    place: str
    reason: Reason
    size_bytes: int


@dataclass(slots=True)
class Walk:
    """One pass over a janroot. With `alone` a thread's files are opened together, while nobody writes to it.

    Threads that come from elsewhere meanwhile, out of the trash or from a flat file into a folder, are looked for at
    the end, so that whatever exists all the time is found.
    """

    root: OpenedFolder
    rules: Rules
    alone: Alone | None = None
    _threads: set[str] = field(default_factory=set)

    def everything(self) -> Iterator[Found | LeftOut]:
        """All that is there, each folder before what is in it."""
        # The trash comes last: what is deleted meanwhile is found there.
        entries = sorted(self.root.entries(), key=lambda entry: entry.name == SERVER)
        yield from self._inside(self.root, "", {}, entries)
        while missed := self._missed():
            with self.root.inner(_THREADS) as threads:
                yield from self._inside(threads, _THREADS, {}, missed)

    def _missed(self) -> list[Entry]:
        if self.alone is None:
            return []
        try:
            with self.root.inner(_THREADS) as threads:
                return [entry for entry in threads.entries() if entry.name not in self._threads]
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return []  # closed to us: that was told when it was come by

    def _inside(
        self, folder: OpenedFolder, place: str, live: Mapping[str, OpenedFile], entries: list[Entry]
    ) -> Iterator[Found | LeftOut]:
        for entry in entries:
            path = f"{place}/{entry.name}" if place else entry.name
            if place == _THREADS:
                self._threads.add(entry.name)
            verdict = self.rules.judge(path, entry)
            if isinstance(verdict, Reason):
                yield LeftOut(path, verdict, entry.status.st_size)
            elif verdict is not Verdict.IGNORE:
                try:
                    if entry.is_folder:
                        yield from self._folder(folder, path, entry)
                    else:
                        yield from self._file(folder, path, entry, live, is_blanked=verdict is Verdict.BLANK)
                except PermissionError:
                    yield LeftOut(path, Reason.UNREADABLE, entry.status.st_size)

    def _folder(self, folder: OpenedFolder, path: str, entry: Entry) -> Iterator[Found | LeftOut]:
        with ExitStack() as stack:
            try:
                inner = stack.enter_context(folder.inner(entry.name))
            except (FileNotFoundError, NotADirectoryError):
                return  # gone, or a link by now
            live, entries = self._look(inner, path, entry, stack)
            yield Found(path, entry, inner)
            yield from self._inside(inner, path, live, entries)

    def _look(
        self, inner: OpenedFolder, path: str, entry: Entry, stack: ExitStack
    ) -> tuple[Mapping[str, OpenedFile], list[Entry]]:
        """What is in a folder; of a thread's, those files opened that are written to."""
        if self.alone is None or not path.startswith(f"{_THREADS}/"):
            return {}, inner.entries()

        def look() -> tuple[Mapping[str, OpenedFile], list[Entry]]:
            entries = inner.entries()
            files = {}
            for name in {entry.name for entry in entries} & set(layout.LIVE_FILES):
                with suppress(PermissionError):  # told when its turn comes
                    file = inner.file(name)
                    if file is not None:
                        files[name] = stack.enter_context(closing(file))
            return files, entries

        return self.alone(entry.name, look)

    def _file(
        self, folder: OpenedFolder, path: str, entry: Entry, live: Mapping[str, OpenedFile], *, is_blanked: bool
    ) -> Iterator[Found | LeftOut]:
        if self.alone is None:
            if not folder.may_read(entry.name):
                raise PermissionError
            yield Found(path, entry, folder, is_blanked)
            return
        with self._opened(folder, path, entry, live) as opened:
            if opened is not None:
                yield Found(path, entry, folder, is_blanked, opened)

    @contextmanager
    def _opened(
        self, folder: OpenedFolder, path: str, entry: Entry, live: Mapping[str, OpenedFile]
    ) -> Iterator[OpenedFile | None]:
        if entry.name in live:
            yield live[entry.name]
            return
        file = self._open_flat(folder, entry) if path == f"{_THREADS}/{entry.name}" else folder.file(entry.name)
        try:
            yield file
        finally:
            if file is not None:
                file.close()

    def _open_flat(self, folder: OpenedFolder, entry: Entry) -> OpenedFile | None:
        assert self.alone is not None
        return self.alone(entry.name.removesuffix(".json"), lambda: folder.file(entry.name))
