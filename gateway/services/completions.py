"""The stored completions, as the gateway sees them."""

from __future__ import annotations

from collections.abc import Mapping

from grpc import aio

from jan.rpc import call
from jan.storage.v1 import completions_pb2, completions_pb2_grpc, paging_pb2


class CompletionClient:
    """CompletionService over a channel. Every method may raise any JanError of storage's; `owner` is who asks."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = completions_pb2_grpc.CompletionServiceStub(channel)

    async def create(self, completion: completions_pb2.Completion) -> None:
        """Keep a completion. Durable on return; keeping one again changes nothing."""
        await call(self._stub.CreateCompletion, completions_pb2.CreateCompletionRequest(completion=completion))

    async def get(self, completion_id: str, owner: str) -> completions_pb2.Completion:
        """Read one."""
        request = completions_pb2.GetCompletionRequest(completion_id=completion_id, owner=owner)
        return (await call(self._stub.GetCompletion, request)).completion

    async def list(
        self, page: paging_pb2.PageRequest, owner: str, model: str, metadata: Mapping[str, str]
    ) -> completions_pb2.ListCompletionsResponse:
        """Read a page of them."""
        request = completions_pb2.ListCompletionsRequest(page=page, owner=owner, model=model, metadata=metadata)
        return await call(self._stub.ListCompletions, request)

    async def update(self, completion_id: str, owner: str, metadata_json: str) -> completions_pb2.Completion:
        """Replace its metadata."""
        request = completions_pb2.UpdateCompletionRequest(
            completion_id=completion_id, owner=owner, metadata_json=metadata_json
        )
        return (await call(self._stub.UpdateCompletion, request)).completion

    async def delete(self, completion_id: str, owner: str) -> None:
        """Remove it for good."""
        request = completions_pb2.DeleteCompletionRequest(completion_id=completion_id, owner=owner)
        await call(self._stub.DeleteCompletion, request, repeatable=False)
