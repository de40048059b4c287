"""AssistantService over the store."""

from dataclasses import replace
from typing import Any

from grpc import aio

from jan.ids import AssistantId
from jan.storage.v1 import assistants_pb2 as pb
from jan.storage.v1.assistants_pb2_grpc import AssistantServiceServicer
from storage_service.access import Access
from storage_service.servicers import values
from storage_service.store.assistants import Assistants
from storage_service.store.records import Assistant

Context = aio.ServicerContext[Any, Any]

# One lock for all of them: they are few, seldom written, and ordered by creation among each other.
_LOCK = "assistants/"

# The record's field for each path of an update mask.
_FIELDS = {
    "name": "name",
    "description": "description",
    "model": "model",
    "instructions": "instructions",
    "tools_json": "tools",
    "tool_resources_json": "tool_resources",
    "metadata_json": "metadata",
    "temperature": "temperature",
    "top_p": "top_p",
    "response_format_json": "response_format",
    "reasoning_effort": "reasoning_effort",
    "avatar": "avatar",
    "file_ids": "file_ids",
    "parameters_json": "parameters",
    "further_models": "further_models",
    "thread_location": "thread_location",
}


class AssistantServicer(AssistantServiceServicer):
    """See assistants.proto."""

    def __init__(self, access: Access, assistants: Assistants) -> None:
        self._access = access
        self._assistants = assistants

    async def CreateAssistant(self, request: pb.CreateAssistantRequest, context: Context) -> pb.CreateAssistantResponse:
        """See assistants.proto."""
        assistant = from_proto(request.assistant)
        stored = await self._access.run_alone(_LOCK, lambda: self._assistants.create(assistant))
        return pb.CreateAssistantResponse(assistant=to_proto(stored))

    async def GetAssistant(self, request: pb.GetAssistantRequest, context: Context) -> pb.GetAssistantResponse:
        """See assistants.proto."""
        assistant_id = AssistantId.parse(request.assistant_id)
        assistant = await self._access.run(lambda: self._assistants.get(assistant_id))
        return pb.GetAssistantResponse(assistant=to_proto(assistant))

    async def ListAssistants(self, request: pb.ListAssistantsRequest, context: Context) -> pb.ListAssistantsResponse:
        """See assistants.proto."""
        query = values.page_query(request.page)
        page = await self._access.run(lambda: self._assistants.page(query))
        return pb.ListAssistantsResponse(assistants=map(to_proto, page.items), has_more=page.has_more)

    async def UpdateAssistant(self, request: pb.UpdateAssistantRequest, context: Context) -> pb.UpdateAssistantResponse:
        """See assistants.proto."""
        wanted = from_proto(request.assistant)
        paths = values.masked_paths(list(request.update_mask.paths), frozenset(_FIELDS))
        changes = {_FIELDS[path]: getattr(wanted, _FIELDS[path]) for path in paths}
        stored = await self._access.run_alone(
            _LOCK,
            lambda: self._assistants.change(
                wanted.id, lambda assistant: replace(assistant, **changes), request.if_revision
            ),
        )
        return pb.UpdateAssistantResponse(assistant=to_proto(stored))

    async def DeleteAssistant(self, request: pb.DeleteAssistantRequest, context: Context) -> pb.DeleteAssistantResponse:
        """See assistants.proto."""
        assistant_id = AssistantId.parse(request.assistant_id)
        await self._access.run_alone(_LOCK, lambda: self._assistants.delete(assistant_id, request.if_revision))
        return pb.DeleteAssistantResponse()


def to_proto(assistant: Assistant) -> pb.Assistant:
    """An assistant for the wire."""
    return pb.Assistant(
        id=assistant.id,
        created_at=values.timestamp(assistant.created_ms),
        name=assistant.name,
        description=assistant.description,
        model=assistant.model,
        instructions=assistant.instructions,
        tools_json=values.dump(assistant.tools),
        tool_resources_json=values.dump(assistant.tool_resources),
        metadata_json=values.dump(assistant.metadata),
        temperature=assistant.temperature,
        top_p=assistant.top_p,
        response_format_json=values.dump(assistant.response_format),
        reasoning_effort=assistant.reasoning_effort,
        avatar=assistant.avatar,
        file_ids=assistant.file_ids,
        parameters_json=values.dump(assistant.parameters),
        further_models=assistant.further_models,
        thread_location=assistant.thread_location,
        revision=assistant.revision,
    )


def from_proto(assistant: pb.Assistant) -> Assistant:
    """An assistant from the wire. Raises InvalidArgumentError: a bad id or JSON text."""
    return Assistant(
        id=AssistantId.parse(assistant.id),
        name=assistant.name if assistant.HasField("name") else None,
        description=assistant.description if assistant.HasField("description") else None,
        model=assistant.model or "*",
        instructions=assistant.instructions if assistant.HasField("instructions") else None,
        tools=values.load_objects(assistant.tools_json, "tools"),
        tool_resources=values.load_optional_object(assistant.tool_resources_json, "tool_resources"),
        metadata=values.load_object(assistant.metadata_json, "metadata"),
        temperature=assistant.temperature if assistant.HasField("temperature") else None,
        top_p=assistant.top_p if assistant.HasField("top_p") else None,
        response_format=values.load(assistant.response_format_json, "response_format"),
        reasoning_effort=assistant.reasoning_effort,
        avatar=assistant.avatar,
        file_ids=tuple(assistant.file_ids),
        parameters=values.load_optional_object(assistant.parameters_json, "parameters"),
        further_models=tuple(assistant.further_models),
        thread_location=assistant.thread_location,
    )
