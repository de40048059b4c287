"""Downloads of models: begun, grown, published, given up. What is said here of a download is durable."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from jan.errors import (
    ConflictError,
    FailedPreconditionError,
    InvalidArgumentError,
    JanError,
    NotFoundError,
)
from jan.ids import PullId
from jan.telemetry import get_logger
from storage_service.store import atomic, copies, jsonfile, layout
from storage_service.store.clock import Clock, Stopwatch
from storage_service.store.layout import Layout
from storage_service.store.pulls import publish
from storage_service.store.pulls.cache import BlobCache
from storage_service.store.pulls.claims import Claims, Speed
from storage_service.store.pulls.names import check_files
from storage_service.store.pulls.part import Part
from storage_service.store.pulls.record import Pull, PullFile, PullState, from_json, to_json
from storage_service.store.pulls.room import Room, still_to_come, taken_by
from storage_service.store.records import Model

logger = get_logger(__name__)

MAX_PIECE_BYTES = 4 * 1024 * 1024
# How many that have ended are remembered, for those who still ask how they ended. By number and not by age: a clock
# that jumps would make them old.
KEPT_ENDED = 100

_FILES = "files"
_UNFINISHED = (PullState.ACTIVE, PullState.ERROR)


@dataclass(slots=True)
class _Living:
    """What is known of an unfinished download in memory: its growing files, and its speed."""

    speed: Speed
    parts: Mapping[str, Part]
    checking: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file, and where they belong; with offset 0 also what its server says of the file."""

    name: str
    offset: int
    data: bytes
    validator: str = ""
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class PullView:
    """A download as others see it. received: bytes by file. working: somebody has it."""

    pull: Pull
    received: dict[str, int]
    working: bool
    checking: bool
    bytes_per_second: int


