"""The storage service as the gateway sees it: one stub a noun, called with a deadline and our errors.

`if_revision`: act only if the object's revision is one of these; else PreconditionFailedError.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing

from grpc import aio

from gateway.services.message_stream import MessageStream
from gateway.services.shared_reads import SharedReads
from gateway.vector_stores.chunk_vectors import ChunkVectorClient
from gateway.vector_stores.client import VectorStoreClient
from jan.rpc import call, download, exchange, is_serving, upload
from jan.storage.v1 import (
    archives_pb2,
    archives_pb2_grpc,
    assistant_imports_pb2,
    assistant_imports_pb2_grpc,
    assistants_pb2,
    assistants_pb2_grpc,
    files_pb2,
    files_pb2_grpc,
    imports_pb2,
    imports_pb2_grpc,
    messages_pb2,
    messages_pb2_grpc,
    model_imports_pb2,
    model_imports_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    paging_pb2,
    report_pb2,
    report_pb2_grpc,
    runs_pb2,
    runs_pb2_grpc,
    texts_pb2,
    texts_pb2_grpc,
    threads_pb2,
    threads_pb2_grpc,
    trash_pb2,
    trash_pb2_grpc,
)

MAX_PAGE_SIZE = 100
# How long a file may take on its way; the pieces have deadlines of their own where a client is slow.
TRANSFER_SECONDS = 3600.0
# A whole janroot may be tens of gigabytes, over a slow line.
ARCHIVE_SECONDS = 24 * 3600.0
# For work on many threads or large ones.
LONG_SECONDS = 300.0
# How long a large import may take, and one step of it: a disk that writes back may keep one waiting.
IMPORT_SECONDS = 24 * 3600.0
IMPORT_STALL_SECONDS = 300.0


class StorageClient:
    """Storage's services over one channel. Every method may raise any `JanError` that storage raises."""

    def __init__(self, channel: aio.Channel) -> None:
        self._channel = channel
        self._threads = threads_pb2_grpc.ThreadServiceStub(channel)
        self._messages = messages_pb2_grpc.MessageServiceStub(channel)
        self.message_stream = MessageStream(self._messages)
        self.vector_stores = VectorStoreClient(channel)
        self.chunk_vectors = ChunkVectorClient(channel)
        self._assistants = assistants_pb2_grpc.AssistantServiceStub(channel)
        self._assistant_imports = assistant_imports_pb2_grpc.AssistantImportServiceStub(channel)
        self._models = models_pb2_grpc.ModelServiceStub(channel)
        self._model_reads = SharedReads(self._read_model)
        self._model_imports = model_imports_pb2_grpc.ModelImportServiceStub(channel)
        self._runs = runs_pb2_grpc.RunServiceStub(channel)
        self._reports = report_pb2_grpc.ReportServiceStub(channel)
        self._trash = trash_pb2_grpc.TrashServiceStub(channel)
        self._files = files_pb2_grpc.FileServiceStub(channel)
        self._texts = texts_pb2_grpc.TextServiceStub(channel)
        self._imports = imports_pb2_grpc.ImportServiceStub(channel)
        self._archives = archives_pb2_grpc.ArchiveServiceStub(channel)

    def streaming(self) -> AbstractAsyncContextManager[None]:
        """Messages are appended over one open stream meanwhile; without it each is a call of its own."""
        return self.message_stream.running()

    async def is_serving(self) -> bool:
        """Whether storage answers now."""
        return await is_serving(self._channel)

    async def create_thread(self, request: threads_pb2.CreateThreadRequest) -> threads_pb2.Thread:
        """Make a thread with its first messages; harmless to repeat when it has an id."""
        return (await call(self._threads.CreateThread, request, repeatable=bool(request.thread.id))).thread

    async def get_thread(self, thread_id: str) -> threads_pb2.Thread:
        """Read a thread."""
        return (await call(self._threads.GetThread, threads_pb2.GetThreadRequest(thread_id=thread_id))).thread

    async def list_threads(self, page: paging_pb2.PageRequest) -> threads_pb2.ListThreadsResponse:
        """Read a page of threads."""
        return await call(self._threads.ListThreads, threads_pb2.ListThreadsRequest(page=page))

    async def search_threads(self, query: str, page: paging_pb2.PageRequest) -> threads_pb2.SearchThreadsResponse:
        """Read a page of the threads that match, the best first."""
        return await call(self._threads.SearchThreads, threads_pb2.SearchThreadsRequest(query=query, page=page))

    async def update_thread(self, request: threads_pb2.UpdateThreadRequest) -> threads_pb2.Thread:
        """Change the masked fields of a thread."""
        return (await call(self._threads.UpdateThread, request, repeatable=not request.if_revision)).thread

    async def delete_thread(self, thread_id: str, if_revision: Sequence[str] = ()) -> list[threads_pb2.EndedRun]:
        """Move a thread into the trash; answers the runs that were active."""
        request = threads_pb2.DeleteThreadRequest(thread_id=thread_id, if_revision=if_revision)
        return list((await call(self._threads.DeleteThread, request, repeatable=False)).ended_runs)

    async def delete_all_threads(self) -> threads_pb2.DeleteAllThreadsResponse:
        """Move every thread into the trash."""
        request = threads_pb2.DeleteAllThreadsRequest()
        return await call(self._threads.DeleteAllThreads, request, deadline_seconds=LONG_SECONDS, repeatable=False)

    async def clear_thread(self, thread_id: str) -> threads_pb2.Thread:
        """Drop a thread's messages and runs."""
        return (await call(self._threads.ClearThread, threads_pb2.ClearThreadRequest(thread_id=thread_id))).thread

    async def clone_thread(self, thread_id: str, title: str | None, new_id: str | None = None) -> threads_pb2.Thread:
        """Copy a thread; harmless to repeat when the copy's id is said."""
        request = threads_pb2.CloneThreadRequest(thread_id=thread_id, title=title, new_id=new_id or "")
        cloning = call(self._threads.CloneThread, request, deadline_seconds=LONG_SECONDS, repeatable=new_id is not None)
        return (await cloning).thread

    async def list_trash(self, page: paging_pb2.PageRequest) -> trash_pb2.ListTrashResponse:
        """Read a page of what was deleted."""
        return await call(self._trash.ListTrash, trash_pb2.ListTrashRequest(page=page))

    async def restore_trash(self, trash_id: str) -> trash_pb2.TrashEntry:
        """Undo a deletion."""
        request = trash_pb2.RestoreTrashRequest(trash_id=trash_id)
        return (await call(self._trash.RestoreTrash, request, deadline_seconds=LONG_SECONDS, repeatable=False)).entry

    async def delete_trash(self, trash_id: str) -> None:
        """Remove what was deleted for good."""
        request = trash_pb2.DeleteTrashRequest(trash_id=trash_id)
        await call(self._trash.DeleteTrash, request, deadline_seconds=LONG_SECONDS, repeatable=False)

    async def empty_trash(self) -> int:
        """Remove everything that was deleted for good; answers how many entries."""
        request = trash_pb2.EmptyTrashRequest()
        return (await call(self._trash.EmptyTrash, request, deadline_seconds=LONG_SECONDS, repeatable=False)).count

    async def create_message(self, message: messages_pb2.Message) -> messages_pb2.Message:
        """Append a message to its thread; harmless to repeat."""
        stored = await self.message_stream.append(message)
        if stored is not None:
            return stored
        return (await call(self._messages.CreateMessage, messages_pb2.CreateMessageRequest(message=message))).message

    async def create_messages(
        self, thread_id: str, messages: Sequence[messages_pb2.Message]
    ) -> Sequence[messages_pb2.Message]:
        """Append messages to a thread, all or none; harmless to repeat."""
        request = messages_pb2.CreateMessagesRequest(thread_id=thread_id, messages=messages)
        return (await call(self._messages.CreateMessages, request)).messages

    async def get_message(self, thread_id: str, message_id: str) -> messages_pb2.Message:
        """Read a message."""
        request = messages_pb2.GetMessageRequest(thread_id=thread_id, message_id=message_id)
        return (await call(self._messages.GetMessage, request)).message

    async def list_messages(self, request: messages_pb2.ListMessagesRequest) -> messages_pb2.ListMessagesResponse:
        """Read a page of a thread's messages."""
        return await call(self._messages.ListMessages, request)

    async def all_messages(self, thread_id: str, *, run_id: str = "") -> list[messages_pb2.Message]:
        """Read a whole thread, oldest message first; run_id: only what that run wrote."""
        return [message async for page in self.message_pages(thread_id, run_id=run_id) for message in page]

    async def message_pages(
        self, thread_id: str, *, run_id: str = ""
    ) -> AsyncGenerator[Sequence[messages_pb2.Message], None]:
        """The same page by page."""
        after = ""
        while True:
            page = paging_pb2.PageRequest(page_size=MAX_PAGE_SIZE, order=paging_pb2.ORDER_ASC, after=after)
            asked = messages_pb2.ListMessagesRequest(thread_id=thread_id, page=page, run_id=run_id)
            answer = await self.list_messages(asked)
            yield answer.messages
            if not answer.has_more:
                return
            after = answer.messages[-1].id

    async def update_message(
        self, thread_id: str, message_id: str, metadata_json: str, if_revision: Sequence[str] = ()
    ) -> messages_pb2.Message:
        """Replace a message's metadata."""
        request = messages_pb2.UpdateMessageRequest(
            thread_id=thread_id, message_id=message_id, metadata_json=metadata_json, if_revision=if_revision
        )
        return (await call(self._messages.UpdateMessage, request, repeatable=not if_revision)).message

    async def delete_message(self, thread_id: str, message_id: str, if_revision: Sequence[str] = ()) -> None:
        """Remove a message."""
        request = messages_pb2.DeleteMessageRequest(thread_id=thread_id, message_id=message_id, if_revision=if_revision)
        await call(self._messages.DeleteMessage, request, repeatable=False)

    async def create_assistant(self, assistant: assistants_pb2.Assistant) -> assistants_pb2.Assistant:
        """Make an assistant; harmless to repeat."""
        request = assistants_pb2.CreateAssistantRequest(assistant=assistant)
        return (await call(self._assistants.CreateAssistant, request)).assistant

    async def get_assistant(self, assistant_id: str) -> assistants_pb2.Assistant:
        """Read an assistant."""
        request = assistants_pb2.GetAssistantRequest(assistant_id=assistant_id)
        return (await call(self._assistants.GetAssistant, request)).assistant

    async def list_assistants(self, page: paging_pb2.PageRequest) -> assistants_pb2.ListAssistantsResponse:
        """Read a page of assistants."""
        return await call(self._assistants.ListAssistants, assistants_pb2.ListAssistantsRequest(page=page))

    async def update_assistant(self, request: assistants_pb2.UpdateAssistantRequest) -> assistants_pb2.Assistant:
        """Change the masked fields of an assistant."""
        return (await call(self._assistants.UpdateAssistant, request, repeatable=not request.if_revision)).assistant

    async def delete_assistant(self, assistant_id: str, if_revision: Sequence[str] = ()) -> None:
        """Remove an assistant."""
        request = assistants_pb2.DeleteAssistantRequest(assistant_id=assistant_id, if_revision=if_revision)
        await call(self._assistants.DeleteAssistant, request, repeatable=False)

    async def register_assistant(self, assistant_id: str, source_url: str) -> assistants_pb2.Assistant:
        """Make an assistant that is still to be downloaded; harmless to repeat."""
        request = assistant_imports_pb2.RegisterAssistantRequest(assistant_id=assistant_id, source_url=source_url)
        return (await call(self._assistant_imports.RegisterAssistant, request)).assistant

    async def import_assistant(
        self,
        parts: AsyncIterable[assistant_imports_pb2.ImportAssistantRequest],
        on_accepted: Callable[[], None] | None = None,
    ) -> assistants_pb2.Assistant:
        """Take in an assistant; what `parts` raises breaks it off and leaves nothing. See `rpc.upload`."""
        answer = await upload(
            self._assistant_imports.ImportAssistant, parts, deadline_seconds=TRANSFER_SECONDS, on_accepted=on_accepted
        )
        return answer.assistant

    async def cancel_download(self, assistant_id: str) -> assistants_pb2.Assistant:
        """End an assistant's download, if one runs."""
        request = assistant_imports_pb2.CancelDownloadRequest(assistant_id=assistant_id)
        return (await call(self._assistant_imports.CancelDownload, request)).assistant

    async def get_model(self, model_id: str) -> models_pb2.Model:
        """Read a model; calls that come together share a read."""
        model = models_pb2.Model()
        model.CopyFrom(await self._model_reads.get(model_id))
        return model

    async def _read_model(self, model_id: str) -> models_pb2.Model:
        return (await call(self._models.GetModel, models_pb2.GetModelRequest(model_id=model_id))).model

    async def list_models(self) -> list[models_pb2.Model]:
        """Read all models, by id."""
        return list((await call(self._models.ListModels, models_pb2.ListModelsRequest())).models)

    async def update_model(self, request: models_pb2.UpdateModelRequest) -> models_pb2.Model:
        """Change what a model's description says."""
        return (await call(self._models.UpdateModel, request, repeatable=not request.if_revision)).model

    async def import_model(
        self, request: model_imports_pb2.ImportModelRequest
    ) -> AsyncGenerator[model_imports_pb2.ImportModelResponse, None]:
        """Take weights of storage's machine in as a model: progress, then the model. Close the generator."""
        answers = download(self._model_imports.ImportModel, request, deadline_seconds=ARCHIVE_SECONDS)
        async with aclosing(answers):
            async for answer in answers:
                yield answer

    async def delete_model(self, model_id: str, if_revision: Sequence[str] = ()) -> str:
        """Move a model into the trash; answers its entry there."""
        request = models_pb2.DeleteModelRequest(model_id=model_id, if_revision=if_revision)
        return (await call(self._models.DeleteModel, request, repeatable=False)).trash_id

    async def create_run(self, request: runs_pb2.CreateRunRequest) -> runs_pb2.Run:
        """Accept a run, with its messages; harmless to repeat."""
        return (await call(self._runs.CreateRun, request)).run

    async def get_run(self, thread_id: str, run_id: str) -> runs_pb2.Run:
        """Read a run."""
        return (await call(self._runs.GetRun, runs_pb2.GetRunRequest(thread_id=thread_id, run_id=run_id))).run

    async def list_runs(self, request: runs_pb2.ListRunsRequest) -> runs_pb2.ListRunsResponse:
        """Read a page of a thread's runs."""
        return await call(self._runs.ListRuns, request)

    async def list_active_runs(self) -> list[runs_pb2.Run]:
        """Read every run that has not ended."""
        return list((await call(self._runs.ListActiveRuns, runs_pb2.ListActiveRunsRequest())).runs)

    async def update_run(self, run: runs_pb2.Run, steps: Sequence[runs_pb2.RunStep] = ()) -> runs_pb2.Run:
        """Replace a run's record, with steps of its. Raises ConflictError: somebody else wrote it first."""
        return (await call(self._runs.UpdateRun, runs_pb2.UpdateRunRequest(run=run, steps=steps))).run

    async def put_run_step(self, step: runs_pb2.RunStep) -> runs_pb2.RunStep:
        """Write a step's record; harmless to repeat."""
        return (await call(self._runs.PutRunStep, runs_pb2.PutRunStepRequest(step=step))).step

    async def get_run_step(self, thread_id: str, run_id: str, step_id: str) -> runs_pb2.RunStep:
        """Read a step."""
        request = runs_pb2.GetRunStepRequest(thread_id=thread_id, run_id=run_id, step_id=step_id)
        return (await call(self._runs.GetRunStep, request)).step

    async def list_run_steps(self, request: runs_pb2.ListRunStepsRequest) -> runs_pb2.ListRunStepsResponse:
        """Read a page of a run's steps."""
        return await call(self._runs.ListRunSteps, request)

    async def get_report(self, max_findings: int, embedders: report_pb2.Embedders) -> report_pb2.GetReportResponse:
        """Look at the whole janroot; takes seconds, or minutes for a very large one."""
        request = report_pb2.GetReportRequest(max_findings=max_findings, embedders=embedders)
        return await call(self._reports.GetReport, request, deadline_seconds=LONG_SECONDS)

    async def create_file(self, parts: AsyncIterable[files_pb2.CreateFileRequest]) -> files_pb2.File:
        """Take in a file; what `parts` raises breaks it off and leaves nothing."""
        return (await upload(self._files.CreateFile, parts, deadline_seconds=TRANSFER_SECONDS)).file

    async def get_file(self, file_id: str) -> files_pb2.File:
        """Read what is known of a file."""
        return (await call(self._files.GetFile, files_pb2.GetFileRequest(file_id=file_id))).file

    async def extract_text(self, request: texts_pb2.ExtractTextRequest) -> texts_pb2.ExtractTextResponse:
        """Take the text out of a document. Raises InvalidArgumentError: it has none, or too much."""
        return await call(self._texts.ExtractText, request, deadline_seconds=LONG_SECONDS)

    async def list_files(self, request: files_pb2.ListFilesRequest) -> files_pb2.ListFilesResponse:
        """Read a page of files."""
        return await call(self._files.ListFiles, request)

    async def delete_file(self, file_id: str) -> None:
        """Remove a file for good."""
        await call(self._files.DeleteFile, files_pb2.DeleteFileRequest(file_id=file_id), repeatable=False)

    def read_file(
        self, file_id: str, wanted: files_pb2.ByteRange | None = None
    ) -> AsyncGenerator[files_pb2.ReadFileResponse, None]:
        """Read a file: what is known of it, then its bytes, all unless a range is wanted."""
        request = files_pb2.ReadFileRequest(file_id=file_id, range=wanted)
        return download(self._files.ReadFile, request, deadline_seconds=TRANSFER_SECONDS)

    async def list_message_files(
        self, thread_id: str, message_id: str, page: paging_pb2.PageRequest
    ) -> files_pb2.ListMessageFilesResponse:
        """Read a page of a message's files."""
        request = files_pb2.ListMessageFilesRequest(thread_id=thread_id, message_id=message_id, page=page)
        return await call(self._files.ListMessageFiles, request)

    async def get_message_file(self, thread_id: str, message_id: str, file_id: str) -> files_pb2.MessageFile:
        """Read what is known of one file of a message."""
        request = files_pb2.GetMessageFileRequest(thread_id=thread_id, message_id=message_id, file_id=file_id)
        return (await call(self._files.GetMessageFile, request)).file

    def read_message_file(
        self, thread_id: str, message_id: str, file_id: str, wanted: files_pb2.ByteRange | None = None
    ) -> AsyncGenerator[files_pb2.ReadMessageFileResponse, None]:
        """Read a file of a message, as `read_file` does."""
        request = files_pb2.ReadMessageFileRequest(
            thread_id=thread_id, message_id=message_id, file_id=file_id, range=wanted
        )
        return download(self._files.ReadMessageFile, request, deadline_seconds=TRANSFER_SECONDS)

    def export_thread(self, thread_id: str) -> AsyncGenerator[archives_pb2.ExportThreadResponse, None]:
        """Read a thread as a zip."""
        request = archives_pb2.ExportThreadRequest(thread_id=thread_id)
        return download(self._archives.ExportThread, request, deadline_seconds=TRANSFER_SECONDS)

    def export_janroot(
        self, kind: archives_pb2.ArchiveKind.ValueType, *, weights: bool
    ) -> AsyncGenerator[archives_pb2.ExportJanrootResponse, None]:
        """Read the whole janroot as a zip: what it will be, then its bytes."""
        request = archives_pb2.ExportJanrootRequest(kind=kind, weights=weights)
        return download(self._archives.ExportJanroot, request, deadline_seconds=ARCHIVE_SECONDS)

    def import_file(
        self, parts: AsyncIterable[imports_pb2.ImportRequest]
    ) -> AsyncGenerator[imports_pb2.ImportResponse, None]:
        """Import a file: progress, then the report. What `parts` raises breaks it off and leaves nothing."""
        return exchange(
            self._imports.Import, parts, deadline_seconds=IMPORT_SECONDS, stall_seconds=IMPORT_STALL_SECONDS
        )

    async def check_restore(self, archive_bytes: int, *, dry_run: bool) -> None:
        """See whether a backup may come. Raises StorageFullError, FailedPreconditionError."""
        request = archives_pb2.CheckRestoreRequest(archive_bytes=archive_bytes, dry_run=dry_run)
        await call(self._archives.CheckRestore, request)

    async def restore_janroot(
        self, parts: AsyncIterable[archives_pb2.RestoreJanrootRequest]
    ) -> archives_pb2.RestoreJanrootResponse:
        """Put a backup in the janroot's place; what `parts` raises breaks it off and changes nothing."""
        return await upload(self._archives.RestoreJanroot, parts, deadline_seconds=ARCHIVE_SECONDS)
