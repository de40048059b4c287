"""The storage service as a whole: the store behind its door, the servicers on a gRPC server."""

import asyncio
import os
from collections.abc import Callable
from functools import partial

from grpc import aio

from jan import rpc
from jan.errors import JanError
from jan.storage.v1 import (
    archives_pb2_grpc,
    assistant_imports_pb2_grpc,
    assistants_pb2_grpc,
    batches_pb2_grpc,
    chunk_vectors_pb2_grpc,
    completions_pb2_grpc,
    files_pb2_grpc,
    imports_pb2_grpc,
    messages_pb2_grpc,
    model_imports_pb2_grpc,
    models_pb2_grpc,
    pulls_pb2_grpc,
    report_pb2_grpc,
    runs_pb2_grpc,
    texts_pb2_grpc,
    threads_pb2_grpc,
    trash_pb2_grpc,
    uploads_pb2_grpc,
    vector_store_files_pb2_grpc,
    vector_stores_pb2_grpc,
)
from jan.tasks import background
from jan.telemetry import get_logger
from storage_service.access import Access
from storage_service.downloads import Downloads
from storage_service.ingestion import Ingestion
from storage_service.keeper import Keeper
from storage_service.search import Search
from storage_service.servicers.archives import ArchiveServicer
from storage_service.servicers.assistant_imports import AssistantImportServicer
from storage_service.servicers.assistants import AssistantServicer, AssistantView
from storage_service.servicers.batches import BatchServicer
from storage_service.servicers.chunk_vectors import ChunkVectorServicer
from storage_service.servicers.completions import CompletionServicer
from storage_service.servicers.files import FileServicer
from storage_service.servicers.imports import ImportServicer
from storage_service.servicers.messages import MessageServicer
from storage_service.servicers.model_imports import ModelImportServicer
from storage_service.servicers.models import ModelServicer
from storage_service.servicers.pulls import PullServicer
from storage_service.servicers.report import ReportServicer
from storage_service.servicers.runs import RunServicer
from storage_service.servicers.texts import TextServicer
from storage_service.servicers.threads import ThreadServicer
from storage_service.servicers.trash import LOCK as TRASH_LOCK
from storage_service.servicers.trash import TrashServicer
from storage_service.servicers.uploads import UploadServicer
from storage_service.servicers.vector_store_files import VectorStoreFileServicer
from storage_service.servicers.vector_stores import VectorStoreServicer
from storage_service.store.atomic import DiskFailedError
from storage_service.store.lock import JanrootLostError
from storage_service.store.store import Store

logger = get_logger(__name__)

# sysexits.h: an error in input or output. The process manager starts the service again, and it reads what is there.
EXIT_DISK_FAILED = 74
# sysexits.h: try again. The process manager does so, and the start swaps the janroot for the one that was restored.
EXIT_RESTORING = 75
# sysexits.h: a service is not available. The process manager starts it again, on whatever lies there then.
EXIT_JANROOT_LOST = 69
TIDY_SECONDS = 3600.0
# Every request looks after the janroot; while there are none, this often.
GUARD_SECONDS = 1.0
# Archives are made at their readers' pace, so few workers make many.
ARCHIVE_WORKERS = 2
# Downloads write and hash at the speed of a disk; a few at once fill it.
PULL_WORKERS = 2
# A vector store whose index is made anew takes its time.
CHUNK_SEARCH_WORKERS = 2
# Documents that models are to read, each in a child of its own.
EXTRACTION_WORKERS = 2


