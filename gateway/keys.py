"""A typed key for each thing that the application or a request holds."""

from __future__ import annotations

import asyncio

from aiohttp import web

from gateway.anthropic.documents import Documents
from gateway.batches.executor import BatchExecutor
from gateway.completions.keeper import Keeper
from gateway.completions.resumable import Chats
from gateway.fetching.assistants import AssistantDownloads
from gateway.http.metrics import GatewayMetrics
from gateway.http.turns import Turns
from gateway.idempotency.records import RecordedAnswers
from gateway.images.shown import Images
from gateway.openapi.served import ServedDocument
from gateway.pulls.puller import Puller
from gateway.queueing.jobs import JobClient
from gateway.queueing.places import QueueClient
from gateway.runs.executor import RunExecutor
from gateway.services.completions import CompletionClient
from gateway.services.inference import InferenceClient
from gateway.services.readiness import Readiness
from gateway.services.storage import StorageClient
from gateway.services.uploads import UploadClient
from gateway.settings import GatewaySettings
from gateway.vector_stores.client import VectorStoreClient
from gateway.vector_stores.search import ChunkSearcher
from jan.queue.follower import LogFollower

LEAVING = web.AppKey("leaving", asyncio.Event)
"""Set once the gateway was told to stop."""
SETTINGS = web.AppKey("settings", GatewaySettings)
TURNS = web.AppKey("turns", Turns)
METRICS = web.AppKey("metrics", GatewayMetrics)
DOCUMENT = web.AppKey("document", ServedDocument)
DOCUMENTS = web.AppKey("documents", Documents)
IMAGES = web.AppKey("images", Images)
STORAGE = web.AppKey("storage", StorageClient)
UPLOADS = web.AppKey("uploads", UploadClient)
VECTOR_STORES = web.AppKey("vector_stores", VectorStoreClient)
CHUNK_SEARCH = web.AppKey("chunk_search", ChunkSearcher)
FOLLOWER = web.AppKey("follower", LogFollower)
ASSISTANT_DOWNLOADS = web.AppKey("assistant_downloads", AssistantDownloads)
PULLS = web.AppKey("pulls", Puller)
INFERENCE = web.AppKey("inference", InferenceClient)
COMPLETIONS = web.AppKey("completions", CompletionClient)
KEEPER = web.AppKey("keeper", Keeper)
CHATS = web.AppKey("chats", Chats)
RECORDED = web.AppKey("recorded", RecordedAnswers)
QUEUE = web.AppKey("queue", QueueClient)
JOBS = web.AppKey("jobs", JobClient)
RUNS = web.AppKey("runs", RunExecutor)
BATCHES = web.AppKey("batches", BatchExecutor)
READINESS = web.AppKey("readiness", Readiness)

REQUEST_ID = web.RequestKey("request_id", str)
STARTED = web.RequestKey("started", float)
