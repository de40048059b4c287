"""The engine hosts as the gateway sees them: their devices, and what state their models are in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TypeVar

from grpc import aio

from jan.backoff import Backoff
from jan.errors import InvalidArgumentError, JanError, UnavailableError
from jan.inference.v1 import control_pb2, control_pb2_grpc
from jan.inference.v1.jobs_pb2 import ModelSpec
from jan.rpc import call, download, is_serving
from jan.tasks import background

# A state is an extra: nobody waits longer for it.
_STATUS_SECONDS = 0.5
# Nor for what is known of models at rest; a host that reads many headers has them at hand the next time.
_PREVIEW_SECONDS = 1.0
_MOST_PREVIEWED = 32
# Reading the headers of a model in many parts from a slow disk.
_FIT_SECONDS = 20.0
# A schema is compiled in a hundredth of a second, but in a new process the first time, and one after the other.
CHECK_SECONDS = 5.0
# A model may wait for others to leave, and then be loaded; answers being written may be long.
_START_SECONDS = 1_800.0
_STOP_SECONDS = 600.0
_WATCH_SECONDS = 86_400.0
_MOST_WATCHED = 1_000

AnswerT = TypeVar("AnswerT")
Stub = control_pb2_grpc.ControlServiceStub
Changes = asyncio.Queue[control_pb2.ModelStatus | None]


class InferenceClient:
    """Every engine host, over a channel each. A host that does not answer says nothing."""

    def __init__(self, channels: Sequence[aio.Channel]) -> None:
        self._channels = channels
        self._stubs = [control_pb2_grpc.ControlServiceStub(channel) for channel in channels]
        self._watches: set[Changes] = set()

    async def is_serving(self) -> bool:
        """Whether one host at least answers now."""
        return any(await asyncio.gather(*map(is_serving, self._channels)))

    async def statuses(self) -> dict[str, control_pb2.ModelStatus]:
        """The state of each model that was asked for since its host started, by id; a running one counts first."""
        statuses: dict[str, control_pb2.ModelStatus] = {}
        for answer in await asyncio.gather(*map(self._statuses_of, self._stubs)):
            for status in answer:
                known = statuses.get(status.model_id)
                if known is None or known.state != control_pb2.MODEL_STATE_RUNNING:
                    statuses[status.model_id] = status
        return statuses

    async def previews(self, specs: Sequence[ModelSpec]) -> dict[str, control_pb2.ModelPreview]:
        """What a load of each model would tell, by id, from a host that could load it if there is one.

        Models of which no host says anything in time are left out.
        """
        batches = [specs[start : start + _MOST_PREVIEWED] for start in range(0, len(specs), _MOST_PREVIEWED)]
        asked = [(stub, batch) for stub in self._stubs for batch in batches]
        previews: dict[str, control_pb2.ModelPreview] = {}
        for told in await asyncio.gather(*(_previews_of(stub, batch) for stub, batch in asked)):
            for model_id, preview in told:
                if model_id not in previews or previews[model_id].HasField("error"):
                    previews[model_id] = preview
        return previews

    async def devices(self) -> list[control_pb2.ListDevicesResponse]:
        """The devices of every host that answers. Raises UnavailableError: none does."""
        request = control_pb2.ListDevicesRequest()
        return await self._ask_all(lambda stub: call(stub.ListDevices, request))

    async def fit(self, request: control_pb2.FitModelRequest) -> control_pb2.FitModelResponse:
        """The best answer of all hosts: one where the model fits now, else one where it fits.

        Raises JanError: why no host can tell.
        """
        answers = await self._ask_all(lambda stub: call(stub.FitModel, request, deadline_seconds=_FIT_SECONDS))
        return max(answers, key=_fitness)

    async def start(self, spec: ModelSpec, *, wait: bool) -> control_pb2.ModelStatus:
        """Load a model on the host where it is already, else on the one where it fits best.

        wait: return only when it runs; otherwise at once. Raises JanError: why it could not be loaded.
        """
        stub = await self._best_host(spec)
        request = control_pb2.StartModelRequest(model=spec, wait=wait)
        return (await call(stub.StartModel, request, deadline_seconds=_START_SECONDS)).status

    async def stop(self, model_id: str) -> control_pb2.ModelStatus:
        """Unload a model everywhere, once its answers are whole. Raises UnavailableError: no host answers."""
        request = control_pb2.StopModelRequest(model_id=model_id)
        answers = await self._ask_all(lambda stub: call(stub.StopModel, request, deadline_seconds=_STOP_SECONDS))
        return answers[0].status

    async def tokenize(self, request: control_pb2.TokenizeRequest) -> control_pb2.TokenizeResponse:
        """What a model makes of a text or a chat; it is loaded for that where a job would have it.

        Raises JanError: it cannot be loaded, or cannot be asked.
        """
        stub = await self._best_host(request.model)
        return await call(stub.Tokenize, request, deadline_seconds=_START_SECONDS)

    async def detokenize(self, request: control_pb2.DetokenizeRequest) -> str:
        """The text of tokens; as `tokenize`."""
        stub = await self._best_host(request.model)
        return (await call(stub.Detokenize, request, deadline_seconds=_START_SECONDS)).text

    async def check_schemas(self, engine: str, chat_json: str) -> None:
        """Have a host try whether an engine of that kind can be bound to a chat's schemas.

        Return too when no host can tell in time: its job will. Raises InvalidArgumentError: why they cannot.
        """
        request = control_pb2.CheckSchemasRequest(engine=engine, chat_json=chat_json)
        for stub in self._stubs:
            try:
                await call(stub.CheckSchemas, request, deadline_seconds=CHECK_SECONDS, repeatable=False)
                return
            except InvalidArgumentError:
                raise
            except JanError:
                continue

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Changes]:
        """All states of all hosts' models, then each change as it happens; None when the gateway is about to end."""
        changes: Changes = asyncio.Queue(_MOST_WATCHED)
        self._watches.add(changes)
        try:
            async with AsyncExitStack() as following:
                for stub in self._stubs:
                    await following.enter_async_context(background(_follow(stub, changes), "models"))
                yield changes
        finally:
            self._watches.discard(changes)

    def end_watches(self) -> None:
        """Let those go who watch: an open stream would hold up the end of the gateway."""
        for changes in self._watches:
            if changes.full():
                changes.get_nowait()
            changes.put_nowait(None)

    async def _best_host(self, spec: ModelSpec) -> Stub:
        if len(self._stubs) == 1:
            return self._stubs[0]
        fits, states = await asyncio.gather(
            asyncio.gather(*(self._fit_on(stub, spec) for stub in self._stubs)),
            asyncio.gather(*map(self._statuses_of, self._stubs)),
        )
        live = (control_pb2.MODEL_STATE_RUNNING, control_pb2.MODEL_STATE_STARTING)
        has = [any(s.model_id == spec.id and s.state in live for s in statuses) for statuses in states]
        return max(zip(has, fits, self._stubs, strict=True), key=lambda host: host[:2])[2]

    async def _fit_on(self, stub: Stub, spec: ModelSpec) -> tuple[bool, bool, bool]:
        """Whether a host answers, whether the model fits there now, and whether it fits at all."""
        try:
            answer = await call(stub.FitModel, control_pb2.FitModelRequest(model=spec), deadline_seconds=_FIT_SECONDS)
        except JanError:
            return (False, False, False)
        return (True, *_fitness(answer))

    async def _ask_all(self, ask: Callable[[Stub], Awaitable[AnswerT]]) -> list[AnswerT]:
        """What the hosts answer. When none does, what one of them raises, rather than that another is away."""

        async def asked(stub: Stub) -> AnswerT | JanError:
            try:
                return await ask(stub)
            except JanError as error:
                return error

        outcomes = await asyncio.gather(*map(asked, self._stubs))
        answers = [outcome for outcome in outcomes if not isinstance(outcome, JanError)]
        if not answers:
            errors = [outcome for outcome in outcomes if isinstance(outcome, JanError)]
            raise next((error for error in errors if not isinstance(error, UnavailableError)), errors[0])
        return answers

    async def _statuses_of(self, stub: Stub) -> Sequence[control_pb2.ModelStatus]:
        request = control_pb2.ListModelStatusesRequest()
        try:
            answer = await call(stub.ListModelStatuses, request, deadline_seconds=_STATUS_SECONDS, repeatable=False)
        except JanError:
            return ()
        return answer.models


