"""A stream's bytes on their way into a draft; a refusal is told at the end of the stream.

The stream is heard out all the same: an answer in the middle of a client's write is lost (grpc reports an internal
error instead), and most HTTP clients do not read one before they have sent everything.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from jan.errors import JanError
from storage_service.access import Access


class Draft(Protocol):
    """Something that grows piece by piece and can be thrown away, more than once without harm to anybody."""

    def write(self, data: bytes) -> object:
        """Add bytes. Raises JanError: it cannot be, and the draft is to be discarded."""

    def discard(self) -> None:
        """Leave nothing behind."""


class Intake:
    """One stream's. After a refusal nothing is written any more, and its draft is gone."""

    def __init__(self, access: Access, draft: Draft) -> None:
        self._access = access
        self._draft = draft
        self._refusal: JanError | None = None

    async def write(self, data: bytes) -> None:
        """Add a piece, unless one was refused."""
        if self._refusal is not None:
            return
        try:
            await self._access.run(lambda: self._draft.write(data))
        except JanError as error:
            self._refusal = error
            await self._access.run(self._draft.discard)

    def check(self) -> None:
        """At the end of the stream. Raises JanError: why a piece was refused."""
        if self._refusal is not None:
            raise self._refusal


async def hear_out(stream: AsyncIterator[object]) -> None:
    """Let a stream come to its end that is refused from the beginning."""
    async for _ in stream:
        pass
