"""The engine hosts as the gateway sees them: what state their models are in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from grpc import aio

from jan.errors import JanError
from jan.inference.v1 import control_pb2, control_pb2_grpc
from jan.rpc import call, is_serving

# A state is an extra: nobody waits longer for it.
_DEADLINE_SECONDS = 0.5


class InferenceClient:
    """Every engine host, over a channel each. A host that does not answer says nothing."""

    def __init__(self, channels: Sequence[aio.Channel]) -> None:
        self._channels = channels
        self._stubs = [control_pb2_grpc.ControlServiceStub(channel) for channel in channels]

    async def is_serving(self) -> bool:
        """Whether one host at least answers now."""
        return any(await asyncio.gather(*map(is_serving, self._channels)))

    async def statuses(self) -> dict[str, control_pb2.ModelStatus]:
        """The state of each model that was asked for since its host started, by id; a running one counts first."""
        statuses: dict[str, control_pb2.ModelStatus] = {}
        for answer in await asyncio.gather(*map(self._ask, self._stubs)):
            for status in answer:
                known = statuses.get(status.model_id)
                if known is None or known.state != control_pb2.MODEL_STATE_RUNNING:
                    statuses[status.model_id] = status
        return statuses

    async def _ask(self, stub: control_pb2_grpc.ControlServiceStub) -> Sequence[control_pb2.ModelStatus]:
        request = control_pb2.ListModelStatusesRequest()
        try:
            answer = await call(stub.ListModelStatuses, request, deadline_seconds=_DEADLINE_SECONDS, repeatable=False)
        except JanError:
            return ()
        return answer.models
