"""The downloads that storage keeps, as the gateway sees them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from grpc import aio

from jan.errors import JanError
from jan.rpc import call
from jan.storage.v1 import pulls_pb2, pulls_pb2_grpc

# Hashing a file of a hundred gigabytes, from a slow disk.
_HASH_SECONDS = 3600.0
_WRITE_SECONDS = 60.0
Pull = pulls_pb2.Pull


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file; with offset 0 also what its server says of it."""

    name: str
    offset: int
    data: bytes
    validator: str = ""
    size_bytes: int | None = None


class PullClient:
    """PullService over a channel, under a name of this process. Every method may raise any JanError of storage's."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = pulls_pb2_grpc.PullServiceStub(channel)
        self.holder = secrets.token_hex(8)

    async def begin(self, request: pulls_pb2.BeginPullRequest) -> Pull:
        """Begin a download, or go on with the unfinished one of the same files."""
        return (await call(self._stub.BeginPull, request, deadline_seconds=_WRITE_SECONDS)).pull

    async def get(self, pull_id: str) -> Pull:
        """Read one."""
        return (await call(self._stub.GetPull, pulls_pb2.GetPullRequest(pull_id=pull_id))).pull

    async def all(self) -> list[Pull]:
        """All that are under way, and those that ended lately."""
        return list((await call(self._stub.ListPulls, pulls_pb2.ListPullsRequest())).pulls)

    async def claim(self, pull_id: str) -> Pull:
        """Take one, or go on having it."""
        request = pulls_pb2.ClaimPullRequest(pull_id=pull_id, holder=self.holder)
        return (await call(self._stub.ClaimPull, request)).pull

    async def link(self, pull_id: str, name: str) -> bool:
        """Have a file taken from the cache; False: it is not there."""
        request = pulls_pb2.LinkPullFileRequest(pull_id=pull_id, holder=self.holder, name=name)
        return (await call(self._stub.LinkPullFile, request, deadline_seconds=_HASH_SECONDS)).linked

    async def write(self, pull_id: str, piece: Piece) -> int:
        """Add bytes to a file; answers how many are here."""
        request = pulls_pb2.WritePullFileRequest(
            pull_id=pull_id,
            holder=self.holder,
            name=piece.name,
            offset=piece.offset,
            data=piece.data,
            validator=piece.validator,
            size_bytes=piece.size_bytes,
        )
        return (await call(self._stub.WritePullFile, request, deadline_seconds=_WRITE_SECONDS)).received_bytes

    async def finish_file(self, pull_id: str, name: str) -> None:
        """Say that a file has ended; it is checked."""
        request = pulls_pb2.FinishPullFileRequest(pull_id=pull_id, holder=self.holder, name=name)
        await call(self._stub.FinishPullFile, request, deadline_seconds=_HASH_SECONDS)

    async def publish(self, pull_id: str) -> Pull:
        """Put the model in its place."""
        request = pulls_pb2.PublishPullRequest(pull_id=pull_id, holder=self.holder)
        return (await call(self._stub.PublishPull, request, deadline_seconds=_HASH_SECONDS)).pull

    async def fail(self, pull_id: str, error: JanError, *, discard: bool) -> Pull:
        """Give one up, and say why."""
        request = pulls_pb2.FailPullRequest(
            pull_id=pull_id, holder=self.holder, error=error.to_detail(), discard=discard
        )
        return (await call(self._stub.FailPull, request, deadline_seconds=_WRITE_SECONDS)).pull

    async def cancel(self, pull_id: str) -> Pull:
        """End one, whoever works at it; nothing of it is left."""
        request = pulls_pb2.CancelPullRequest(pull_id=pull_id)
        return (await call(self._stub.CancelPull, request, deadline_seconds=_WRITE_SECONDS)).pull
