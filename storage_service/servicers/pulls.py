"""PullService over the store."""

from collections.abc import Callable
from typing import Any, TypeVar

from grpc import aio

from jan.errors import JanError
from jan.ids import ModelId, PullId
from jan.storage.v1 import pulls_pb2 as pb
from jan.storage.v1.pulls_pb2_grpc import PullServiceServicer
from storage_service.access import Access
from storage_service.servicers import values
from storage_service.store.pulls.pulls import Piece, Pulls, PullView
from storage_service.store.pulls.record import Pull, PullFile, PullState

Context = aio.ServicerContext[Any, Any]
Result = TypeVar("Result")

_ALL = "pulls"
_ENDED = {
    PullState.COMPLETED: pb.PULL_STATE_COMPLETED,
    PullState.ERROR: pb.PULL_STATE_ERROR,
    PullState.CANCELLED: pb.PULL_STATE_CANCELLED,
}


class PullServicer(PullServiceServicer):
    """See pulls.proto. `access` is one of its own: hashing gigabytes must hold no conversation up."""

    def __init__(self, access: Access, pulls: Pulls) -> None:
        self._access = access
        self._pulls = pulls

    async def BeginPull(self, request: pb.BeginPullRequest, context: Context) -> pb.BeginPullResponse:
        """See pulls.proto."""
        wanted = Pull(
            id=PullId(""),
            model_id=ModelId.parse(request.model_id),
            source=request.source,
            files=tuple(map(_file_from_proto, request.files)),
            model_json=values.load_optional_object(request.model_json, "model_json"),
            created_ms=0,
        )
        view = None
        while view is None:
            view = await self._begin(wanted, self._pulls.unfinished(wanted))
        return pb.BeginPullResponse(pull=to_proto(view))

    async def _begin(self, wanted: Pull, unfinished: Pull | None) -> PullView | None:
        """Begin in turn with all who begin, and with calls for `unfinished`; None if that is another one by then."""

        def begin() -> PullView | None:
            now = self._pulls.unfinished(wanted)
            known = unfinished.id if unfinished is not None else None
            return self._pulls.begin(wanted) if (now.id if now is not None else None) == known else None

        if unfinished is None:
            return await self._access.run_alone(_ALL, begin)
        return await self._access.run_alone(unfinished.id, begin, _ALL)

    async def GetPull(self, request: pb.GetPullRequest, context: Context) -> pb.GetPullResponse:
        """See pulls.proto."""
        return pb.GetPullResponse(pull=to_proto(self._pulls.get(PullId.parse(request.pull_id))))

    async def ListPulls(self, request: pb.ListPullsRequest, context: Context) -> pb.ListPullsResponse:
        """See pulls.proto."""
        return pb.ListPullsResponse(pulls=map(to_proto, self._pulls.all()))

    async def ClaimPull(self, request: pb.ClaimPullRequest, context: Context) -> pb.ClaimPullResponse:
        """See pulls.proto. In no turn with writes: a claim must be renewed while a large file is hashed."""
        return pb.ClaimPullResponse(pull=to_proto(self._pulls.claim(PullId.parse(request.pull_id), request.holder)))

    async def LinkPullFile(self, request: pb.LinkPullFileRequest, context: Context) -> pb.LinkPullFileResponse:
        """See pulls.proto."""
        pull_id, holder, name = PullId.parse(request.pull_id), request.holder, request.name
        linked = await self._alone(pull_id, lambda: self._pulls.link(pull_id, holder, name))
        return pb.LinkPullFileResponse(linked=linked)

    async def WritePullFile(self, request: pb.WritePullFileRequest, context: Context) -> pb.WritePullFileResponse:
        """See pulls.proto."""
        pull_id = PullId.parse(request.pull_id)
        size = request.size_bytes if request.HasField("size_bytes") else None
        piece = Piece(request.name, request.offset, request.data, request.validator, size)
        received = await self._alone(pull_id, lambda: self._pulls.write(pull_id, request.holder, piece))
        return pb.WritePullFileResponse(received_bytes=received)

    async def FinishPullFile(self, request: pb.FinishPullFileRequest, context: Context) -> pb.FinishPullFileResponse:
        """See pulls.proto."""
        pull_id = PullId.parse(request.pull_id)
        await self._alone(pull_id, lambda: self._pulls.finish_file(pull_id, request.holder, request.name))
        return pb.FinishPullFileResponse()

    async def PublishPull(self, request: pb.PublishPullRequest, context: Context) -> pb.PublishPullResponse:
        """See pulls.proto."""
        pull_id = PullId.parse(request.pull_id)
        view = await self._alone(pull_id, lambda: self._pulls.publish(pull_id, request.holder))
        return pb.PublishPullResponse(pull=to_proto(view))

    async def FailPull(self, request: pb.FailPullRequest, context: Context) -> pb.FailPullResponse:
        """See pulls.proto."""
        pull_id, error = PullId.parse(request.pull_id), JanError.from_detail(request.error)
        view = await self._alone(
            pull_id, lambda: self._pulls.fail(pull_id, request.holder, error, discard=request.discard)
        )
        return pb.FailPullResponse(pull=to_proto(view))

    async def CancelPull(self, request: pb.CancelPullRequest, context: Context) -> pb.CancelPullResponse:
        """See pulls.proto."""
        pull_id = PullId.parse(request.pull_id)
        return pb.CancelPullResponse(pull=to_proto(await self._alone(pull_id, lambda: self._pulls.cancel(pull_id))))

    async def _alone(self, pull_id: PullId, work: Callable[[], Result]) -> Result:
        return await self._access.run_alone(pull_id, work)


def to_proto(view: PullView) -> pb.Pull:
    """A download for the wire."""
    pull = view.pull
    return pb.Pull(
        id=pull.id,
        model_id=pull.model_id,
        source=pull.source,
        state=_state(view),
        files=[_file_to_proto(file, view.received[file.name]) for file in pull.files],
        error=pull.error.to_detail() if pull.error is not None else None,
        bytes_per_second=view.bytes_per_second,
        created_at=values.timestamp(pull.created_ms),
        model_json=values.dump(pull.model_json),
    )


def _state(view: PullView) -> pb.PullState.ValueType:
    if view.pull.state in _ENDED:
        return _ENDED[view.pull.state]
    if view.checking:
        return pb.PULL_STATE_CHECKING
    return pb.PULL_STATE_DOWNLOADING if view.working else pb.PULL_STATE_QUEUED


def _file_to_proto(file: PullFile, received: int) -> pb.PullFile:
    return pb.PullFile(
        name=file.name,
        url=file.url,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        validator=file.validator,
        received_bytes=received,
        whole=file.whole,
    )


def _file_from_proto(file: pb.PullFile) -> PullFile:
    return PullFile(
        name=file.name,
        url=file.url,
        size_bytes=file.size_bytes if file.HasField("size_bytes") else None,
        sha256=file.sha256,
        validator=file.validator,
    )
