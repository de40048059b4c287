"""The application: what it holds, which routes it has, what happens around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from aiohttp import web

from gateway.anthropic.documents import Documents
from gateway.batches.client import BatchClient
from gateway.batches.executor import BatchExecutor
from gateway.batches.responses import ResponseParts
from gateway.completions.keeper import Keeper
from gateway.completions.resumable import Chats
from gateway.fetching.assistants import AssistantDownloads
from gateway.fetching.fetch import Fetcher
from gateway.http.body import MAX_JSON_BYTES
from gateway.http.metrics import GatewayMetrics
from gateway.http.middleware import add_headers, catch, observe, protect, take_turns
from gateway.http.turns import Turns
from gateway.idempotency.records import RecordedAnswers
from gateway.idempotency.requests import keep_answers
from gateway.images.shown import Images
from gateway.keys import (
    ASSISTANT_DOWNLOADS,
    BATCHES,
    CHATS,
    CHUNK_SEARCH,
    COMPLETIONS,
    DOCUMENT,
    DOCUMENTS,
    FOLLOWER,
    IMAGES,
    INFERENCE,
    JOBS,
    KEEPER,
    LEAVING,
    METRICS,
    PULLS,
    QUEUE,
    READINESS,
    RECORDED,
    RUNS,
    SETTINGS,
    STORAGE,
    TURNS,
    UPLOADS,
    VECTOR_STORES,
)
from gateway.openapi.served import ServedDocument
from gateway.pulls.client import PullClient
from gateway.pulls.hub import Hub
from gateway.pulls.puller import Puller
from gateway.queueing.jobs import JobClient
from gateway.queueing.places import QueueClient
from gateway.routes import (
    anthropic_batches,
    anthropic_messages,
    archives,
    assistant_imports,
    assistants,
    batches,
    chat_completions,
    completions,
    conversations,
    devices,
    documentation,
    embeddings,
    files,
    health,
    imports,
    message_files,
    messages,
    model_imports,
    models,
    pulls,
    queue,
    responses,
    runs,
    storage,
    stored_completions,
    thread_models,
    threads,
    tokens,
    trash,
    uploads,
    vector_store_files,
    vector_stores,
)
from gateway.runs.executor import RunExecutor
from gateway.services.completions import CompletionClient
from gateway.services.inference import InferenceClient
from gateway.services.readiness import Readiness
from gateway.services.storage import StorageClient
from gateway.services.uploads import UploadClient
from gateway.settings import GatewaySettings
from gateway.vector_stores.embedding import ChunkEmbedding
from gateway.vector_stores.search import ChunkSearcher
from jan.queue.attendance import Attendance
from jan.queue.follower import LogFollower
from jan.queue.jobs import JobQueue
from jan.queue.scripts import Scripts
from jan.redis import connect
from jan.rpc import open_channel


def build_app(settings: GatewaySettings) -> web.Application:
    """The whole gateway for these settings; connections are made as they are needed."""
    # Inside of `keep_answers` every error is an answer already, so that it can be kept.
    app = web.Application(
        middlewares=[observe, catch, protect, take_turns, keep_answers, catch], client_max_size=MAX_JSON_BYTES
    )
    app[LEAVING] = asyncio.Event()
    app[SETTINGS] = settings
    app[METRICS] = GatewayMetrics()
    app[TURNS] = Turns()
    app[DOCUMENT] = ServedDocument(app)
    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(end_watches)
    app.cleanup_ctx.append(connections)
    # `/v1/threads/runs` and `/v1/threads/import` must not be taken for threads, so these come first;
    # and so for assistants and models.
    for module in (
        health,
        documentation,
        pulls,
        model_imports,
        models,
        devices,
        chat_completions,
        stored_completions,
        completions,
        embeddings,
        anthropic_messages,
        anthropic_batches,
        tokens,
        queue,
        responses,
        conversations,
        runs,
        imports,
        threads,
        thread_models,
        messages,
        message_files,
        assistant_imports,
        assistants,
        files,
        uploads,
        batches,
        trash,
        storage,
        archives,
        vector_stores,
        vector_store_files,
    ):
        app.add_routes(module.routes)
    return app


async def end_watches(app: web.Application) -> None:
    """Close the streams that never end by themselves, so that the rest may drain."""
    app[INFERENCE].end_watches()
    app[PULLS].is_leaving.set()


async def connections(app: web.Application) -> AsyncIterator[None]:
    """Open what the handlers use, and close it in reverse."""
    common = app[SETTINGS].common
    async with AsyncExitStack() as stack:
        redis = connect(common.redis_url)
        stack.push_async_callback(redis.aclose)
        scripts = Scripts.register(redis)
        storage_channel = await stack.enter_async_context(open_channel(common.storage_addr))
        hosts = [
            await stack.enter_async_context(open_channel(address.strip()))
            for address in common.inference_addr.split(",")
        ]
        storage_client = app[STORAGE] = StorageClient(storage_channel)
        await stack.enter_async_context(storage_client.streaming())
        app[VECTOR_STORES] = storage_client.vector_stores
        app[UPLOADS] = UploadClient(storage_channel)
        inference = app[INFERENCE] = InferenceClient(hosts)
        fetcher = Fetcher(app[SETTINGS].downloads)
        images = app[IMAGES] = Images(fetcher, storage_client)
        documents = app[DOCUMENTS] = Documents(fetcher, storage_client)
        downloads = app[ASSISTANT_DOWNLOADS] = AssistantDownloads(fetcher, storage_client)
        await stack.enter_async_context(downloads.running())
        hub = Hub(app[SETTINGS].hub_url, app[SETTINGS].hub_token)
        puller = app[PULLS] = Puller(PullClient(storage_channel), fetcher, hub)
        await stack.enter_async_context(puller.running())
        app[READINESS] = Readiness(storage_client, redis, inference)
        follower = app[FOLLOWER] = LogFollower(redis)
        await stack.enter_async_context(follower.running())
        chats = app[CHATS] = Chats(redis)
        job_queue = JobQueue(redis, scripts, app[SETTINGS].weights)
        app[QUEUE] = QueueClient(redis, scripts, job_queue, app[SETTINGS].weights)
        attendance = Attendance(redis)
        jobs = app[JOBS] = JobClient(job_queue, follower, attendance, app[SETTINGS].queue_bounds)
        await stack.enter_async_context(jobs.running())
        completion_client = app[COMPLETIONS] = CompletionClient(storage_channel)
        keeper = app[KEEPER] = Keeper(jobs, chats, completion_client)
        await stack.enter_async_context(keeper.running())
        wanted = app[SETTINGS].embedding_model
        searcher = app[CHUNK_SEARCH] = ChunkSearcher(storage_client, jobs, wanted)
        embedding = ChunkEmbedding(redis, scripts, storage_client, jobs, wanted)
        await stack.enter_async_context(embedding.running())
        executor = app[RUNS] = RunExecutor(
            redis,
            scripts,
            storage_client,
            inference=inference,
            jobs=jobs,
            queue=app[QUEUE],
            searcher=searcher,
            images=images,
            metrics=app[METRICS],
        )
        await stack.enter_async_context(executor.running())
        parts = ResponseParts(storage_client, inference, jobs, executor, follower, images, documents, searcher)
        batch_executor = app[BATCHES] = BatchExecutor(redis, scripts, BatchClient(storage_channel), parts, app[QUEUE])
        await stack.enter_async_context(batch_executor.running())
        # Last, so that what is answered for clients who left has everything until its end.
        recorded = app[RECORDED] = RecordedAnswers(redis, scripts, attendance)
        await stack.enter_async_context(recorded.running())
        yield
