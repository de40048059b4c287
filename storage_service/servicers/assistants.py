"""AssistantService over the store."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from grpc import aio

from jan.ids import AssistantId
from jan.storage.v1 import assistants_pb2 as pb
from jan.storage.v1.assistants_pb2_grpc import AssistantServiceServicer
from storage_service.access import Access
from storage_service.downloads import Download, Downloads
from storage_service.servicers import values
from storage_service.store.assistants import Assistants
from storage_service.store.paging import PageQuery
from storage_service.store.records import Assistant
from storage_service.store.runs import Runs

Context = aio.ServicerContext[Any, Any]

# One lock for all of them: they are few, seldom written, and ordered by creation among each other.
LOCK = "assistants/"

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
    "settings_json": "settings",
    "further_models": "further_models",
    "thread_location": "thread_location",
}


class AssistantView:
    """Assistants for the wire, with the state that each is in at this moment."""

    def __init__(self, access: Access, assistants: Assistants, runs: Runs, downloads: Downloads) -> None:
        self._access = access
        self._assistants = assistants
        self._runs = runs
        self._downloads = downloads

    async def get(self, assistant_id: AssistantId) -> pb.Assistant:
        """One assistant. Raises NotFoundError."""
        # Before the file is read: a download that ends in between has written how, and is told as still under way.
        downloads = self._downloads.all()
        assistant = await self._access.run(lambda: self._assistants.get(assistant_id))
        (shown,) = await self._shown([assistant], downloads)
        return shown

    async def of(self, assistant: Assistant) -> pb.Assistant:
        """One that was just written."""
        if assistant.is_pending:
            return await self.get(assistant.id)
        (shown,) = await self._shown([assistant], {})
        return shown

    async def page(self, query: PageQuery) -> tuple[list[pb.Assistant], bool]:
        """One page, and whether more follow. Raises InvalidArgumentError."""
        downloads = self._downloads.all()
        page = await self._access.run(lambda: self._assistants.page(query))
        return await self._shown(page.items, downloads), page.has_more

    async def _shown(
        self, assistants: Sequence[Assistant], downloads: Mapping[AssistantId, Download]
    ) -> list[pb.Assistant]:
        ids = {assistant.id for assistant in assistants}
        answering = await self._access.run(lambda: self._runs.answering(ids))
        return [_shown(assistant, downloads.get(assistant.id), answering) for assistant in assistants]


class AssistantServicer(AssistantServiceServicer):
    """See assistants.proto."""

    def __init__(self, access: Access, assistants: Assistants, downloads: Downloads, view: AssistantView) -> None:
        self._access = access
        self._assistants = assistants
        self._downloads = downloads
        self._view = view

    async def CreateAssistant(self, request: pb.CreateAssistantRequest, context: Context) -> pb.CreateAssistantResponse:
        """See assistants.proto."""
        assistant = from_proto(request.assistant)
        stored = await self._access.run_alone(LOCK, lambda: self._assistants.create(assistant))
        return pb.CreateAssistantResponse(assistant=await self._view.of(stored))

    async def GetAssistant(self, request: pb.GetAssistantRequest, context: Context) -> pb.GetAssistantResponse:
        """See assistants.proto."""
        assistant_id = AssistantId.parse(request.assistant_id)
        return pb.GetAssistantResponse(assistant=await self._view.get(assistant_id))

    async def ListAssistants(self, request: pb.ListAssistantsRequest, context: Context) -> pb.ListAssistantsResponse:
        """See assistants.proto."""
        query = values.page_query(request.page)
        assistants, has_more = await self._view.page(query)
        return pb.ListAssistantsResponse(assistants=assistants, has_more=has_more)

    async def UpdateAssistant(self, request: pb.UpdateAssistantRequest, context: Context) -> pb.UpdateAssistantResponse:
        """See assistants.proto."""
        wanted = from_proto(request.assistant)
        paths = values.masked_paths(list(request.update_mask.paths), frozenset(_FIELDS))
        changes = {_FIELDS[path]: getattr(wanted, _FIELDS[path]) for path in paths}
        stored = await self._access.run_alone(
            LOCK,
            lambda: self._assistants.change(
                wanted.id, lambda assistant: replace(assistant, **changes), request.if_revision
            ),
        )
        return pb.UpdateAssistantResponse(assistant=await self._view.of(stored))

    async def DeleteAssistant(self, request: pb.DeleteAssistantRequest, context: Context) -> pb.DeleteAssistantResponse:
        """See assistants.proto."""
        assistant_id = AssistantId.parse(request.assistant_id)
        await self._access.run_alone(LOCK, lambda: self._assistants.delete(assistant_id, request.if_revision))
        await self._downloads.cancel(assistant_id)
        return pb.DeleteAssistantResponse()


def _shown(assistant: Assistant, download: Download | None, answering: Collection[AssistantId]) -> pb.Assistant:
    shown = to_proto(assistant)
    if assistant.is_pending and download is not None:
        shown.state = pb.ASSISTANT_STATE_DOWNLOADING
        shown.downloaded_bytes = download.received_bytes
        shown.ClearField("error")
    elif assistant.is_pending:
        shown.state = pb.ASSISTANT_STATE_TO_DOWNLOAD
    else:
        shown.state = pb.ASSISTANT_STATE_RUNNING if assistant.id in answering else pb.ASSISTANT_STATE_READY
    return shown


def to_proto(assistant: Assistant) -> pb.Assistant:
    """What an assistant's file says, for the wire."""
    error = assistant.error
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
        settings_json=values.dump(assistant.settings),
        further_models=assistant.further_models,
        thread_location=assistant.thread_location,
        revision=assistant.revision,
        source_url=assistant.source_url,
        error=None if error is None else pb.DownloadError(code=error.code, message=error.message),
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
        settings=values.load_optional_object(assistant.settings_json, "settings"),
        further_models=tuple(assistant.further_models),
        thread_location=assistant.thread_location,
    )