async def _previews_of(stub: Stub, specs: Sequence[ModelSpec]) -> list[tuple[str, control_pb2.ModelPreview]]:
    request = control_pb2.PreviewModelsRequest(models=specs)
    try:
        answer = await call(stub.PreviewModels, request, deadline_seconds=_PREVIEW_SECONDS, repeatable=False)
    except JanError:
        return []
    return [(spec.id, preview) for spec, preview in zip(specs, answer.models, strict=True)]


def _fitness(answer: control_pb2.FitModelResponse) -> tuple[bool, bool]:
    return (answer.fits_now, answer.fits)


async def _follow(stub: Stub, changes: Changes) -> None:
    """Pass on a host's changes, each once, however often the host goes away. What it had loaded is at rest then."""
    known: dict[str, control_pb2.ModelStatus] = {}
    backoff = Backoff()
    while True:
        try:
            request = control_pb2.WatchModelsRequest()
            async with aclosing(download(stub.WatchModels, request, deadline_seconds=_WATCH_SECONDS)) as parts:
                async for part in parts:
                    backoff.reset()
                    if part.HasField("status") and known.get(part.status.model_id) != part.status:
                        known[part.status.model_id] = part.status
                        await changes.put(part.status)
        except JanError:
            for model_id in known:
                await changes.put(control_pb2.ModelStatus(model_id=model_id, state=control_pb2.MODEL_STATE_READY))
            known.clear()
        await backoff.wait()
