"""The gRPC control service: what the gateway may ask this host."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

from grpc import aio

from inference_service.answers.tokens import TokenQuestion, chat_of
from inference_service.devices.device import Device
from inference_service.engines.launcher import Launcher
from inference_service.engines.model_settings import with_settings
from inference_service.engines.schema_check import SchemaCheck
from inference_service.memory.fitting import FitAnswer, answer_fit
from inference_service.models.pool import Models
from inference_service.wire import (
    description_from_proto,
    device_to_proto,
    devices_from_proto,
    needs_to_proto,
    placement_to_proto,
    preview_to_proto,
    status_to_proto,
)
from jan.errors import InvalidArgumentError
from jan.inference.v1 import control_pb2, control_pb2_grpc
from jan.inference.v1.jobs_pb2 import ModelSpec

Context = aio.ServicerContext[Any, Any]

NO_KV_CACHE = "Its files do not tell the size of the KV cache, which is not counted: an engine may not know them."
"""What is said behind the answer of `fit` about an architecture that is not known."""

_SIGN_OF_LIFE_SECONDS = 10.0


class ControlServicer(control_pb2_grpc.ControlServiceServicer):
    """Answers for one host's models and devices."""

    def __init__(self, models: Models, launcher: Launcher, host: str) -> None:
        """`host` is this host's name, for people."""
        self._models = models
        self._launcher = launcher
        self._host = host
        self._schemas = SchemaCheck()

    async def ListModelStatuses(
        self, request: control_pb2.ListModelStatusesRequest, context: Context
    ) -> control_pb2.ListModelStatusesResponse:
        """Every model asked for since the start, by id."""
        statuses = map(status_to_proto, self._models.statuses())
        return control_pb2.ListModelStatusesResponse(models=statuses)

    async def ListDevices(
        self, request: control_pb2.ListDevicesRequest, context: Context
    ) -> control_pb2.ListDevicesResponse:
        """Every device with what is placed on it."""
        devices = await self._models.devices()
        residents = self._models.residents()
        found = (device_to_proto(device, residents) for device in devices)
        return control_pb2.ListDevicesResponse(host=self._host, devices=found)

    async def FitModel(self, request: control_pb2.FitModelRequest, context: Context) -> control_pb2.FitModelResponse:
        """Whether the model would fit on this host's devices, or on others that the request describes."""
        described = description_from_proto(request.sizes) if request.HasField("sizes") else None
        devices: Sequence[Device]
        if request.devices:
            devices = devices_from_proto(request.devices)
        else:
            devices = _chosen(await self._models.devices(), request.device_ids)
        assessment = await self._launcher.assess(_with_overrides(request), devices, described=described)
        response = control_pb2.FitModelResponse(
            host=self._host, ctx_len=assessment.ctx_tokens, n_parallel=assessment.n_parallel
        )
        demand = assessment.demand
        if demand is None:
            answer = FitAnswer(True, True, None, "It runs elsewhere and takes no memory of this host.")
        else:
            answer = answer_fit(demand, devices, () if request.devices else self._models.residents())
        response.fits, response.fits_now, response.why = answer.fits, answer.fits_now, answer.why
        if assessment.reduction:
            response.why += " " + assessment.reduction
        if demand is not None:
            if not demand.footprint.kv_cache_bytes:
                response.why += " " + NO_KV_CACHE
            response.needs.CopyFrom(needs_to_proto(demand.footprint))
            response.measured = self._launcher.measurements.is_known(demand.model_id, demand.footprint)
        if answer.placement is not None:
            response.placement.CopyFrom(placement_to_proto(answer.placement))
        return response

    async def PreviewModels(
        self, request: control_pb2.PreviewModelsRequest, context: Context
    ) -> control_pb2.PreviewModelsResponse:
        """What a load of each model would tell."""
        previews = await self._launcher.preview(request.models, await self._models.devices())
        # What is loaded has the context that it was loaded with, whatever would fit by now.
        told = [
            replace(preview, ctx_tokens=self._models.loaded_ctx_tokens(spec) or preview.ctx_tokens)
            for spec, preview in zip(request.models, previews, strict=True)
        ]
        return control_pb2.PreviewModelsResponse(models=map(preview_to_proto, told))

    async def StartModel(
        self, request: control_pb2.StartModelRequest, context: Context
    ) -> control_pb2.StartModelResponse:
        """Load a model. A caller that leaves does not stop the load."""
        start = self._models.start if request.wait else self._models.start_soon
        return control_pb2.StartModelResponse(status=status_to_proto(await start(request.model)))

    async def StopModel(self, request: control_pb2.StopModelRequest, context: Context) -> control_pb2.StopModelResponse:
        """Unload a model once its answers are whole."""
        return control_pb2.StopModelResponse(status=status_to_proto(await self._models.stop(request.model_id)))

    async def Tokenize(self, request: control_pb2.TokenizeRequest, context: Context) -> control_pb2.TokenizeResponse:
        """What a model makes of a text or a chat."""
        async with self._models.use(request.model) as running:
            chat = json.loads(request.chat_json) if request.HasField("chat_json") else None
            question = TokenQuestion(
                request.text,
                None if chat is None else chat_of(running.engine.chat_call(chat).body),
                add_special=request.add_special,
                pieces=request.with_pieces,
            )
            found = await running.engine.tokenize(running.client, question)
            ctx_len = running.engine.ctx_len or 0
        return control_pb2.TokenizeResponse(tokens=found.ids, pieces=found.pieces, ctx_len=ctx_len)

    async def Detokenize(
        self, request: control_pb2.DetokenizeRequest, context: Context
    ) -> control_pb2.DetokenizeResponse:
        """The text of tokens."""
        async with self._models.use(request.model) as running:
            text = await running.engine.detokenize(running.client, request.tokens)
        return control_pb2.DetokenizeResponse(text=text)

    async def CheckSchemas(
        self, request: control_pb2.CheckSchemasRequest, context: Context
    ) -> control_pb2.CheckSchemasResponse:
        """Whether answers can be bound to a chat's schemas."""
        await self._schemas.check(request.engine, json.loads(request.chat_json))
        return control_pb2.CheckSchemasResponse()

    async def WatchModels(
        self, request: control_pb2.WatchModelsRequest, context: Context
    ) -> AsyncGenerator[control_pb2.WatchModelsResponse, None]:
        """All states, then each change."""
        with self._models.watching() as changes:
            while True:
                try:
                    async with asyncio.timeout(_SIGN_OF_LIFE_SECONDS):
                        status = await changes.get()
                except TimeoutError:
                    yield control_pb2.WatchModelsResponse()
                    continue
                if status is None:
                    return
                yield control_pb2.WatchModelsResponse(status=status_to_proto(status))


def _with_overrides(request: control_pb2.FitModelRequest) -> ModelSpec:
    """The model with the context and concurrency that the question is about."""
    asked = {name: getattr(request, name) for name in ("ctx_len", "n_parallel") if request.HasField(name)}
    return with_settings(request.model, **asked) if asked else request.model


def _chosen(devices: Sequence[Device], ids: Sequence[str]) -> Sequence[Device]:
    """The devices that the question is about. Raises InvalidArgumentError: there is no such device here."""
    for device_id in ids:
        if not any(device.id == device_id for device in devices):
            raise InvalidArgumentError(f"There is no device {device_id[:64]!r} here.", param="devices")
    return [device for device in devices if not ids or device.id in ids]