async def serve(store: Store, address: str, stop: asyncio.Event, *, watch: bool = False) -> bool:
    """Answer for a store at an address, `unix:/path` or `host:port`, until told to stop; drain then.

    Answers whether it wants to be started again, for a restore. `watch`: let the kernel tell of changes by hand,
    through a helper process; see `Keeper`.
    """
    guard = partial(stand_guard, store)
    access = Access(exit_on_disk_failure, guard=guard)
    archiving = Access(exit_on_disk_failure, ARCHIVE_WORKERS, guard)
    pulling = Access(exit_on_disk_failure, PULL_WORKERS, guard)
    chunk_searching = Access(exit_on_disk_failure, CHUNK_SEARCH_WORKERS, guard)
    extracting = Access(exit_on_disk_failure, EXTRACTION_WORKERS, guard)
    search = Search(store)
    ingestion = Ingestion(store, exit_on_disk_failure)
    downloads = Downloads()
    keeper = Keeper(store, search, exit_on_disk_failure, watch=watch)
    restart = asyncio.Event()

    def leave() -> None:
        restart.set()
        stop.set()

    def register(server: aio.Server) -> None:
        add_servicers(server, access, archiving, store, search=search, downloads=downloads, leave=leave, stop=stop)
        pulls_pb2_grpc.add_PullServiceServicer_to_server(PullServicer(pulling, store.pulls), server)
        vector_stores_pb2_grpc.add_VectorStoreServiceServicer_to_server(
            VectorStoreServicer(access, chunk_searching, store), server
        )
        vector_store_files_pb2_grpc.add_VectorStoreFileServiceServicer_to_server(
            VectorStoreFileServicer(access, store), server
        )
        texts_pb2_grpc.add_TextServiceServicer_to_server(TextServicer(extracting, store, stop.is_set), server)
        chunk_vectors_pb2_grpc.add_ChunkVectorServiceServicer_to_server(
            ChunkVectorServicer(chunk_searching, store), server
        )

    async with (
        rpc.serving(address, register),
        background(tidy_for_ever(access, store), "tidy"),
        background(guard_for_ever(access), "guard"),
    ):
        logger.info("serving", address=address)
        keeper.start()
        search.start()
        await asyncio.to_thread(ingestion.start)
        await stop.wait()
        await downloads.close()
    await archiving.close()
    await pulling.close()
    await asyncio.to_thread(ingestion.stop)
    await chunk_searching.close()
    await extracting.close()
    await access.close()
    await asyncio.to_thread(keeper.stop)
    await asyncio.to_thread(search.stop)
    return restart.is_set()


async def tidy_for_ever(access: Access, store: Store) -> None:
    """Remove what has outlived its time, at the start and every hour."""
    while True:
        try:
            await access.run_alone(TRASH_LOCK, store.tidy)
        except (JanError, OSError) as error:
            logger.warning("not tidied", error=str(error))
        await asyncio.sleep(TIDY_SECONDS)


async def guard_for_ever(access: Access) -> None:
    """Look after the janroot while nobody asks for anything."""
    while True:
        try:
            await access.run(lambda: None)
        except (JanError, OSError) as error:
            logger.warning("cannot look after the janroot", error=str(error))
        await asyncio.sleep(GUARD_SECONDS)


def stand_guard(store: Store) -> None:
    """Leave at once when the janroot was taken away: a second process may write to it by now."""
    try:
        store.stand_guard()
    except JanrootLostError as error:
        logger.critical("leaving", error=str(error))
        os._exit(EXIT_JANROOT_LOST)


def add_servicers(
    server: aio.Server,
    access: Access,
    archiving: Access,
    store: Store,
    *,
    search: Search,
    downloads: Downloads,
    leave: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Put every resource of the storage contract on a server. Calls that never end by themselves end on `stop`."""
    threads_pb2_grpc.add_ThreadServiceServicer_to_server(ThreadServicer(access, store, search), server)
    messages_pb2_grpc.add_MessageServiceServicer_to_server(MessageServicer(access, store, stop), server)
    view = AssistantView(access, store.assistants, store.runs, downloads)
    assistants = AssistantServicer(access, store.assistants, downloads, view)
    imports = AssistantImportServicer(access, store.assistant_imports, downloads, view)
    assistants_pb2_grpc.add_AssistantServiceServicer_to_server(assistants, server)
    assistant_imports_pb2_grpc.add_AssistantImportServiceServicer_to_server(imports, server)
    models_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(access, store.models, store.model_changes), server)
    model_imports_pb2_grpc.add_ModelImportServiceServicer_to_server(
        ModelImportServicer(access, store.model_imports), server
    )
    completions_pb2_grpc.add_CompletionServiceServicer_to_server(CompletionServicer(access, store), server)
    batches_pb2_grpc.add_BatchServiceServicer_to_server(BatchServicer(access, store), server)
    files_pb2_grpc.add_FileServiceServicer_to_server(FileServicer(access, store), server)
    uploads_pb2_grpc.add_UploadServiceServicer_to_server(UploadServicer(access, archiving, store), server)
    imports_pb2_grpc.add_ImportServiceServicer_to_server(ImportServicer(access, store), server)
    trash_pb2_grpc.add_TrashServiceServicer_to_server(TrashServicer(access, store, leave), server)
    runs_pb2_grpc.add_RunServiceServicer_to_server(RunServicer(access, store), server)
    archives_pb2_grpc.add_ArchiveServiceServicer_to_server(ArchiveServicer(access, archiving, store, leave), server)
    report_pb2_grpc.add_ReportServiceServicer_to_server(ReportServicer(access, store), server)


def exit_on_disk_failure(error: DiskFailedError) -> None:
    """Leave at once, answering nobody: what was written may be gone, and asking the disk again would hide it."""
    logger.critical("the disk failed; leaving", error=str(error))
    os._exit(EXIT_DISK_FAILED)
