"""One file on its way from a server to storage: from where it stopped, again after a cut, given up after many."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, replace

from gateway.fetching.fetch import Ask, Fetcher, FilePart
from gateway.pulls.client import Piece, PullClient
from gateway.pulls.hub import Hub
from gateway.pulls.plan import LIMITS
from jan.backoff import Backoff
from jan.errors import ConflictError, DeadlineExceededError, InvalidArgumentError, JanError, UnavailableError
from jan.storage.v1 import pulls_pb2
from jan.telemetry import get_logger

logger = get_logger(__name__)

# A file that was wrong once may have been changed while it came.
MAX_CORRUPT = 2
WRITE_BYTES = 1024 * 1024

_RANGE = "download_range"
_PASSING = frozenset({"download_cut_short", "download_too_slow", "download_unreachable", "download_busy", _RANGE})
_CORRUPT = "download_corrupt"


@dataclass(frozen=True, slots=True)
class Patience:
    """How often in a row a file is asked for in vain before it is given up, and how long between: a minute in all.

    stall_seconds: how long 64 KiB of it may take. max_restarts: how often what had come is dropped and asked for
    again, although it came further each time: by a server that knows no parts of files, or always has another one.
    """

    max_failures: int = 10
    first_seconds: float = 0.25
    most_seconds: float = 30.0
    stall_seconds: float = 30.0
    max_restarts: int = 30

    def backoff(self) -> Backoff:
        """The pauses between."""
        return Backoff(first_seconds=self.first_seconds, most_seconds=self.most_seconds)


class Transfer:
    """Fetches one file of a download."""

    def __init__(self, pulls: PullClient, fetcher: Fetcher, hub: Hub, pull_id: str, file: pulls_pb2.PullFile) -> None:
        self._pulls = pulls
        self._fetcher = fetcher
        self._hub = hub
        self._pull_id = pull_id
        self._file = file
        self._received = file.received_bytes
        self._limits = LIMITS
        self._restarts = 0
        self._anew = False
        """Whether to begin at 0, because what is here and what the server has now do not belong together."""

    async def run(self, patience: Patience) -> None:
        """Fetch it until it is whole. Raises JanError: why that cannot be, or is over for us."""
        backoff = patience.backoff()
        self._limits = replace(LIMITS, piece_seconds=patience.stall_seconds)
        if self._file.whole or (self._file.sha256 and await self._link(backoff)):
            return
        failures = corrupt = most = 0
        while True:
            try:
                await self._attempt()
                return
            except InvalidArgumentError as error:
                corrupt += error.code == _CORRUPT
                # A server that does not know parts gets no further by beginning anew.
                failures = 1 if self._received > most else failures + 1
                if (
                    error.code not in _PASSING | {_CORRUPT}
                    or failures >= patience.max_failures
                    or corrupt >= MAX_CORRUPT
                    or self._restarts >= patience.max_restarts
                ):
                    raise
                self._anew = error.code == _RANGE
                reason: JanError = error
            except (UnavailableError, DeadlineExceededError) as error:
                reason = error  # storage restarts: no reason to give up
            except ConflictError as error:
                if error.code != "pull_offset":
                    raise
                reason = error
            logger.info("download goes on", pull=self._pull_id, file=self._file.name, reason=reason.message)
            if self._received > most:
                backoff.reset()
            most = max(most, self._received)
            await backoff.wait()
            await self._look_again(backoff)

    async def _link(self, backoff: Backoff) -> bool:
        while True:
            try:
                return await self._pulls.link(self._pull_id, self._file.name)
            except (UnavailableError, DeadlineExceededError):
                await backoff.wait()

    async def _attempt(self) -> None:
        """Fetch what is missing, in one connection."""
        size = self._file.size_bytes if self._file.HasField("size_bytes") else None
        if size is None or self._received < size or size == 0:
            # What nobody can tell from another state of the file is fetched from the beginning.
            provable = bool(self._file.validator or self._file.sha256) and not self._anew
            ask = Ask(
                self._file.url,
                offset=self._received if provable else 0,
                validator=self._file.validator if provable else "",
                token=self._hub.token_for(self._file.url),
            )
            async with self._fetcher.open(ask, self._limits) as part:
                await self._take(ask, part, size)
        await self._pulls.finish_file(self._pull_id, self._file.name)

    async def _take(self, ask: Ask, part: FilePart, size: int | None) -> None:
        """Hand pieces on to storage as they come."""
        if part.offset not in (0, ask.offset):
            raise _wrong("range", "The other server sends another part of the file than was asked for.")
        if self._file.sha256 and None not in (size, part.total_bytes) and size != part.total_bytes:
            raise _wrong("corrupt", f"{self._file.name} has {part.total_bytes} bytes there, not {size}.")
        offset, held = part.offset, bytearray()
        if offset and (part.total_bytes != size or part.validator not in ("", self._file.validator)):
            raise _wrong("range", "The file is another one than it was before.")
        self._restarts += offset == 0 and self._received > 0
        async with aclosing(part.pieces):
            async for piece in part.pieces:
                held += piece
                if len(held) >= WRITE_BYTES:
                    offset = await self._write(offset, bytes(held), part)
                    held.clear()
        if held or offset == 0:
            await self._write(offset, bytes(held), part)

    async def _write(self, offset: int, data: bytes, part: FilePart) -> int:
        piece = Piece(self._file.name, offset, data, part.validator, part.total_bytes)
        self._received = await self._pulls.write(self._pull_id, piece)
        return offset + len(data)

    async def _look_again(self, backoff: Backoff) -> None:
        """What storage has of it now; it may have lost what was not yet durable."""
        while True:
            try:
                pull = await self._pulls.get(self._pull_id)
                break
            except (UnavailableError, DeadlineExceededError):
                await backoff.wait()
        self._file = next((file for file in pull.files if file.name == self._file.name), self._file)
        self._received = self._file.received_bytes


def _wrong(code: str, message: str) -> InvalidArgumentError:
    return InvalidArgumentError(message, code=f"download_{code}")
