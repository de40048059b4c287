"""CompletionService over the store."""

from dataclasses import replace
from typing import Any

from grpc import aio

from jan.ids import CompletionId
from jan.storage.v1 import completions_pb2 as pb
from jan.storage.v1.completions_pb2_grpc import CompletionServiceServicer
from storage_service.access import Access
from storage_service.servicers import values
from storage_service.store.completions import Wanted
from storage_service.store.records import Completion
from storage_service.store.store import Store

Context = aio.ServicerContext[Any, Any]


class CompletionServicer(CompletionServiceServicer):
    """See completions.proto."""

    def __init__(self, access: Access, store: Store) -> None:
        self._access = access
        self._completions = store.completions

    async def CreateCompletion(
        self, request: pb.CreateCompletionRequest, context: Context
    ) -> pb.CreateCompletionResponse:
        """See completions.proto."""
        completion = from_proto(request.completion)
        await self._access.run_alone(completion.id, lambda: self._completions.create(completion))
        return pb.CreateCompletionResponse()

    async def GetCompletion(self, request: pb.GetCompletionRequest, context: Context) -> pb.GetCompletionResponse:
        """See completions.proto."""
        completion_id = CompletionId.parse(request.completion_id)
        found = await self._access.run(lambda: self._completions.get(completion_id, request.owner))
        return pb.GetCompletionResponse(completion=to_proto(found))

    async def ListCompletions(self, request: pb.ListCompletionsRequest, context: Context) -> pb.ListCompletionsResponse:
        """See completions.proto."""
        query = values.page_query(request.page)
        wanted = Wanted(request.owner, request.model, dict(request.metadata))
        page = await self._access.run(lambda: self._completions.page(query, wanted))
        told = [to_proto(replace(completion, messages=())) for completion in page.items]
        return pb.ListCompletionsResponse(completions=told, has_more=page.has_more)

    async def UpdateCompletion(
        self, request: pb.UpdateCompletionRequest, context: Context
    ) -> pb.UpdateCompletionResponse:
        """See completions.proto."""
        completion_id = CompletionId.parse(request.completion_id)
        metadata = values.load_object(request.metadata_json, "metadata")
        changed = await self._access.run_alone(
            completion_id, lambda: self._completions.update(completion_id, request.owner, metadata)
        )
        return pb.UpdateCompletionResponse(completion=to_proto(changed))

    async def DeleteCompletion(
        self, request: pb.DeleteCompletionRequest, context: Context
    ) -> pb.DeleteCompletionResponse:
        """See completions.proto."""
        completion_id = CompletionId.parse(request.completion_id)
        await self._access.run_alone(completion_id, lambda: self._completions.delete(completion_id, request.owner))
        return pb.DeleteCompletionResponse()


def to_proto(completion: Completion) -> pb.Completion:
    """A completion for the wire."""
    return pb.Completion(
        id=completion.id,
        owner=completion.owner,
        created_at=values.timestamp(completion.created_ms),
        model=completion.model,
        completion_json=values.dump(completion.completion),
        messages_json=values.dump(completion.messages),
        metadata_json=values.dump(completion.metadata),
    )


def from_proto(completion: pb.Completion) -> Completion:
    """A completion from the wire. Raises InvalidArgumentError: it is none."""
    return Completion(
        id=CompletionId.parse(completion.id),
        owner=completion.owner,
        created_ms=values.milliseconds(completion.created_at) or 0,
        model=completion.model,
        completion=values.load_object(completion.completion_json, "completion"),
        messages=tuple(values.load_objects(completion.messages_json, "messages")),
        metadata=values.load_object(completion.metadata_json, "metadata"),
    )
