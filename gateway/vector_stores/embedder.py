"""Which model embeds the chunks of vector stores, and having it embed."""

from __future__ import annotations

import hashlib
import math
from array import array
from base64 import b64decode
from collections.abc import Sequence

import orjson

from gateway.models.lookup import REMOTE_ENGINE, embeds, find_model, of_assistant
from gateway.queueing.failures import failure_of
from gateway.queueing.job import new_job
from gateway.queueing.jobs import JobClient
from gateway.queueing.priority import Priority
from gateway.services.storage import StorageClient
from jan.errors import InternalError, InvalidArgumentError, NotFoundError
from jan.ids import JobId
from jan.inference.v1 import jobs_pb2
from jan.storage.v1 import chunk_vectors_pb2, models_pb2, report_pb2

NONE = "none"
"""The setting that turns it off."""
_FLOAT_BYTES = 4
_REVISION_DIGITS = 16
# Of a text that a model takes no more than the beginning of: below this it takes none.
_LEAST_CHARACTERS = 16
# Tells how long a model's vectors are.
_ANYTHING = "text"


async def embedding_model(storage: StorageClient, wanted: str) -> models_pb2.Model | None:
    """The model that is set or, when none is, the oldest here that has the setting `embedding`; else None.

    One that came along with an assistant, or is remote, is told everybody's files only when it is set.
    """
    if wanted == NONE:
        return None
    if wanted:
        try:
            return await find_model(storage, wanted)
        except NotFoundError:
            return None
    models = [
        model
        for model in await storage.list_models()
        if embeds(model) and model.engine != REMOTE_ENGINE and not of_assistant(model)
    ]
    return min(models, key=lambda model: (model.created_at.ToMilliseconds(), model.id), default=None)


def embedder_of(model: models_pb2.Model) -> chunk_vectors_pb2.Embedder:
    """The model as its vectors remember it: by what they depend on."""
    settings = orjson.loads(model.settings_json) if model.settings_json else {}
    pooling = settings.get("pooling") if isinstance(settings, dict) else None
    parts = [model.engine, model.format, *model.files, model.source_url, model.base.id, model.size_bytes, pooling]
    revision = hashlib.sha256(orjson.dumps(parts)).hexdigest()[:_REVISION_DIGITS]
    return chunk_vectors_pb2.Embedder(model_id=model.id, revision=revision)


async def known_embedders(storage: StorageClient, wanted: str) -> report_pb2.Embedders:
    """Every model that can embed, as its vectors would remember it, and which is to; for storage's report."""
    model = await embedding_model(storage, wanted)
    named = "" if wanted == NONE else wanted
    able = [one for one in await storage.list_models() if embeds(one) or one.engine == REMOTE_ENGINE]
    return report_pb2.Embedders(here=map(embedder_of, able), wanted=named if model is None else model.id)


async def embed(
    jobs: JobClient, model: models_pb2.Model, texts: Sequence[str], *, tenant: str, priority: Priority
) -> list[bytes]:
    """The vector of each text, or of as much of its beginning as the model takes; leaving cancels it.

    32-bit floats, the lowest byte first. NaNs stand for a text of which it takes nothing. Raises InternalError: the
    model answers with what is no vector. Raises any JanError of the job.
    """
    asked = [text.replace("\0", " ") for text in texts]
    full = [text for text in asked if text.strip()]
    found = iter(await _embed(jobs, model, full, tenant, priority) if full else [])
    vectors = [next(found) if text.strip() else b"" for text in asked]
    width = max(map(len, vectors), default=0) or len((await _ask(jobs, model, [_ANYTHING], tenant, priority))[0])
    return [vector or nothing(width) for vector in vectors]


def nothing(width: int) -> bytes:
    """So many bytes of a vector that stands for none."""
    return array("f", [math.nan] * (width // _FLOAT_BYTES)).tobytes()


async def _embed(
    jobs: JobClient, model: models_pb2.Model, texts: Sequence[str], tenant: str, priority: Priority
) -> list[bytes]:
    """As `embed`, with nothing where the model takes nothing. Chunks overlap, so beginnings are nearly everything."""
    try:
        return await _ask(jobs, model, texts, tenant, priority)
    except InvalidArgumentError as error:
        if error.code != "context_length_exceeded":
            raise
    if len(texts) > 1:
        half = len(texts) // 2
        first = await _embed(jobs, model, texts[:half], tenant, priority)
        return first + await _embed(jobs, model, texts[half:], tenant, priority)
    shorter = texts[0][: len(texts[0]) // 2]
    if len(shorter) < _LEAST_CHARACTERS or not shorter.strip():
        return [b""]
    return await _embed(jobs, model, [shorter], tenant, priority)


async def _ask(
    jobs: JobClient, model: models_pb2.Model, texts: Sequence[str], tenant: str, priority: Priority
) -> list[bytes]:
    body = {"input": list(texts), "encoding_format": "base64"}
    job = new_job(JobId.new(), jobs_pb2.ENDPOINT_EMBEDDINGS, model, body, tenant=tenant, priority=priority)
    answer = b""
    async with jobs.attended(job) as events:
        async for batch in events.batches():
            for event in batch:
                if (failure := failure_of(event)) is not None:
                    raise failure
                answer += event.chunk.data
    return vectors_of(answer, len(texts))


def vectors_of(answer: bytes, count: int) -> list[bytes]:
    """The vectors of an answer to `count` texts. Raises InternalError: they are not so many, or no vectors."""
    try:
        vectors = [b64decode(one["embedding"], validate=True) for one in orjson.loads(answer)["data"]]
    except (ValueError, KeyError, TypeError):
        vectors = []
    if len(vectors) != count or len({len(vector) for vector in vectors}) != 1 or not all(map(_is_vector, vectors)):
        raise InternalError("The model answers with something that is no list of embeddings.")
    return vectors


def _is_vector(data: bytes) -> bool:
    if not data or len(data) % _FLOAT_BYTES:
        return False
    numbers = array("f", data)
    return all(map(math.isfinite, numbers)) and any(numbers)