class Pulls:
    """The downloads of one janroot. Calls for one download must not overlap.

    `begin` overlaps with no other one, nor with calls for the download that it goes on with or replaces (`unfinished`).
    """

    def __init__(
        self,
        where: Layout,
        clock: Clock,
        stopwatch: Stopwatch,
        cache: BlobCache,
        models: Callable[[], Iterable[Model]],
    ) -> None:
        """models: those that are here."""
        self._models = models
        self._layout = where
        self._clock = clock
        self._stopwatch = stopwatch
        self._cache = cache
        self._room = Room(where.pulls, cache)
        self._claims = Claims(stopwatch)
        self._living: dict[PullId, _Living] = {}
        self._pulls = _read_all(where)
        for pull in self._pulls.values():
            if pull.state in _UNFINISHED:
                self._revive(pull)

    def begin(self, wanted: Pull) -> PullView:
        """Begin a download, or go on with the unfinished one of the same files. Durable on return.

        Raises InvalidArgumentError, FailedPreconditionError: not what a model is made of. ConflictError: the model is
        here, or is downloaded from elsewhere. StorageFullError: there is no room. Nothing is left behind then.
        """
        check_files(wanted.files, need_weights=wanted.model_json is not None)
        folder = self._layout.model(wanted.model_id)
        described = (folder / layout.MODEL_FILE).exists()
        unfinished = self.unfinished(wanted)
        if unfinished is not None and unfinished.is_same_as(wanted):
            return self._go_on(unfinished)
        if wanted.model_json is None and not described:
            raise NotFoundError(f"The model '{wanted.model_id}' has no model.json.", code="model_not_found")
        publish.check_place(self._layout, wanted.model_id, described=wanted.model_json is None)
        released = taken_by(self._staged(unfinished.id)) if unfinished is not None else 0
        self._room.check(wanted, {}, promised=self._promised(), released=released)
        if unfinished is not None:
            self._end(unfinished, PullState.CANCELLED)
        pull = replace(wanted, id=PullId.new(), created_ms=self._clock())
        atomic.make_dir(self._staged(pull.id))
        try:
            self._write(pull)
        except BaseException:
            atomic.remove_tree(self._layout.pull(pull.id))
            raise
        self._revive(pull)
        self._forget_old()
        return self.get(pull.id)

    def get(self, pull_id: PullId) -> PullView:
        """Look at a download. Raises NotFoundError."""
        pull = self._pulls.get(pull_id)
        if pull is None:
            raise NotFoundError(f"No download found with id '{pull_id}'.", code="pull_not_found")
        return self._view(pull)

    def all(self) -> list[PullView]:
        """Every download that is under way, and those that ended lately, the oldest first."""
        return [self._view(pull) for pull in sorted(self._pulls.values(), key=_by_age)]

    def claim(self, pull_id: PullId, holder: str) -> PullView:
        """Take a download, or go on having it. Raises NotFoundError, FailedPreconditionError, ConflictError."""
        self._working(pull_id, holder)
        return self.get(pull_id)

    def link(self, pull_id: PullId, holder: str, name: str) -> bool:
        """Give a file of the cache a second name instead of fetching it; False: it is not there. Durable.

        Raises as `claim`.
        """
        pull, file = self._file(pull_id, holder, name)
        if file.whole:
            return True
        source = self._cache.find(file.sha256, file.size_bytes)
        if source is None or not self._cache.holds(source, file.sha256):
            return False
        target = self._staged(pull_id) / name
        self._living[pull_id].parts[name].drop()
        copies.link_or_point(source, target)
        self._write(pull.with_file(replace(file, size_bytes=source.stat().st_size, whole=True)))
        return True

    def write(self, pull_id: PullId, holder: str, piece: Piece) -> int:
        """Add bytes to a file; answers how many are here. Durable with what follows, or with `finish_file`.

        Raises as `claim`. InvalidArgumentError: more than it may have. ConflictError, code `pull_offset`: it does not
        end there. StorageFullError.
        """
        pull, file = self._file(pull_id, holder, piece.name)
        if len(piece.data) > MAX_PIECE_BYTES:
            raise InvalidArgumentError(f"A piece has at most {MAX_PIECE_BYTES} bytes.")
        if file.whole:
            raise ConflictError(f"{file.name} is whole already.", code="pull_offset")
        if piece.offset == 0:
            file = self._note(pull, file, piece)
        if file.size_bytes is not None and piece.offset + len(piece.data) > file.size_bytes:
            raise InvalidArgumentError(f"{file.name} is longer than was said.", code="download_corrupt")
        self._room.check_piece(len(piece.data))
        living = self._living[pull_id]
        part = living.parts[file.name]
        part.write(piece.offset, piece.data)
        living.speed.note(len(piece.data))
        return part.size

    def finish_file(self, pull_id: PullId, holder: str, name: str) -> None:
        """Take a file as ended. Durable on return. Raises as `claim`.

        InvalidArgumentError, code `download_corrupt`: it is not what it was said to be; its bytes are dropped.
        """
        pull, file = self._file(pull_id, holder, name)
        if file.whole:
            return
        part = self._living[pull_id].parts[name]
        if file.size_bytes not in (None, part.size):
            self._corrupt(part, f"{name} has {part.size} bytes, not {file.size_bytes}.")
        if part.size == 0:
            part.write(0, b"")
        sha256 = part.finish()
        if file.sha256 not in ("", sha256):
            self._corrupt(part, f"{name} is not the file that it was said to be: its SHA-256 is another.")
        self._write(pull.with_file(replace(file, size_bytes=part.size, whole=True)))

    def publish(self, pull_id: PullId, holder: str) -> PullView:
        """Put the model in its place. Durable on return. Raises as `claim`.

        FailedPreconditionError: a file is not here, or not what a model may be made of. ConflictError: its place is
        taken.
        """
        if self.get(pull_id).pull.state == PullState.COMPLETED:
            return self.get(pull_id)  # said a second time, because our answer was lost
        pull = self._working(pull_id, holder)
        staged = self._staged(pull_id)
        if not all(file.whole for file in pull.files):
            raise FailedPreconditionError("Not all files of the model are here.")
        living = self._living[pull_id]
        living.checking = True
        try:
            if staged.is_dir():  # else a crash came between this and the next line
                publish.publish(self._layout, staged, pull, publish.check_contents(staged, pull), self._models)
        finally:
            living.checking = False
        self._end(pull, PullState.COMPLETED)
        return self.get(pull_id)

    def fail(self, pull_id: PullId, holder: str, error: JanError, *, discard: bool) -> PullView:
        """Give a download up, and keep why; `discard`: and nothing of what was fetched. Raises as `claim`."""
        pull = self._working(pull_id, holder)
        if discard:
            self._discard(pull_id)
            pull = replace(pull, files=tuple(replace(file, whole=False) for file in pull.files))
            atomic.make_dir(self._staged(pull_id))
            self._revive(pull)
        self._claims.end(pull_id)
        self._write(replace(pull, state=PullState.ERROR, error=error))
        return self.get(pull_id)

    def cancel(self, pull_id: PullId) -> PullView:
        """End a download and remove what was fetched. One that has ended already is forgotten; its model stays."""
        view = self.get(pull_id)
        if view.pull.state in _UNFINISHED:
            self._end(view.pull, PullState.CANCELLED)
            return self.get(pull_id)
        self._forget(pull_id)
        return view

    def _note(self, pull: Pull, file: PullFile, piece: Piece) -> PullFile:
        """The file with what its server says of it now; a size that came with a hash is not changed by a server."""
        size = file.size_bytes if file.sha256 and file.size_bytes is not None else piece.size_bytes
        told = replace(file, validator=piece.validator, size_bytes=size)
        if told != file:
            self._write(pull.with_file(told))
        return told

    def unfinished(self, wanted: Pull) -> Pull | None:
        """The download that this one would repeat, or replace. Raises ConflictError: another one is under way."""
        for pull in list(self._pulls.values()):  # others may be forgotten meanwhile
            if pull.model_id != wanted.model_id or pull.state not in _UNFINISHED:
                continue
            if pull.is_same_as(wanted) or pull.state == PullState.ERROR:
                return pull
            raise ConflictError(
                f"The model '{pull.model_id}' is being downloaded from elsewhere ({pull.id}); cancel that first.",
                code="pull_running",
                param="id",
            )
        return None

    def _go_on(self, pull: Pull) -> PullView:
        """Have a download go on that had been given up. Raises StorageFullError: there is no room for the rest."""
        if pull.state == PullState.ERROR:
            self._room.check(pull, self._view(pull).received, promised=self._promised())
            self._write(replace(pull, state=PullState.ACTIVE, error=None))
        return self.get(pull.id)

    def _promised(self) -> int:
        """What the downloads under way will still take."""
        active = [view for view in self.all() if view.pull.state == PullState.ACTIVE]
        return sum(still_to_come(view.pull.files, view.received) for view in active)

    def _working(self, pull_id: PullId, holder: str) -> Pull:
        """The download, claimed for the holder."""
        pull = self.get(pull_id).pull
        if pull.state != PullState.ACTIVE:
            raise FailedPreconditionError(f"The download {pull_id} has ended: {pull.state.value}.", code="pull_ended")
        self._claims.take(pull_id, holder)
        return pull

    def _file(self, pull_id: PullId, holder: str, name: str) -> tuple[Pull, PullFile]:
        pull = self._working(pull_id, holder)
        file = pull.file(name)
        if file is None:
            raise NotFoundError(f"The download {pull_id} has no file of that name.")
        return pull, file

    def _revive(self, pull: Pull) -> None:
        """Go on with the files that are here."""
        staged = self._staged(pull.id)
        parts = {file.name: Part(staged / file.name) for file in pull.files if not file.whole}
        self._living[pull.id] = _Living(Speed(self._stopwatch), parts)

    def _staged(self, pull_id: PullId) -> Path:
        return self._layout.pull(pull_id) / _FILES

    def _corrupt(self, part: Part, message: str) -> None:
        part.drop()
        raise InvalidArgumentError(message, code="download_corrupt")

    def _end(self, pull: Pull, state: PullState) -> None:
        """Write down that it has ended, then remove what is left of it: a crash in between leaves that to the start."""
        self._write(pull.ended(state))
        self._claims.end(pull.id)
        self._discard(pull.id)

    def _discard(self, pull_id: PullId) -> None:
        self._living.pop(pull_id, None)
        atomic.remove_tree(self._staged(pull_id))

    def _write(self, pull: Pull) -> None:
        jsonfile.write(self._layout.pull(pull.id) / layout.PULL_FILE, to_json(pull))
        self._pulls[pull.id] = pull

    def _view(self, pull: Pull) -> PullView:
        living = self._living.get(pull.id)
        received = {file.name: _received(pull, file, living) for file in pull.files}
        working = self._claims.holder(pull.id) is not None
        speed = living.speed.bytes_per_second() if living and working else 0
        return PullView(pull, received, working, bool(living and living.checking), speed)

    def _forget_old(self) -> None:
        """Remove the oldest records of downloads that have ended long ago."""
        ended = [pull for pull in self._pulls.values() if pull.state not in _UNFINISHED]
        for pull in sorted(ended, key=_by_age)[:-KEPT_ENDED]:
            self._forget(pull.id)

    def _forget(self, pull_id: PullId) -> None:
        atomic.remove_tree(self._layout.pull(pull_id))
        del self._pulls[pull_id]


def _received(pull: Pull, file: PullFile, living: _Living | None) -> int:
    if file.whole or pull.state == PullState.COMPLETED:
        return (file.size_bytes or 0) if pull.state != PullState.CANCELLED else 0
    part = living.parts.get(file.name) if living else None
    return part.size if part else 0


def _by_age(pull: Pull) -> tuple[int, str]:
    return (pull.created_ms, pull.id)


def _read_all(where: Layout) -> dict[PullId, Pull]:
    """Every download that was written down; what a crash left of others is removed."""
    found: dict[PullId, Pull] = {}
    for folder in where.pulls.iterdir():
        raw = jsonfile.read(folder / layout.PULL_FILE)
        pull = _parsed(folder.name, raw) if raw is not None else None
        if pull is None:
            logger.warning("the remains of a download are removed", folder=folder.name)
            atomic.remove(folder)
            continue
        if pull.state not in _UNFINISHED:
            atomic.remove_tree(folder / _FILES)
        found[pull.id] = pull
    return found


def _parsed(name: str, raw: dict[str, object]) -> Pull | None:
    try:
        return from_json(PullId.parse(name), raw)
    except InvalidArgumentError:
        return None
